//! Describes how a run ended, stage by stage.

use crate::error::{Error, Failure};
use dash_core::{
    results::ResultRow,
    stage::{RunId, Stage},
};
use dash_store::StageRecord;
use std::path::PathBuf;

/// How a stage of a run ended.
#[derive(Clone, Debug)]
pub enum StepResult {
    /// The stage ran and published its results.
    Done(Box<StageRecord>),
    /// Earlier results with the same settings and inputs were used.
    Reused,
    /// The stage failed. Stages that do not depend on it continue.
    Failed(Failure),
    /// The stage did not run because a stage that it needs has no results, or because the run was stopped before.
    Skipped,
    /// The stage stopped at a checkpoint because the listener asked for it.
    Stopped(Failure),
}

impl StepResult {
    /// Whether the stage has results that later stages can read.
    pub fn is_available(&self) -> bool {
        matches!(self, StepResult::Done(_) | StepResult::Reused)
    }
}

/// A stage of a run and how it ended.
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// The run that the stage belongs to.
    pub run: RunId,
    /// The stage.
    pub stage: Stage,
    /// How it ended.
    pub result: StepResult,
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct RunOutcome {
    /// The stages in the order in which they were handled.
    pub steps: Vec<StepOutcome>,
    /// All measured values, and a row for each value that is missing.
    pub rows: Vec<ResultRow>,
    /// Pages of the reports. The report over all pipelines, if any, is the last.
    pub reports: Vec<PathBuf>,
}

impl RunOutcome {
    /// The stages that failed, and the one that was stopped.
    pub fn failures(&self) -> Vec<&Failure> {
        let failures = self.steps.iter().filter_map(|step| match &step.result {
            StepResult::Failed(failure) | StepResult::Stopped(failure) => Some(failure),
            StepResult::Done(_) | StepResult::Reused | StepResult::Skipped => None,
        });
        failures.collect()
    }

    /// The number of stages that ran and published results, reports not counted.
    pub fn ran(&self) -> usize {
        let ran =
            |step: &&StepOutcome| matches!(step.result, StepResult::Done(_)) && step.stage != Stage::Report;
        self.steps.iter().filter(ran).count()
    }

    /// Whether the run stopped at a checkpoint.
    pub fn is_stopped(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.result, StepResult::Stopped(_)))
    }

    /// The failures as an error; `None` if no stage failed.
    pub fn error(&self) -> Option<Error> {
        match self.failures().as_slice() {
            [] => None,
            _ if self.is_stopped() => Some(Error::Stopped),
            failures => Some(Error::Stages(failures.iter().copied().cloned().collect())),
        }
    }
}
