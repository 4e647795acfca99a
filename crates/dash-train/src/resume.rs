//! Checkpoints inside a stage: all that is needed to go on from a step as if nothing had happened.
//!
//! Random draws depend on (seed, stage, epoch, step or row) alone, so that no generator has a state:
//! parameters, buffers, momenta, the position and what was measured so far are everything.

use crate::{
    Error, HistorySeries, Recovery, StageContext, StepState,
    checkpoint::{read_tensors, write_tensors},
    history::{read_history, read_series, write_history},
    manifest::{BEST, FORMAT, HISTORY, MANIFEST, MOMENTA, Manifest, Refusal, START, START_MOMENTA, STATE},
};
use candle_core::Tensor;
use dash_core::{
    event::{Event, Listener},
    results::Epoch,
};
use dash_nn::{Optimizer, Params, Sgd};
use dash_store::Staging;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Unless told otherwise, time between two checkpoints: at least this long, and at least so many times
/// as long as the last one took, which keeps their share of the time below two per cent.
const LEAST: Duration = Duration::from_secs(60);
const TIMES: u32 = 50;

/// A place in a training: the next step to take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainingPosition {
    /// Zero-based epoch.
    pub epoch: usize,
    /// Steps taken in this epoch.
    pub step: usize,
    /// Sum of the losses of these steps.
    pub loss: f64,
}

impl TrainingPosition {
    /// The beginning of an epoch.
    pub fn start_of(epoch: usize) -> TrainingPosition {
        TrainingPosition { epoch, ..TrainingPosition::default() }
    }

    /// Where `epoch` begins for who goes on from here.
    pub fn enter(self, epoch: usize) -> TrainingPosition {
        if self.epoch == epoch { self } else { TrainingPosition::start_of(epoch) }
    }
}

/// The best network so far.
#[derive(Clone, Debug)]
pub struct BestModel {
    /// Zero-based epoch.
    pub epoch: usize,
    /// Its score.
    pub score: f64,
    /// Its parameters and buffers; empty if they are not needed.
    pub state: Vec<(String, Tensor)>,
}

/// What a stage knows at a position, besides its network and optimiser.
#[derive(Clone, Debug, Default)]
pub struct CheckpointState {
    /// The next step.
    pub position: TrainingPosition,
    /// Finished epochs.
    pub history: Vec<Epoch>,
    /// What else was recorded in each of them.
    pub series: Vec<HistorySeries>,
    /// The best network so far, if one is looked for.
    pub best: Option<BestModel>,
    /// Scores of the finished trials of a tuning, `None` for diverged ones.
    pub scores: Vec<Option<f64>>,
    /// What training could go back to, if it may.
    pub recovery: Option<Recovery>,
}

/// What a checkpoint of a stage can say, by its settings and data.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Epochs of a training.
    pub epochs: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Trials, if the stage has several trainings; else its history has a row per finished epoch.
    pub trials: Option<usize>,
}

/// Where a stage keeps its checkpoint while it runs, and when it takes one.
#[derive(Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    fingerprint: String,
    every: Option<Duration>,
    clock: Mutex<Clock>,
}

#[derive(Debug)]
struct Clock {
    last: Instant,
    cost: Duration,
    total: CheckpointStats,
}

/// What checkpoints have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CheckpointStats {
    /// How many were taken.
    pub taken: usize,
    /// How long that took.
    pub time: Duration,
}

impl Checkpoints {
    /// Checkpoints in the folder `dir` of the stage with this fingerprint, `every` so long, or as often as
    /// costs little.
    pub fn new(dir: PathBuf, fingerprint: &str, every: Option<Duration>) -> Checkpoints {
        let clock = Mutex::new(Clock {
            last: Instant::now(),
            cost: Duration::ZERO,
            total: CheckpointStats::default(),
        });
        Checkpoints { dir, fingerprint: fingerprint.to_owned(), every, clock }
    }

