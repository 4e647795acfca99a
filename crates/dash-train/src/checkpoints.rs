//! Checkpoints: folders from which a stage resumes as if it had not been interrupted.
//!
//! Random draws depend on (seed, stage, epoch, step or row) alone, so that no random generator has a state: parameters,
//! buffers, the optimizer's state, the position, the history and the stage's own state are everything.

use crate::{
    error::Error,
    history::{read_history, read_series, write_history},
    manifest::{BEST, FORMAT, HISTORY, MANIFEST, MOMENTUM, Manifest, Refusal, START, START_MOMENTUM, STATE},
    recovery::{EpochStart, Recovery},
    state::{BestModel, StageState, StoredState, TrainingLength, TrainingPosition},
    tensors::{read_tensors, write_tensors},
};
use dash_core::{
    event::{Event, Listener},
    results::Epoch,
};
use dash_nn::{NamedTensors, Optimizer, Params};
use dash_store::Staging;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The default time between two checkpoints: at least this long, and at least this many times as long as the last one
/// took, which keeps their share of the time below two per cent.
const LEAST: Duration = Duration::from_secs(60);
const TIMES: u32 = 50;

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
    /// The number of checkpoints taken.
    pub taken: usize,
    /// The time that this took.
    pub time: Duration,
}

/// Everything that a checkpoint is taken of.
pub(crate) struct Snapshot<'a> {
    pub(crate) position: TrainingPosition,
    pub(crate) params: &'a Params,
    pub(crate) optimizer: &'a dyn Optimizer,
    pub(crate) recovery: Option<&'a Recovery>,
    pub(crate) history: &'a [Epoch],
    pub(crate) state: &'a dyn StageState,
}

impl Checkpoints {
    /// Checkpoints in the folder `dir` of the stage with this fingerprint, taken `every` so often; by default as often
    /// as costs less than two per cent of the time.
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

    /// Whether it is time for the next checkpoint.
    pub(crate) fn is_due(&self) -> bool {
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.every.unwrap_or_else(|| LEAST.max(clock.cost.saturating_mul(TIMES)));
        clock.last.elapsed() >= wait
    }

