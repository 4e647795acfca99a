//! Running what must run.

use crate::{
    Error, Failure,
    executor::{Executor, Job, checkpoint_of},
    graph::{Batch, Folders, Stage},
    plan::{Decision, Step, steps},
    progress::{Told, progress_of},
    report::{self, Part, gather},
};
use dash_conv::Planner;
use dash_core::{
    error::ErrorKind,
    event::{Event, Listener},
    pipeline::Pipeline,
    results::ResultRow,
};
use dash_store::{Holder, Lock, Patience, StageRecord, publish_file, recover, recover_shared};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// What a run ended with.
#[derive(Debug, Default)]
pub struct Outcome {
    /// All measured values.
    pub rows: Vec<ResultRow>,
    /// Pages of the reports; the one over all pipelines, if any, is the last.
    pub reports: Vec<PathBuf>,
    /// Stages that failed.
    pub failures: Vec<Failure>,
    /// How many stages (reports not counted) ran to their end in this run.
    pub ran: usize,
}

impl Outcome {
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
    pub(crate) fn finish(&mut self, batch: &Batch, folders: &Folders, parts: Vec<Part>) -> Result<(), Error> {
        self.reports.extend(parts.iter().map(|part| report::page(&part.config.pipeline, folders)));
        if let (Some(name), false) = (&batch.report, parts.is_empty()) {
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
    batch: &Batch,
    folders: &Folders,
    executor: &dyn Executor,
    listener: &dyn Listener,
) -> Result<Outcome, Error> {
    batch.check()?;
    let mut outcome = Outcome::default();
    let mut parts = Vec::new();
    report::check_places(batch, folders)?;
    let _locks = take_locks(batch, folders, listener)?;
    for pipeline in &batch.pipelines {
        let steps = match steps(pipeline, folders, batch.planner.policy()) {
            Ok(steps) => steps,
            Err(Error::Input(failure)) => {
                tell_failure(&failure, listener);
                outcome.failures.push(failure);
                continue;
            }
            Err(error) => return Err(error),
        };
        // Readers of the dataset keep memory-mapped copies beside it, without a lock.
        recover_shared(&folders.runs.dataset(&pipeline.name).join("cache"))?;
        let text = dash_core::load::to_toml(pipeline)?;
        for &seed in &pipeline.seeds {
            publish_file(&folders.runs.run(&pipeline.name, seed).join("pipeline.toml"), text.as_bytes())?;
        }
        let finished =
            run_stages(pipeline, &steps, &batch.planner, folders, executor, listener, &mut outcome)?;
        if outcome.is_stopped() {
            return Ok(outcome);
        }
        let fine = |step: &Step| steps.iter().zip(&finished).any(|(s, done)| *done && std::ptr::eq(s, step));
        let part = gather(pipeline, folders, &steps, &fine)?;
        if !part.rows.is_empty() {
            run_report(pipeline, &steps, &part, folders, listener)?;
            parts.push(part);
        }
    }
    outcome.finish(batch, folders, parts)?;
    Ok(outcome)
}

/// Makes the dataset of a pipeline and nothing else.
pub fn ingest(
    pipeline: &Pipeline,
    folders: &Folders,
    executor: &dyn Executor,
    listener: &dyn Listener,
) -> Result<PathBuf, Error> {
    // Nothing is convolved on the way to a dataset.
    let planner = Planner::default();
    let steps = steps(pipeline, folders, planner.policy())?;
    let mut outcome = Outcome::default();
    let dataset = steps.get(..1).unwrap_or_default();
    run_stages(pipeline, dataset, &planner, folders, executor, listener, &mut outcome)?;
    match outcome.error() {
        Some(error) => Err(error),
        None => Ok(folders.runs.dataset(&pipeline.name)),
    }
}

/// The locks of all runs of a batch, taken before anything runs, so that a second process is
/// refused at once and not after hours.
///
/// Whoever makes a dataset holds the lock of its pipeline and looks at the locks of the runs
/// ([`refuse_replacing`]); whoever runs holds those and looks at the lock of the pipeline here: so no
/// dataset is replaced under a run that uses it.
fn take_locks(batch: &Batch, folders: &Folders, listener: &dyn Listener) -> Result<Vec<Lock>, Error> {
    dash_store::require_descriptors(batch.pipelines.iter().map(|pipeline| pipeline.seeds.len()).sum())?;
    let mut locks = Vec::new();
    for pipeline in &batch.pipelines {
        for &seed in &pipeline.seeds {
            let dir = folders.runs.run(&pipeline.name, seed);
            locks.push(Lock::acquire(&dir)?);
            recover(&dir)?;
        }
        drop(dataset_lock(pipeline, folders, listener)?);
    }
    Ok(locks)
}

/// The lock of the dataset of a pipeline; waits while another process makes it, as long as that shows any sign of work.
fn dataset_lock(pipeline: &Pipeline, folders: &Folders, listener: &dyn Listener) -> Result<Lock, Error> {
    let dir = folders.runs.pipeline(&pipeline.name);
    let tell = |holder: &Holder, waited: Duration| {
        let name = &pipeline.name;
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
    for seed in folders.runs.seeds(&pipeline.name)? {
        let path = folders.runs.run(&pipeline.name, seed);
        if let Some(holder) = Lock::holder(&path)?.filter(|holder| !holder.own) {
            return Err(dash_store::Error::Locked { path, holder }.into());
        }
    }
    Ok(())
}

/// Runs all stages but the report, in order; tells for each step whether its results are there.
fn run_stages(
    pipeline: &Pipeline,
    steps: &[Step],
    planner: &Planner,
    folders: &Folders,
    executor: &dyn Executor,
    listener: &dyn Listener,
    outcome: &mut Outcome,
) -> Result<Vec<bool>, Error> {
    let mut finished: Vec<bool> = Vec::with_capacity(steps.len());
    for step in steps {
        let node = &step.node;
        let ready = node.inputs.iter().all(|&i| finished.get(i) == Some(&true));
        if outcome.is_stopped() {
            finished.push(false);
            continue;
        }
        let done = match &step.decision {
            _ if !ready || node.stage == Stage::Report => false,
            Decision::Reuse => {
                // A process may have ended between the results and this.
                if node.seed.is_some() {
                    dash_store::remove(&checkpoint_of(&node.dir))?;
                }
                dash_store::remove(&progress_of(&node.dir))?;
                listener.on(&Event::StageReused { run: node.run.clone(), stage: node.stage.name().into() });
                true
            }
            Decision::Run { reason, damaged, .. } => {
                if let Some(file) = damaged {
                    let message = format!("{} is damaged and made again", node.dir.join(file).display());
                    listener.on(&Event::Warning { message });
                }
                match run_one(pipeline, step, reason, planner, folders, executor, listener)? {
                    Ok(()) => {
                        outcome.ran += 1;
                        true
                    }
                    Err(failure) => {
                        tell_failure(&failure, listener);
                        outcome.failures.push(failure);
                        false
                    }
                }
            }
        };
        finished.push(done);
    }
    Ok(finished)
}

fn run_one(
    pipeline: &Pipeline,
    step: &Step,
    reason: &str,
    planner: &Planner,
    folders: &Folders,
    executor: &dyn Executor,
    listener: &dyn Listener,
) -> Result<Result<(), Failure>, Error> {
    let node = &step.node;
    let (run, stage) = (node.run.clone(), node.stage.name().to_owned());
    // The dataset is shared: its lock is the pipeline's and is held only while it is made.
    let _lock = match node.seed {
        None => {
            let lock = dataset_lock(pipeline, folders, listener)?;
            recover(&folders.runs.pipeline(&pipeline.name))?;
            // Another process may have made it while this one waited.
            let there = StageRecord::read(&node.dir).ok().flatten();
            if there
                .is_some_and(|r| r.fingerprint == step.fingerprint && r.damaged_output(&node.dir).is_none())
            {
                listener.on(&Event::StageReused { run, stage });
                return Ok(Ok(()));
            }
            refuse_replacing(pipeline, &node.dir, folders)?;
            Some(lock)
        }
        Some(_) => None,
    };
    listener.on(&Event::StageStarted { run: run.clone(), stage: stage.clone(), reason: reason.to_owned() });
    let told = Told::new(listener, &node.dir, node.stage, pipeline);
    let job = Job {
        pipeline,
        stage: node.stage,
        seed: node.seed,
        run: &node.run,
        dir: &node.dir,
        config: &node.config,
        inputs: &step.inputs,
        fingerprint: &step.fingerprint,
        planner: &planner.remembering_anew(),
        folders,
        listener: &told,
    };
    let done = executor.execute(&job);
    told.finish();
    Ok(done.map(|record: StageRecord| {
        listener.on(&Event::StageFinished { run, stage, seconds: record.seconds });
    }))
}

/// Rebuilds the report of a pipeline unless it shows exactly these results already.
fn run_report(
    pipeline: &Pipeline,
    steps: &[Step],
    part: &Part,
    folders: &Folders,
    listener: &dyn Listener,
) -> Result<(), Error> {
    let (run, stage) = (pipeline.name.clone(), Stage::Report.name().to_owned());
    let decision = steps.last().map(|step| &step.decision);
    if let Some(Decision::Reuse) = decision {
        listener.on(&Event::StageReused { run, stage });
        return Ok(());
    }
    let reason = match decision {
        Some(Decision::Run { reason, .. }) => reason.clone(),
        _ => "new".into(),
    };
    listener.on(&Event::StageStarted { run: run.clone(), stage: stage.clone(), reason });
    let record = report::write(&pipeline.name, std::slice::from_ref(part), folders)?;
    listener.on(&Event::StageFinished { run, stage, seconds: record.seconds });
    Ok(())
}

fn tell_failure(failure: &Failure, listener: &dyn Listener) {
    let (run, stage) = (failure.run.clone(), failure.stage.clone());
    if failure.kind == ErrorKind::Stopped {
        return listener.on(&Event::StageStopped { run, stage });
    }
    listener.on(&Event::StageFailed { run, stage, error: failure.message.clone() });
}
