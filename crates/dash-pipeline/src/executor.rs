//! Performs one stage: in this process, in another one, or on a cluster.

use crate::{
    attempts::{Attempts, attempts_path},
    contents::Contents,
    error::StageError,
    folders::Folders,
    graph::code_format,
    host, superseded,
};
use dash_conv::Planner;
use dash_core::{
    event::{Event, Listener},
    pipeline::Pipeline,
    provenance::{Program, Provenance},
    stage::{RunId, Stage},
};
use dash_store::{ConvolutionPlan, Lock, StageRecord, Staging, now_utc};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// One stage to run. Its inputs are finished.
pub struct StageJob<'a> {
    /// The effective configuration of the pipeline; of the first one for a report over several.
    pub pipeline: &'a Pipeline,
    /// The stage.
    pub stage: Stage,
    /// The run that the stage belongs to.
    pub run: &'a RunId,
    /// The folder in which the results must appear.
    pub dir: &'a Path,
    /// The settings that the stage depends on.
    pub config: &'a Value,
    /// SHA-256 of the content of each input. What the stage reads must have this content.
    pub inputs: &'a Contents,
    /// Fingerprint of the stage.
    pub fingerprint: &'a str,
    /// The attempts at the stage.
    pub attempts: &'a Attempts,
    /// The lock of the folder that holds the results. Nothing is published once it is lost.
    pub lock: Option<&'a Lock>,
    /// The running program.
    pub program: &'a Program,
    /// Plans the convolutions. It remembers only those of this stage.
    pub planner: &'a Planner,
    /// All folders, to find the inputs.
    pub folders: &'a Folders,
    /// Receives the events of the stage.
    pub listener: &'a dyn Listener,
}

/// Brings a stage to its end: in this process, in another one, or on a cluster.
pub trait Executor: Send + Sync {
    /// Runs the stage and returns its record once its results are published.
    ///
    /// # Errors
    /// If the stage fails or stops at a checkpoint; nothing is published then.
    fn execute(&self, job: &StageJob<'_>) -> Result<StageRecord, StageError>;
}

/// Does the work of stages.
pub trait StageRunner: Send + Sync {
    /// Writes the results of a stage to `out`.
    ///
    /// # Errors
    /// If the stage fails or stops at a checkpoint.
    fn perform(&self, job: &StageJob<'_>, out: &mut Staging) -> Result<StageSummary, StageError>;
    /// Name of the device for the record.
    fn device(&self) -> String;
    /// Model name of the device for the record.
    fn device_name(&self) -> String;
}

/// What a stage says about itself in its record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageSummary {
    /// A few facts for people who read the record.
    pub facts: Value,
    /// Memory that was predicted before the stage ran, in bytes; `None` for stages that do not train.
    pub predicted_memory: Option<u64>,
}

/// Runs stages in this process, one after the other.
pub struct LocalExecutor<R> {
    /// Does the work of the stages.
    pub runner: R,
}

impl<R: StageRunner> Executor for LocalExecutor<R> {
    fn execute(&self, job: &StageJob<'_>) -> Result<StageRecord, StageError> {
        host::reset_peak_memory();
        let mut out = Staging::begin(job.dir)?;
        let summary = self.runner.perform(job, &mut out)?;
        let record = job.record(summary, self.runner.device(), self.runner.device_name());
        if let Some(lock) = job.lock {
            lock.still_mine()?;
        }
        let kept = superseded::folder_for(job.stage, job.dir, job.fingerprint);
        let record = record.publish(out, kept.as_deref())?;
        if let Some(kept) = kept {
            let message = format!(
                "{}: the earlier results of {}, of other settings or inputs, are kept in {}",
                job.run,
                job.stage,
                kept.display()
            );
            job.listener.on(&Event::Warning { message });
        }
        dash_store::remove(&job.checkpoint())?;
        dash_store::remove(&attempts_path(job.dir))?;
        Ok(record)
    }
}

impl StageJob<'_> {
    /// The record of the stage, which has just finished. Its outputs are hashed when it is published.
    fn record(&self, summary: StageSummary, device: String, device_name: String) -> StageRecord {
        let seconds = self.attempts.seconds();
        StageRecord {
            format: StageRecord::FORMAT,
            stage: self.stage.name().into(),
            run: self.run.to_string(),
            fingerprint: self.fingerprint.into(),
            config: self.config.clone(),
            inputs: self.inputs.clone(),
            outputs: BTreeMap::new(),
            seconds,
            device: device.clone(),
            plan: self.stage.is_training().then(|| convolution_plan(self.planner)),
            versions: BTreeMap::from([
                ("dash-nas".into(), env!("CARGO_PKG_VERSION").into()),
                ("stage".into(), code_format(self.stage).to_string()),
            ]),
            started: self.attempts.first_started().to_owned(),
            finished: now_utc(),
            summary: summary.facts,
            provenance: Some(Provenance {
                program: self.program.clone(),
                instruction_set: dash_conv::instruction_set().to_string(),
                device,
                device_name,
                threads: rayon::current_num_threads(),
                os: host::os(),
                plan_policy: self.planner.policy().to_string(),
                profile: self.pipeline.profile.clone(),
                overrides: self.pipeline.overrides.clone(),
                first_started: self.attempts.first_started().to_owned(),
                attempts: self.attempts.count(),
                seconds,
                peak_memory: host::peak_memory(),
                predicted_memory: summary.predicted_memory,
            }),
        }
    }

    /// The folder in which the stage keeps its checkpoint while it runs.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        checkpoint_path(self.dir)
    }
}

/// The plans that a planner has chosen so far.
pub(crate) fn convolution_plan(planner: &Planner) -> ConvolutionPlan {
    ConvolutionPlan {
        by: planner.policy().to_string(),
        convolutions: planner.choices().iter().map(ToString::to_string).collect(),
    }
}

/// The folder in which a stage with results in `dir` keeps its checkpoint while it runs.
pub(crate) fn checkpoint_path(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.checkpoint"))
}
