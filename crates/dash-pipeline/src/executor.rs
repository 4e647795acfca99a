//! Who runs a stage, and where.

use crate::{
    attempts::{Attempts, attempts_of},
    contents::Contents,
    error::Failure,
    graph::{Folders, Stage, code_format},
    machine, superseded,
};
use dash_conv::Planner;
use dash_core::{
    event::{Event, Listener},
    pipeline::Pipeline,
    provenance::{Program, Provenance},
    stage::RunId,
};
use dash_store::{ConvolutionPlan, Lock, StageRecord, Staging, now_utc};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// One stage to run; its inputs are finished.
pub struct StageJob<'a> {
    /// The pipeline's effective configuration.
    pub pipeline: &'a Pipeline,
    /// The stage.
    pub stage: Stage,
    /// Seed of the run; `None` for stages shared by all seeds.
    pub seed: Option<u64>,
    /// The run that the stage belongs to.
    pub run: &'a RunId,
    /// Where the results must appear.
    pub dir: &'a Path,
    /// The settings that the stage depends on.
    pub config: &'a Value,
    /// SHA-256 of the content of each input. What is read must have it.
    pub inputs: &'a Contents,
    /// Fingerprint of the stage.
    pub fingerprint: &'a str,
    /// The attempts at this stage.
    pub attempts: &'a Attempts,
    /// The lock of the folder that holds the results: nothing is published without it.
    pub lock: Option<&'a Lock>,
    /// The program at work.
    pub program: &'a Program,
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
    fn execute(&self, job: &StageJob<'_>) -> Result<StageRecord, Failure>;
}

/// What the stages do.
pub trait StageRunner {
    /// Writes the results of a stage; returns a few facts for its record.
    fn perform(&self, job: &StageJob<'_>, out: &mut Staging) -> Result<Done, Failure>;
    /// Name of the device for the record.
    fn device(&self) -> String;
    /// Model name of the device for the record.
    fn device_name(&self) -> String;
}

/// What a stage tells of itself for its record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// A few facts for people.
    pub summary: Value,
    /// The memory that it was predicted to need, in bytes.
    pub predicted_memory: Option<u64>,
}

/// Runs stages in this process, one after the other.
pub struct LocalExecutor<W> {
    /// What the stages do.
    pub work: W,
}

impl<W: StageRunner> Executor for LocalExecutor<W> {
    fn execute(&self, job: &StageJob<'_>) -> Result<StageRecord, Failure> {
        let store = |e: dash_store::Error| job.failure(&e);
        machine::forget_peak_memory();
        let mut out = Staging::begin(job.dir).map_err(store)?;
        let Done { summary, predicted_memory } = self.work.perform(job, &mut out)?;
        let seconds = job.attempts.seconds();
        let record = StageRecord {
            format: StageRecord::FORMAT,
            stage: job.stage.name().into(),
            run: job.run.to_string(),
            fingerprint: job.fingerprint.into(),
            config: job.config.clone(),
            inputs: job.inputs.clone(),
            outputs: BTreeMap::new(),
            seconds,
            device: self.work.device(),
            plan: job.convolutions(),
            versions: BTreeMap::from([
                ("dash-nas".into(), env!("CARGO_PKG_VERSION").into()),
                ("stage".into(), code_format(job.stage).to_string()),
            ]),
            started: job.attempts.first_started().to_owned(),
            finished: now_utc(),
            summary,
            provenance: Some(Provenance {
                program: job.program.clone(),
                instruction_set: dash_conv::instruction_set().to_string(),
                device: self.work.device(),
                device_name: self.work.device_name(),
                threads: rayon::current_num_threads(),
                os: machine::os(),
                plan_policy: job.planner.policy().to_string(),
                profile: job.pipeline.profile.clone(),
                overrides: job.pipeline.overrides.clone(),
                first_started: job.attempts.first_started().to_owned(),
                attempts: job.attempts.count(),
                seconds,
                peak_memory: machine::peak_memory(),
                predicted_memory,
            }),
        };
        if let Some(lock) = job.lock {
            lock.still_mine().map_err(store)?;
        }
        let kept = superseded::place(job.dir, job.fingerprint);
        let record = record.publish(out, kept.as_deref()).map_err(store)?;
        if let Some(kept) = kept {
            let message = format!(
                "{}: the earlier results of {}, of other settings or inputs, are kept in {}",
                job.run,
                job.stage.name(),
                kept.display()
            );
            job.listener.on(&Event::Warning { message });
        }
        dash_store::remove(&job.checkpoint()).map_err(store)?;
        dash_store::remove(&attempts_of(job.dir)).map_err(store)?;
        Ok(record)
    }
}

impl StageJob<'_> {
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
        Failure::new(self.run, self.stage, cause)
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
