//! Running what must run.

use crate::{
    Error, Failure,
    attempts::{Attempts, attempts_of},
    contents::{self, Contents, Reader},
    executor::{Executor, StageJob, checkpoint_of},
    graph::{self, Folders, Node, RunSet, Stage},
    plan::{Decision, Raw, Step, examine, steps},
    progress::{ProgressReporter, progress_of},
    report::{self, ReportSection, gather},
    superseded,
};
use dash_core::{
    error::ErrorKind,
    event::{Event, Listener},
    pipeline::Pipeline,
    results::ResultRow,
    stage::RunId,
};
use dash_store::{HashMemo, Holder, Lock, Patience, StageRecord, publish_file, recover, recover_shared};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// What a run ended with.
#[derive(Debug, Default)]
pub struct RunOutcome {
    /// All measured values.
    pub rows: Vec<ResultRow>,
    /// Pages of the reports; the one over all pipelines, if any, is the last.
    pub reports: Vec<PathBuf>,
    /// Stages that failed.
    pub failures: Vec<Failure>,
    /// How many stages (reports not counted) ran to their end in this run.
    pub ran: usize,
}

impl RunOutcome {
    /// The failures as an error.
    pub fn error(&self) -> Option<Error> {
        match self.failures.as_slice() {
            [] => None,
            _ if self.is_stopped() => Some(Error::Stopped),
            many => Some(Error::Stages(many.to_vec())),
        }
    }

    /// Whether the run was asked to stop and did.
    fn is_stopped(&self) -> bool {
        self.failures.iter().any(|failure| failure.kind == ErrorKind::Stopped)
    }

    /// Adds the reports that exist now and, if the batch asks for one, the report over all.
    pub(crate) fn finish(
        &mut self,
        batch: &RunSet,
        folders: &Folders,
        parts: Vec<ReportSection>,
    ) -> Result<(), Error> {
        let reported = parts.iter().filter(|part| part.any_result());
        self.reports.extend(reported.map(|part| report::page(&part.name, folders)));
        if let (Some(name), true) = (&batch.report, parts.iter().any(ReportSection::any_result)) {
            report::write(name, &parts, folders)?;
            self.reports.push(report::page(name, folders));
        }
        self.rows.extend(parts.into_iter().flat_map(|part| part.rows));
        Ok(())
    }
}

/// Runs the pipelines of `batch`: stages whose results are there already are reused, a failed
/// stage stops only what depends on it, and the reports show what was finished.
///
/// # Errors
/// What prevents the run as a whole: another process holds a run, or files cannot be written.
/// Failed stages are in the outcome.
pub fn run(
    batch: &RunSet,
    folders: &Folders,
    executor: &dyn Executor,
    listener: &dyn Listener,
) -> Result<RunOutcome, Error> {
    batch.check()?;
    let mut outcome = RunOutcome::default();
    let mut parts = Vec::new();
    report::check_places(batch, folders)?;
    recover_shared(&folders.reports)?;
    let locks = take_locks(batch, folders, listener)?;
    let hashes = folders.hashes();
    for pipeline in &batch.pipelines {
        let policy = batch.planner.policy();
        match steps(pipeline, folders, policy, &hashes, Raw::Compared) {
            Ok(_) => {}
            Err(Error::Input(failure)) => {
                tell_failure(&failure, listener);
                outcome.failures.push(failure);
                parts.push(gather(pipeline, folders, policy, &hashes)?);
                continue;
            }
            Err(error) => return Err(error),
        }
        let name = pipeline.run_name();
        // Readers of the dataset keep memory-mapped copies beside it, without a lock.
        recover_shared(&folders.runs.dataset(&name).join("cache"))?;
        let text = dash_core::load::to_toml(pipeline)?;
        for &seed in &pipeline.seeds {
            publish_file(&folders.runs.run(&name, seed).join("pipeline.toml"), text.as_bytes())?;
        }
        let nodes = graph::stages(pipeline, folders, policy)?;
        let at_work = AtWork { batch, pipeline, folders, hashes: &hashes, executor, listener, locks: &locks };
        at_work.run_stages(nodes, &mut outcome)?;
        let _ = hashes.save();
        if outcome.is_stopped() {
            return Ok(outcome);
        }
        let part = gather(pipeline, folders, policy, &hashes)?;
        if part.any_result() {
            run_report(&part, folders, &hashes, listener)?;
        }
        parts.push(part);
    }
    outcome.finish(batch, folders, parts)?;
    let _ = hashes.save();
    Ok(outcome)
}

/// Makes the dataset of a pipeline and nothing else.
///
/// # Errors
/// As [`run`], and if the dataset cannot be made.
pub fn ingest(
    batch: &RunSet,
    pipeline: &Pipeline,
    folders: &Folders,
    executor: &dyn Executor,
    listener: &dyn Listener,
) -> Result<PathBuf, Error> {
    let hashes = folders.hashes();
    let mut outcome = RunOutcome::default();
    // Nothing is convolved on the way to a dataset.
    let nodes: Vec<Node> =
        graph::stages(pipeline, folders, batch.planner.policy())?.into_iter().take(1).collect();
    let at_work = AtWork { batch, pipeline, folders, hashes: &hashes, executor, listener, locks: &[] };
    at_work.run_stages(nodes, &mut outcome)?;
    let _ = hashes.save();
    match outcome.error() {
        Some(error) => Err(error),
        None => Ok(folders.runs.dataset(&pipeline.run_name())),
    }
}