    /// Replaces the last checkpoint by one rename.
    pub(crate) fn save(&self, snapshot: &Snapshot<'_>) -> Result<(), Error> {
        let started = Instant::now();
        let mut out = Staging::begin(&self.dir)?;
        let StoredState { series, best, trials } = snapshot.state.store();
        let best_model = best.as_ref().map(|best| (best.epoch, best.value.to_bits()));
        let mut tensors = vec![(STATE, snapshot.params.state()?), (MOMENTUM, snapshot.optimizer.state()?)];
        tensors.extend(best.filter(|best| !best.tensors.is_empty()).map(|best| (BEST, best.tensors)));
        if let Some(EpochStart { state, optimizer }) = snapshot.recovery.and_then(|r| r.start.clone()) {
            tensors.extend([(START, state), (START_MOMENTUM, optimizer)]);
        }
        let bytes: usize = tensors.iter().flat_map(|(_, all)| all).map(|(_, t)| 4 * t.elem_count()).sum();
        out.require(bytes as u64)?;
        let mut files = BTreeMap::new();
        for (name, tensors) in tensors {
            files.insert(name.to_owned(), write_tensors(&mut out, name, &tensors)?);
        }
        let history = if snapshot.state.has_history() { snapshot.history } else { &[] };
        write_history(&mut out, history, &series)?;
        files.insert(HISTORY.to_owned(), dash_store::sha256_file(&out.path().join(HISTORY))?);
        let TrainingPosition { epoch, step, loss } = snapshot.position;
        let manifest = Manifest {
            format: FORMAT,
            fingerprint: self.fingerprint.clone(),
            epoch,
            step,
            loss_bits: loss.to_bits(),
            best: best_model,
            trials,
            rolled_back: snapshot.recovery.map(|recovery| recovery.used),
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

    /// Loads the last checkpoint of this stage, the stage's part of it into `state`. Warns of a damaged one, which is
    /// not used.
    pub(crate) fn load(
        &self,
        length: TrainingLength,
        state: &mut dyn StageState,
        listener: &dyn Listener,
    ) -> Result<Option<Checkpoint>, Error> {
        let place = self.dir.display();
        let warn = |message: String| listener.on(&Event::Warning { message });
        let (found, trial) = match self.open(length, state) {
            Ok(Some(found)) => found,
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
        if !found.sealed {
            warn(format!(
                "{place} was written by an earlier version, whose checkpoints do not show all damage"
            ));
        }
        let TrainingPosition { epoch, step, .. } = found.position;
        listener.on(&Event::Resumed { trial, epoch, step });
        Ok(Some(found))
    }

    /// The last checkpoint of this stage and the number of trials that were finished before it; `None` if there is no
    /// checkpoint.
    fn open(
        &self,
        length: TrainingLength,
        state: &mut dyn StageState,
    ) -> Result<Option<(Checkpoint, usize)>, Refusal> {
        let damaged = Refusal::Damaged;
        let Some((manifest, sealed)) = Manifest::read(&self.dir)? else { return Ok(None) };
        if manifest.fingerprint != self.fingerprint {
            return Ok(None);
        }
        manifest.compare_files(&self.dir)?;
        let unreadable = |e: Error| damaged(e.to_string());
        let has = |name: &str| manifest.files.contains_key(name);
        let read = |name: &str| read_tensors(&self.dir.join(name)).map_err(unreadable);
        let best = match manifest.best {
            Some((epoch, bits)) => {
                let tensors = if has(BEST) { read(BEST)? } else { Vec::new() };
                Some(BestModel { epoch, value: f64::from_bits(bits), tensors })
            }
            None => None,
        };
        let recovery = match manifest.rolled_back {
            Some(used) => {
                let start = match has(START) && has(START_MOMENTUM) {
                    true => Some(EpochStart { state: read(START)?, optimizer: read(START_MOMENTUM)? }),
                    false => None,
                };
                Some(Recovery { start, used })
            }
            None => None,
        };
        let path = self.dir.join(HISTORY);
        let history = read_history(&path).map_err(unreadable)?;
        let series = read_series(&path).map_err(unreadable)?;
        let loss = f64::from_bits(manifest.loss_bits);
        let mut position = TrainingPosition { epoch: manifest.epoch, step: manifest.step, loss };
        let has_history = state.has_history();
        if !has_history && position == TrainingPosition::start_of(length.epochs) {
            // Earlier versions put a trial whose network is evaluated behind its last epoch.
            position = TrainingPosition { epoch: length.epochs.saturating_sub(1), step: length.steps, loss };
        }
        length.check(position, has_history.then_some(history.as_slice())).map_err(damaged)?;
        let trial = manifest.trials.len();
        let stored = StoredState { series, best, trials: manifest.trials };
        state.load(stored, history.len()).map_err(damaged)?;
        Ok(Some((Checkpoint { dir: self.dir.clone(), position, history, recovery, sealed }, trial)))
    }
}

/// A checkpoint that was found intact.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    pub(crate) position: TrainingPosition,
    /// Finished epochs; empty if the stage does not keep them.
    pub(crate) history: Vec<Epoch>,
    pub(crate) recovery: Option<Recovery>,
    /// Whether its manifest has a hash over itself.
    sealed: bool,
}

impl Checkpoint {
    /// The position from which training resumes.
    pub fn position(&self) -> TrainingPosition {
        self.position
    }

    /// Loads network and optimizer.
    ///
    /// # Errors
    /// If the tensors are not those of this network.
    pub(crate) fn restore(&self, params: &Params, optimizer: &mut dyn Optimizer) -> Result<(), Error> {
        optimizer.load(read_tensors(&self.dir.join(MOMENTUM))?)?;
        let state: NamedTensors = read_tensors(&self.dir.join(STATE))?;
        Ok(params.load(&state)?)
    }
}

#[cfg(test)]
mod tests;