    /// What checkpoints have cost so far, in this process.
    pub fn total(&self) -> CheckpointStats {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    fn due(&self) -> bool {
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.every.unwrap_or_else(|| LEAST.max(clock.cost.saturating_mul(TIMES)));
        clock.last.elapsed() >= wait
    }

    /// Replaces the last checkpoint, in one step.
    fn save(&self, progress: &CheckpointState, params: &Params, sgd: &Sgd) -> Result<(), Error> {
        let started = Instant::now();
        let mut out = Staging::begin(&self.dir)?;
        let mut files = BTreeMap::new();
        let mut tensors = vec![(STATE, params.state()?), (MOMENTA, sgd.state()?)];
        if let Some(best) = progress.best.as_ref().filter(|best| !best.state.is_empty()) {
            tensors.push((BEST, best.state.clone()));
        }
        if let Some([state, momenta]) = progress.recovery.as_ref().and_then(|recovery| recovery.start.clone())
        {
            tensors.extend([(START, state), (START_MOMENTA, momenta)]);
        }
        let bytes: usize = tensors.iter().flat_map(|(_, all)| all).map(|(_, t)| 4 * t.elem_count()).sum();
        out.require(bytes as u64)?;
        for (name, tensors) in tensors {
            files.insert(name.to_owned(), write_tensors(&mut out, name, &tensors)?);
        }
        write_history(&mut out, &progress.history, &progress.series)?;
        files.insert(HISTORY.to_owned(), dash_store::sha256_file(&out.path().join(HISTORY))?);
        let TrainingPosition { epoch, step, loss } = progress.position;
        let manifest = Manifest {
            format: FORMAT,
            fingerprint: self.fingerprint.clone(),
            epoch,
            step,
            loss_bits: loss.to_bits(),
            best: progress.best.as_ref().map(|best| (best.epoch, best.score.to_bits())),
            scores: progress.scores.clone(),
            went_back: progress.recovery.as_ref().map(|recovery| recovery.used),
            files,
        };
        out.write(MANIFEST, &dash_store::seal(&manifest, &self.dir.join(MANIFEST))?)?;
        out.publish()?;
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = started.elapsed();
        let CheckpointStats { taken, time } = clock.total;
        *clock = Clock {
            last: Instant::now(),
            cost,
            total: CheckpointStats { taken: taken + 1, time: time + cost },
        };
        Ok(())
    }

    /// The last checkpoint of this very stage; what is wrong with it is told.
    fn saved(&self, limits: &Limits, listener: &dyn Listener) -> Result<Option<LoadedCheckpoint>, Error> {
        let place = self.dir.display();
        let warn = |message: String| listener.on(&Event::Warning { message });
        let saved = match self.open(limits) {
            Ok(Some(saved)) => saved,
            Ok(None) => return Ok(None),
            Err(Refusal::Damaged(reason)) => {
                warn(format!("the checkpoint {place} is damaged and not used: {reason}"));
                return Ok(None);
            }
            Err(Refusal::Newer(format)) => {
                let reason =
                    format!("is a checkpoint of format {format}; this version reads format {FORMAT}");
                return Err(Error::Format { path: self.dir.clone(), reason });
            }
        };
        if !saved.sealed {
            warn(format!(
                "{place} was written by an earlier version, whose checkpoints do not show all damage"
            ));
        }
        let CheckpointState { position: TrainingPosition { epoch, step, .. }, scores, .. } = &saved.progress;
        listener.on(&Event::Resumed { trial: scores.len(), epoch: *epoch, step: *step });
        Ok(Some(saved))
    }

    /// The last checkpoint of this very stage, or what is wrong with it; `None` if there is none.
    fn open(&self, limits: &Limits) -> Result<Option<LoadedCheckpoint>, Refusal> {
        let damaged = Refusal::Damaged;
        let Some((manifest, sealed)) = Manifest::read(&self.dir)? else { return Ok(None) };
        if manifest.fingerprint != self.fingerprint {
            return Ok(None);
        }
        manifest.compare_files(&self.dir)?;
        let history = self.dir.join(HISTORY);
        let unreadable = |e: Error| damaged(e.to_string());
        let best = match manifest.best {
            Some((epoch, bits)) => {
                let state = match manifest.files.contains_key(BEST) {
                    true => read_tensors(&self.dir.join(BEST)).map_err(unreadable)?,
                    false => Vec::new(),
                };
                Some(BestModel { epoch, score: f64::from_bits(bits), state })
            }
            None => None,
        };
        let recovery = match manifest.went_back {
            Some(used) => {
                let kept = [START, START_MOMENTA].map(|name| manifest.files.contains_key(name));
                let read = |name: &str| read_tensors(&self.dir.join(name)).map_err(unreadable);
                let start = if kept == [true; 2] { Some([read(START)?, read(START_MOMENTA)?]) } else { None };
                Some(Recovery { start, used })
            }
            None => None,
        };
        let progress = CheckpointState {
            position: TrainingPosition {
                epoch: manifest.epoch,
                step: manifest.step,
                loss: f64::from_bits(manifest.loss_bits),
            },
            history: read_history(&history).map_err(unreadable)?,
            series: read_series(&history).map_err(unreadable)?,
            best,
            scores: manifest.scores,
            recovery,
        };
        limits.check(&progress).map_err(damaged)?;
        Ok(Some(LoadedCheckpoint { dir: self.dir.clone(), progress, sealed }))
    }
}

/// A checkpoint that was found intact.
#[derive(Debug)]
pub struct LoadedCheckpoint {
    dir: PathBuf,
    /// What the stage knew.
    pub progress: CheckpointState,
    /// Whether its manifest has a hash of itself.
    sealed: bool,
}

impl LoadedCheckpoint {
    /// Brings network and optimiser to where they were.
    ///
    /// # Errors
    /// If the tensors are not those of this network.
    pub fn restore(&self, params: &Params, sgd: &mut Sgd) -> Result<(), Error> {
        sgd.load(read_tensors(&self.dir.join(MOMENTA))?)?;
        params.load(&read_tensors(&self.dir.join(STATE))?)?;
        Ok(())
    }
}

impl StageContext<'_> {
    /// The checkpoint to resume from, if an earlier attempt at this stage left one. A damaged one, and one that says
    /// what this stage cannot have come to, is told and not used.
    ///
    /// # Errors
    /// If it was written by a newer version.
    pub fn saved(&self, limits: &Limits) -> Result<Option<LoadedCheckpoint>, Error> {
        self.checkpoints.map_or(Ok(None), |checkpoints| checkpoints.saved(limits, self.listener))
    }

    /// Whether the stage is asked to stop, and can be gone on with later.
    pub(crate) fn stopping(&self) -> bool {
        self.checkpoints.is_some() && self.listener.stopping()
    }

    /// To be called between steps: takes a checkpoint if one is due, of `progress` at the position of `now`.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the stage is asked to stop, once the checkpoint is there; or if it cannot be
    /// written.
    pub fn between_steps(
        &self,
        params: &Params,
        now: StepState<'_>,
        progress: impl FnOnce() -> CheckpointState,
    ) -> Result<(), Error> {
        let Some(checkpoints) = self.checkpoints else { return Ok(()) };
        let stopping = self.stopping();
        if stopping || checkpoints.due() {
            let (position, recovery) = (now.position, now.recovery.cloned());
            checkpoints.save(&CheckpointState { position, recovery, ..progress() }, params, now.sgd)?;
        }
        if stopping { Err(Error::Stopped) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