/// The locks of all runs of a batch, taken before anything runs, so that a second process is
/// refused at once and not after hours.
///
/// Whoever makes a dataset holds the lock of its pipeline and looks at the locks of the runs
/// ([`refuse_replacing`]); whoever runs holds those and looks at the lock of the pipeline here: so no
/// dataset is replaced under a run that uses it.
fn take_locks(batch: &RunSet, folders: &Folders, listener: &dyn Listener) -> Result<Vec<Lock>, Error> {
    dash_store::require_descriptors(batch.pipelines.iter().map(|pipeline| pipeline.seeds.len()).sum())?;
    let mut locks = Vec::new();
    for pipeline in &batch.pipelines {
        for &seed in &pipeline.seeds {
            let dir = folders.runs.run(&pipeline.run_name(), seed);
            locks.push(Lock::acquire(&dir)?);
            recover(&dir)?;
        }
        drop(dataset_lock(pipeline, folders, listener)?);
    }
    Ok(locks)
}

/// The lock of the dataset of a pipeline; waits while another process makes it, as long as that shows any sign of work.
fn dataset_lock(pipeline: &Pipeline, folders: &Folders, listener: &dyn Listener) -> Result<Lock, Error> {
    let dir = folders.runs.pipeline(&pipeline.run_name());
    let tell = |holder: &Holder, waited: Duration| {
        let name = pipeline.run_name();
        let message = match waited.as_secs() / 60 {
            0 => format!("waiting for {holder}, which makes the dataset of {name}"),
            minutes => format!("waiting for {minutes} min for {holder}, which makes the dataset of {name}"),
        };
        listener.on(&Event::Warning { message });
    };
    let sign = || dash_store::last_change(&dir);
    let patience = Patience { limit: PATIENCE, sign: &sign, tell: &tell, tell_every: TELL_EVERY };
    Ok(Lock::wait(&dir, &patience)?)
}

/// How long to wait for a process that makes a dataset and changes nothing: the longest silence of an ingestion is
/// that of reading its largest raw file.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);
/// Time between two warnings that another process is waited for.
const TELL_EVERY: Duration = Duration::from_secs(300);

/// Refuses to replace a dataset that a run of another process uses.
fn refuse_replacing(pipeline: &Pipeline, dataset: &Path, folders: &Folders) -> Result<(), Error> {
    if !dataset.exists() {
        return Ok(());
    }
    for seed in folders.runs.seeds(&pipeline.run_name())? {
        let path = folders.runs.run(&pipeline.run_name(), seed);
        if let Some(holder) = Lock::holder(&path)?.filter(|holder| !holder.own) {
            return Err(dash_store::Error::Locked { path, holder }.into());
        }
    }
    Ok(())
}

/// A pipeline that is being run, and with what.
struct AtWork<'a> {
    batch: &'a RunSet,
    pipeline: &'a Pipeline,
    folders: &'a Folders,
    hashes: &'a HashMemo,
    executor: &'a dyn Executor,
    listener: &'a dyn Listener,
    locks: &'a [Lock],
}

