//! The JSON documents that programs receive: what `dash-nas --format json` prints.
//!
//! Keys are a contract; `schemas/output.json` describes them.

use crate::{
    error::Failure,
    outcome::RunOutcome,
    planned::{Action, Planned},
    status::RunStatus,
    superseded::Superseded,
};
use dash_core::{
    error::{Classify, ErrorKind},
    results::ResultRow,
    stage::{RunId, Stage},
};
use dash_store::ConvolutionPlan;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// `dash-nas run` and `dash-nas report`: all results, and what failed.
#[derive(Serialize, JsonSchema)]
pub struct RunDocument<'a> {
    /// All measured values, and a row for each value that is missing.
    results: &'a [ResultRow],
    /// Pages of the reports. The report over all pipelines, if any, is the last.
    reports: &'a [PathBuf],
    /// The stages that failed, and the one that was stopped.
    failures: Vec<&'a Failure>,
}

impl<'a> From<&'a RunOutcome> for RunDocument<'a> {
    fn from(outcome: &'a RunOutcome) -> RunDocument<'a> {
        RunDocument { results: &outcome.rows, reports: &outcome.reports, failures: outcome.failures() }
    }
}

/// `dash-nas run --dry-run`: what would be done.
#[derive(Serialize, JsonSchema)]
pub struct PlanDocument<'a> {
    /// The stages in the order in which they would be handled.
    plan: Vec<PlannedStage<'a>>,
}

impl<'a> From<&'a [Planned]> for PlanDocument<'a> {
    fn from(planned: &'a [Planned]) -> PlanDocument<'a> {
        PlanDocument { plan: planned.iter().map(PlannedStage::from).collect() }
    }
}

/// A stage and what would be done about it.
#[derive(Serialize, JsonSchema)]
struct PlannedStage<'a> {
    /// The run that the stage belongs to.
    run: &'a RunId,
    /// The stage.
    stage: Stage,
    /// What would be done.
    action: Action,
    /// Why, in a few words.
    reason: &'a str,
    /// How settings and inputs differ from those of the earlier results.
    differences: &'a [String],
    /// Estimated peak memory in bytes of a stage that would run, if known.
    memory_bytes: Option<u64>,
}

impl<'a> From<&'a Planned> for PlannedStage<'a> {
    fn from(planned: &'a Planned) -> PlannedStage<'a> {
        PlannedStage {
            run: &planned.run,
            stage: planned.stage,
            action: planned.action,
            reason: &planned.reason,
            differences: &planned.differences,
            memory_bytes: planned.memory,
        }
    }
}

/// `dash-nas explain`: why a stage would run or be reused, and how its convolutions are computed.
#[derive(Serialize, JsonSchema)]
pub struct ExplainDocument<'a> {
    /// The stage in each run.
    plan: Vec<ExplainedStage<'a>>,
}

impl<'a> From<&'a [Planned]> for ExplainDocument<'a> {
    fn from(planned: &'a [Planned]) -> ExplainDocument<'a> {
        let explain = |planned: &'a Planned| ExplainedStage {
            planned: planned.into(),
            convolutions: planned.plan.as_ref().map(Convolutions::from),
            expected_convolutions: planned.expected_plan.as_ref().map(Convolutions::from),
        };
        ExplainDocument { plan: planned.iter().map(explain).collect() }
    }
}

/// A stage, what would be done about it, and how its convolutions are computed.
#[derive(Serialize, JsonSchema)]
struct ExplainedStage<'a> {
    #[serde(flatten)]
    planned: PlannedStage<'a>,
    /// How the convolutions of the earlier results were computed, if recorded.
    convolutions: Option<Convolutions<'a>>,
    /// How the convolutions would be computed, if known.
    expected_convolutions: Option<Convolutions<'a>>,
}

/// How convolutions are computed.
#[derive(Serialize, JsonSchema)]
struct Convolutions<'a> {
    /// How the algorithms are chosen: `model` or `measure`.
    by: &'a str,
    /// The convolutions and the plan of each.
    sizes: &'a [String],
}

impl<'a> From<&'a ConvolutionPlan> for Convolutions<'a> {
    fn from(plan: &'a ConvolutionPlan) -> Convolutions<'a> {
        Convolutions { by: &plan.by, sizes: &plan.convolutions }
    }
}

/// `dash-nas status`: all runs, what is finished, and which processes work on them.
#[derive(Serialize, JsonSchema)]
pub struct StatusDocument<'a> {
    /// The runs, and for each pipeline what its seeds share.
    pub runs: &'a [RunStatus],
}

/// `dash-nas runs prune`: superseded results that were removed.
#[derive(Serialize, JsonSchema)]
pub struct PruneDocument<'a> {
    /// Whether they would be removed and still exist.
    pub dry_run: bool,
    /// The superseded results.
    pub removed: &'a [Superseded],
}

/// `dash-nas data ingest`: folders of the datasets.
#[derive(Serialize, JsonSchema)]
pub struct IngestDocument<'a> {
    /// A folder for each pipeline.
    pub datasets: &'a [PathBuf],
}

/// Why the program ended with an error; printed on standard error.
#[derive(Serialize, JsonSchema)]
pub struct ErrorDocument {
    /// The exit code.
    code: u8,
    /// The kind of the error.
    kind: ErrorKind,
    /// The error message.
    message: String,
    /// Where the error is, as `FILE` or `FILE:LINE`, if it is one place and known.
    #[serde(rename = "where")]
    place: Option<String>,
    /// What to do about it, if known.
    hint: Option<String>,
}

impl From<&dyn Classify> for ErrorDocument {
    fn from(error: &dyn Classify) -> ErrorDocument {
        ErrorDocument {
            code: error.kind().exit_code(),
            kind: error.kind(),
            message: error.to_string(),
            place: error.place(),
            hint: error.hint(),
        }
    }
}
