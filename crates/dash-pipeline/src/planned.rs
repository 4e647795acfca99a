//! Shows what a run would do.

use crate::{
    error::Error,
    graph::RunSet,
    memory::{MemoryForecast, MemoryForecaster},
    plan::{Decision, Planning, Step},
};
use dash_core::{
    pipeline::Pipeline,
    stage::{RunId, Stage},
};
use dash_store::ConvolutionPlan;
use schemars::JsonSchema;
use serde::Serialize;

/// What will be done about a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It runs.
    Run,
    /// Its earlier results are used.
    Reuse,
    /// Superseded results are restored.
    Restore,
}

impl Action {
    /// The name in tables and data files.
    pub fn name(self) -> &'static str {
        match self {
            Action::Run => "run",
            Action::Reuse => "reuse",
            Action::Restore => "restore",
        }
    }
}

/// A stage and what will be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The run that the stage belongs to.
    pub run: RunId,
    /// The stage.
    pub stage: Stage,
    /// What will be done.
    pub action: Action,
    /// Why, in a few words.
    pub reason: String,
    /// How settings and inputs differ from those of the earlier results; empty if there are none.
    pub differences: Vec<String>,
    /// How the convolutions of the earlier results were computed, if their record says so.
    pub plan: Option<ConvolutionPlan>,
    /// How convolutions will be computed by a stage that runs, if that is known already.
    pub expected_plan: Option<ConvolutionPlan>,
    /// Estimated peak memory in bytes of a stage that runs. Where the search has not run yet, that of the largest kernels
    /// that it may find; `None` where the dataset does not exist yet.
    pub memory: Option<u64>,
}

/// Returns what a run of the pipelines would do, without changing anything.
pub(crate) fn plan(runs: &RunSet, planning: &Planning<'_>) -> Result<Vec<Planned>, Error> {
    let mut planned = Vec::new();
    for pipeline in &runs.pipelines {
        let steps = planning.steps(pipeline)?;
        let forecasts = forecasts(pipeline, planning, &steps);
        planned.extend(steps.into_iter().zip(forecasts).map(|(step, forecast)| describe(step, forecast)));
    }
    Ok(planned)
}

/// Memory forecasts of the steps that will run, where they are possible.
fn forecasts(pipeline: &Pipeline, planning: &Planning<'_>, steps: &[Step]) -> Vec<MemoryForecast> {
    let is_reused = |stage: Stage, seed: Option<u64>| {
        let is = |step: &&Step| step.node.stage == stage && step.node.run.seed == seed;
        steps.iter().find(is).is_some_and(|step| matches!(step.decision, Decision::Reuse))
    };
    let mut forecaster = if is_reused(Stage::Dataset, None) {
        MemoryForecaster::new(pipeline, planning.folders, planning.policy)
    } else {
        None
    };
    let forecast = |step: &Step| match (&mut forecaster, step.node.run.seed, &step.decision) {
        (Some(forecaster), Some(seed), Decision::Run { .. }) => {
            forecaster.forecast(step.node.stage, seed, is_reused(Stage::Search, Some(seed)))
        }
        _ => MemoryForecast::default(),
    };
    steps.iter().map(forecast).collect()
}

fn describe(step: Step, forecast: MemoryForecast) -> Planned {
    let (action, reason, differences) = match step.decision {
        Decision::Reuse if step.unchecked.is_some() => {
            (Action::Reuse, "finished with these settings; raw files not found".to_owned(), Vec::new())
        }
        Decision::Reuse => (Action::Reuse, "finished with these settings and inputs".to_owned(), Vec::new()),
        Decision::Restore { differences, .. } => {
            (Action::Restore, "kept from an earlier run with these settings".to_owned(), differences)
        }
        Decision::Run { reason, differences, .. } => (Action::Run, reason, differences),
    };
    Planned {
        run: step.node.run,
        stage: step.node.stage,
        action,
        reason,
        differences,
        plan: step.record.and_then(|record| record.plan),
        expected_plan: forecast.plan,
        memory: forecast.bytes,
    }
}