impl AtWork<'_> {
    /// Runs all stages but the report, in order. Each is decided about when its inputs are finished, for only then
    /// is their content known.
    fn run_stages(&self, nodes: Vec<Node>, outcome: &mut RunOutcome) -> Result<(), Error> {
        let mut done: Vec<Step> = Vec::with_capacity(nodes.len());
        for node in nodes {
            let mut step = match examine(self.pipeline, node, &done, self.hashes, Raw::Compared) {
                Ok(step) => step,
                Err(Error::Input(failure)) => {
                    tell_failure(&failure, self.listener);
                    outcome.failures.push(failure);
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            if step.node.stage != Stage::Report && !outcome.is_stopped() && self.settle(&step, outcome)? {
                step.decision = Decision::Reuse;
                let mut left = Contents::new();
                contents::add(&mut left, Reader::Stage, &step.node, &step.node.dir, self.hashes)?;
                step.left = Some(left);
            }
            done.push(step);
        }
        Ok(())
    }

    /// Sees to it that the results of a step exist; tells whether they do.
    fn settle(&self, step: &Step, outcome: &mut RunOutcome) -> Result<bool, Error> {
        let (node, Some(fingerprint)) = (&step.node, step.fingerprint()) else { return Ok(false) };
        match &step.decision {
            Decision::Reuse => {
                if let Some(failure) = &step.unchecked {
                    let message = format!(
                        "{}: the dataset is reused, but not compared with its raw files: {}",
                        node.run, failure.message
                    );
                    self.listener.on(&Event::Warning { message });
                }
                // A process may have ended between the results and this.
                if node.seed.is_some() {
                    dash_store::remove(&checkpoint_of(&node.dir))?;
                }
                dash_store::remove(&attempts_of(&node.dir))?;
                dash_store::remove(&progress_of(&node.dir))?;
                self.reused(node);
                Ok(true)
            }
            Decision::Restore { from, .. } => {
                let _lock = self.lock_of(node)?;
                let kept = superseded::place(&node.dir, &fingerprint);
                dash_store::exchange(from, &node.dir, kept.as_deref())?;
                self.reused(node);
                Ok(true)
            }
            Decision::Run { reason, damaged, .. } => {
                if let Some(file) = damaged {
                    let message = format!("{} is damaged and made again", node.dir.join(file).display());
                    self.listener.on(&Event::Warning { message });
                }
                match self.run_one(step, &fingerprint, reason)? {
                    Ok(ran) => {
                        outcome.ran += usize::from(ran);
                        Ok(true)
                    }
                    Err(failure) => {
                        tell_failure(&failure, self.listener);
                        outcome.failures.push(failure);
                        Ok(false)
                    }
                }
            }
        }
    }

    fn reused(&self, node: &Node) {
        self.listener.on(&Event::StageReused { run: node.run.clone(), stage: node.stage });
    }

    /// The lock that is needed to replace the results of `node`, besides those of the runs. The dataset is shared:
    /// its lock is the pipeline's and is held only while it is made.
    fn lock_of(&self, node: &Node) -> Result<Option<Lock>, Error> {
        if node.seed.is_some() {
            return Ok(None);
        }
        let lock = dataset_lock(self.pipeline, self.folders, self.listener)?;
        recover(&self.folders.runs.pipeline(&self.pipeline.run_name()))?;
        refuse_replacing(self.pipeline, &node.dir, self.folders)?;
        Ok(Some(lock))
    }

    /// Runs a stage; tells whether it had to run at all.
    fn run_one(&self, step: &Step, fingerprint: &str, reason: &str) -> Result<Result<bool, Failure>, Error> {
        let (node, inputs) = (&step.node, step.inputs.clone().unwrap_or_default());
        let (run, stage) = (node.run.clone(), node.stage);
        let own = self.lock_of(node)?;
        let of_run = |lock: &&Lock| lock.path().parent() == node.dir.parent();
        let lock = own.as_ref().or_else(|| self.locks.iter().find(of_run));
        if node.seed.is_none() {
            // Another process may have made it while this one waited.
            let there = StageRecord::read(&node.dir).ok().flatten();
            let same = |r: StageRecord| {
                r.fingerprint == fingerprint && r.damaged_output(&node.dir, self.hashes).is_none()
            };
            if there.is_some_and(same) {
                self.reused(node);
                return Ok(Ok(false));
            }
        }
        let started = Event::StageStarted { run: run.clone(), stage, reason: reason.to_owned() };
        self.listener.on(&started);
        let attempts = Attempts::begin(&node.dir, fingerprint);
        let told = ProgressReporter::new(self.listener, &node.dir, node.stage, self.pipeline, &attempts);
        let job = StageJob {
            pipeline: self.pipeline,
            stage: node.stage,
            seed: node.seed,
            run: &node.run,
            dir: &node.dir,
            config: &node.config,
            inputs: &inputs,
            fingerprint,
            attempts: &attempts,
            lock,
            program: &self.batch.program,
            planner: &self.batch.planner.with_fresh_log(),
            folders: self.folders,
            listener: &told,
        };
        let done = self.executor.execute(&job);
        told.finish();
        if let Err(failure) = &done {
            let stopped = failure.kind == ErrorKind::Stopped;
            attempts.save((!stopped).then_some(failure.message.as_str()));
        }
        Ok(done.map(|record: StageRecord| {
            self.listener.on(&Event::StageFinished { run, stage, seconds: record.seconds });
            true
        }))
    }
}

/// Rebuilds the report of a pipeline unless it shows exactly these results already.
fn run_report(
    part: &ReportSection,
    folders: &Folders,
    hashes: &HashMemo,
    listener: &dyn Listener,
) -> Result<(), Error> {
    let (run, stage) = (RunId::new(&part.name, None), Stage::Report);
    let reason = match report::stale(part, folders, hashes)? {
        Some(reason) => reason,
        None => {
            listener.on(&Event::StageReused { run, stage });
            return Ok(());
        }
    };
    listener.on(&Event::StageStarted { run: run.clone(), stage, reason });
    let record = report::write(&part.name, std::slice::from_ref(part), folders)?;
    listener.on(&Event::StageFinished { run, stage, seconds: record.seconds });
    Ok(())
}

fn tell_failure(failure: &Failure, listener: &dyn Listener) {
    let (run, stage) = (failure.run.clone(), failure.stage);
    if failure.kind == ErrorKind::Stopped {
        return listener.on(&Event::StageStopped { run, stage });
    }
    listener.on(&Event::StageFailed { run, stage, error: failure.message.clone() });
}
