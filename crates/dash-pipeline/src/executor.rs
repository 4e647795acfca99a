//! Who runs a stage, and where.

use crate::{
    error::Failure,
    graph::{Folders, Stage},
};
use dash_conv::Planner;
use dash_core::{event::Listener, pipeline::Pipeline};
use dash_store::{ConvolutionPlan, StageRecord, Staging, now_utc};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

/// One stage to run; its inputs are finished.
pub struct Job<'a> {
    /// The pipeline's effective configuration.
    pub pipeline: &'a Pipeline,
    /// The stage.
    pub stage: Stage,
    /// Seed of the run; `None` for stages shared by all seeds.
    pub seed: Option<u64>,
    /// `<pipeline>/<seed>`, or `<pipeline>`.
    pub run: &'a str,
    /// Where the results must appear.
    pub dir: &'a Path,
    /// The settings that the stage depends on.
    pub config: &'a Value,
    /// Fingerprints of the inputs.
    pub inputs: &'a BTreeMap<String, String>,
    /// Fingerprint of the stage.
    pub fingerprint: &'a str,
    /// Who plans the convolutions; it remembers those of this stage only.
    pub planner: &'a Planner,
    /// All folders, to find the inputs.
    pub folders: &'a Folders,
    /// Is told about progress.
    pub listener: &'a dyn Listener,
}

/// Brings a stage to its end: in this process, in another one, or on a cluster.
pub trait Executor {
    /// Returns when the results of the stage are published.
    fn execute(&self, job: &Job<'_>) -> Result<StageRecord, Failure>;
}

/// What the stages do.
pub trait Work {
    /// Writes the results of a stage; returns a few facts for its record.
    fn perform(&self, job: &Job<'_>, out: &mut Staging) -> Result<Value, Failure>;
    /// Name of the device for the record.
    fn device(&self) -> String;
}

/// Runs stages in this process, one after the other.
pub struct Local<W> {
    /// What the stages do.
    pub work: W,
}

impl<W: Work> Executor for Local<W> {
    fn execute(&self, job: &Job<'_>) -> Result<StageRecord, Failure> {
        let store = |e: dash_store::Error| job.failure(&e);
        let (clock, started) = (Instant::now(), now_utc());
        let mut out = Staging::begin(job.dir).map_err(store)?;
        let summary = self.work.perform(job, &mut out)?;
        let record = StageRecord {
            format: StageRecord::FORMAT,
            stage: job.stage.name().into(),
            run: job.run.into(),
            fingerprint: job.fingerprint.into(),
            config: job.config.clone(),
            inputs: job.inputs.clone(),
            outputs: BTreeMap::new(),
            seconds: clock.elapsed().as_secs_f64(),
            device: self.work.device(),
            plan: job.convolutions(),
            versions: BTreeMap::from([
                ("dash-nas".into(), env!("CARGO_PKG_VERSION").into()),
                ("stage".into(), job.stage.code_format().to_string()),
            ]),
            started,
            finished: now_utc(),
            summary,
        };
        let record = record.publish(out).map_err(store)?;
        dash_store::remove(&job.checkpoint()).map_err(store)?;
        Ok(record)
    }
}

impl Job<'_> {
    /// How the convolutions of the stage were computed so far; none where there are none.
    fn convolutions(&self) -> Option<ConvolutionPlan> {
        (self.stage != Stage::Dataset).then(|| convolution_plan(self.planner))
    }

    /// Where the stage keeps its checkpoint while it runs.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        checkpoint_of(self.dir)
    }

    /// The failure of this job because of `cause`.
    pub fn failure(&self, cause: &dyn dash_core::error::Classify) -> Failure {
        Failure::new(self.run, self.stage.name(), cause)
    }
}

/// What a planner has decided.
pub(crate) fn convolution_plan(planner: &Planner) -> ConvolutionPlan {
    ConvolutionPlan {
        by: planner.policy().to_string(),
        convolutions: planner.choices().iter().map(ToString::to_string).collect(),
    }
}

/// Where a stage with results in `dir` keeps its checkpoint while it runs.
pub(crate) fn checkpoint_of(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.checkpoint"))
}
