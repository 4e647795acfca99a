//! Runs the stages of one pipeline.

use crate::{
    attempts::{Attempts, attempts_path},
    contents::{self, Contents},
    error::{Error, Failure},
    executor::{Executor, LocalExecutor, StageJob, checkpoint_path},
    graph::Node,
    locks,
    outcome::{RunOutcome, StepOutcome, StepResult},
    plan::{Decision, Planning, Step},
    progress::{ProgressReporter, progress_path},
    report::{ReportRunner, ReportSection},
    superseded,
};
use dash_conv::Planner;
use dash_core::{
    error::ErrorKind,
    event::{Event, Listener},
    pipeline::Pipeline,
    provenance::Program,
    stage::Stage,
};
use dash_store::{Lock, StageRecord};

/// A pipeline that is being run, and with what.
pub(crate) struct PipelineRun<'a> {
    /// The pipeline; the first one for a report over several.
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) planning: Planning<'a>,
    pub(crate) planner: &'a Planner,
    pub(crate) program: &'a Program,
    pub(crate) executor: &'a dyn Executor,
    pub(crate) listener: &'a dyn Listener,
    /// The locks of the runs.
    pub(crate) locks: &'a [Lock],
}

impl PipelineRun<'_> {
    /// Checks that all stages can be planned. If the inputs of one cannot be read, it has failed.
    pub(crate) fn check(&self, outcome: &mut RunOutcome) -> Result<bool, Error> {
        match self.planning.steps(self.pipeline) {
            Ok(_) => Ok(true),
            Err(Error::Input(failure)) => {
                self.record_failure(failure, outcome);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Runs the stages in order. Each is planned when its inputs are finished, because only then is their content known.
    pub(crate) fn run_stages(&self, nodes: Vec<Node>, outcome: &mut RunOutcome) -> Result<(), Error> {
        let mut earlier: Vec<Step> = Vec::with_capacity(nodes.len());
        let mut ended = false;
        for node in nodes {
            let (run, stage) = (node.run.clone(), node.stage);
            if ended {
                outcome.steps.push(StepOutcome { run, stage, result: StepResult::Skipped });
                continue;
            }
            let mut step = match self.planning.step(self.pipeline, node, &earlier) {
                Ok(step) => step,
                Err(Error::Input(failure)) => {
                    self.record_failure(failure, outcome);
                    ended = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let result = self.settle(&step, self.executor)?;
            ended = matches!(result, StepResult::Stopped(_));
            if result.is_available() {
                step.decision = Decision::Reuse;
                step.record = StageRecord::read(&step.node.dir)?;
                let mut outputs = Contents::new();
                contents::add(&mut outputs, &step.node, &step.node.dir, self.planning.hashes)?;
                step.outputs = Some(outputs);
            }
            outcome.steps.push(StepOutcome { run, stage, result });
            earlier.push(step);
        }
        Ok(())
    }

    /// Writes a report unless it shows exactly these results already.
    pub(crate) fn run_report(
        &self,
        step: &Step,
        sections: &[ReportSection],
        outcome: &mut RunOutcome,
    ) -> Result<(), Error> {
        let result = self.settle(step, &LocalExecutor { runner: ReportRunner { sections } })?;
        outcome.steps.push(StepOutcome { run: step.node.run.clone(), stage: step.node.stage, result });
        Ok(())
    }

    /// Makes the results of a step available, if that is possible.
    fn settle(&self, step: &Step, executor: &dyn Executor) -> Result<StepResult, Error> {
        let (node, Some(fingerprint)) = (&step.node, step.fingerprint()) else {
            return Ok(StepResult::Skipped);
        };
        match &step.decision {
            Decision::Reuse => {
                if let Some(failure) = &step.unchecked {
                    self.warn(format!(
                        "{}: the dataset is reused, but not compared with its raw files: {}",
                        node.run, failure.message
                    ));
                }
                // A process may have ended after publishing the results and before removing these.
                if node.run.seed.is_some() {
                    dash_store::remove(&checkpoint_path(&node.dir))?;
                }
                dash_store::remove(&attempts_path(&node.dir))?;
                dash_store::remove(&progress_path(&node.dir))?;
                Ok(self.reused(node))
            }
            Decision::Restore { from, .. } => {
                let _lock = self.dataset_lock(node)?;
                let kept = superseded::folder_for(node.stage, &node.dir, &fingerprint);
                dash_store::exchange(from, &node.dir, kept.as_deref())?;
                Ok(self.reused(node))
            }
            Decision::Run { reason, damaged, .. } => {
                if let Some(file) = damaged {
                    self.warn(format!("{} is damaged; the stage runs again", node.dir.join(file).display()));
                }
                self.execute(step, &fingerprint, reason, executor)
            }
        }
    }

    fn execute(
        &self,
        step: &Step,
        fingerprint: &str,
        reason: &str,
        executor: &dyn Executor,
    ) -> Result<StepResult, Error> {
        let node = &step.node;
        let own_lock = self.dataset_lock(node)?;
        let of_run = |lock: &&Lock| lock.path().parent() == node.dir.parent();
        let lock = own_lock.as_ref().or_else(|| self.locks.iter().find(of_run));
        // Another process may have made it while this one waited for the lock.
        if node.stage == Stage::Dataset && self.is_finished(node, fingerprint) {
            return Ok(self.reused(node));
        }
        let (run, stage) = (node.run.clone(), node.stage);
        self.listener.on(&Event::StageStarted { run: run.clone(), stage, reason: reason.to_owned() });
        let attempts = Attempts::begin(&node.dir, fingerprint);
        let progress = ProgressReporter::new(self.listener, &node.dir, stage, self.pipeline, &attempts);
        let inputs = step.inputs.clone().unwrap_or_default();
        let job = StageJob {
            pipeline: self.pipeline,
            stage,
            run: &node.run,
            dir: &node.dir,
            config: &node.config,
            inputs: &inputs,
            fingerprint,
            attempts: &attempts,
            lock,
            program: self.program,
            planner: &self.planner.with_fresh_log(),
            folders: self.planning.folders,
            listener: &progress,
        };
        let result = executor.execute(&job);
        progress.finish();
        match result {
            Ok(record) => {
                self.listener.on(&Event::StageFinished { run, stage, seconds: record.seconds });
                Ok(StepResult::Done(Box::new(record)))
            }
            Err(error) => {
                let failure = Failure::of_stage(&run, stage, &error);
                let is_stopped = failure.kind == ErrorKind::Stopped;
                attempts.save((!is_stopped).then_some(failure.message.as_str()));
                Ok(self.failed(failure))
            }
        }
    }

    /// Locks the folder of a dataset that will be replaced. Datasets are shared by all seeds: their lock is the
    /// pipeline's and is held only meanwhile. Other stages are protected by the locks of the runs.
    fn dataset_lock(&self, node: &Node) -> Result<Option<Lock>, Error> {
        (node.stage == Stage::Dataset)
            .then(|| locks::for_dataset(self.pipeline, self.planning.folders, self.listener))
            .transpose()
    }

    fn is_finished(&self, node: &Node, fingerprint: &str) -> bool {
        StageRecord::read(&node.dir).ok().flatten().is_some_and(|record| {
            record.fingerprint == fingerprint
                && record.damaged_output(&node.dir, self.planning.hashes).is_none()
        })
    }

    fn reused(&self, node: &Node) -> StepResult {
        self.listener.on(&Event::StageReused { run: node.run.clone(), stage: node.stage });
        StepResult::Reused
    }

    fn failed(&self, failure: Failure) -> StepResult {
        let (run, stage) = (failure.run.clone(), failure.stage);
        if failure.kind == ErrorKind::Stopped {
            self.listener.on(&Event::StageStopped { run, stage });
            return StepResult::Stopped(failure);
        }
        self.listener.on(&Event::StageFailed { run, stage, error: failure.message.clone() });
        StepResult::Failed(failure)
    }

    fn record_failure(&self, failure: Failure, outcome: &mut RunOutcome) {
        let (run, stage) = (failure.run.clone(), failure.stage);
        outcome.steps.push(StepOutcome { run, stage, result: self.failed(failure) });
    }

    fn warn(&self, message: String) {
        self.listener.on(&Event::Warning { message });
    }
}
