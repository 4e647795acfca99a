//! Checkpoints inside a stage: all that is needed to go on from a step as if nothing had happened.
//!
//! Random draws depend on (seed, stage, epoch, step or row) alone, so that no generator has a state:
//! parameters, buffers, momenta, the position and what was measured so far are everything.

use crate::{
    Error, Now, Recovery, Series, StageContext,
    checkpoint::{read_tensors, write_json, write_tensors},
    history::{read_history, read_series, write_history},
};
use candle_core::Tensor;
use dash_core::{event::Event, results::Epoch};
use dash_nn::{Params, Sgd};
use dash_store::Staging;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Version of the folder of a checkpoint inside a stage.
const FORMAT: u32 = 2;

const STATE: &str = "state.safetensors";
const MOMENTA: &str = "momenta.safetensors";
const BEST: &str = "best.safetensors";
const START: &str = "start.safetensors";
const START_MOMENTA: &str = "start-momenta.safetensors";
const TENSORS: [&str; 5] = [STATE, MOMENTA, BEST, START, START_MOMENTA];
const HISTORY: &str = "history.parquet";
const MANIFEST: &str = "manifest.json";

/// Unless told otherwise, time between two checkpoints: at least this long, and at least so many times
/// as long as the last one took, which keeps their share of the time below two per cent.
const LEAST: Duration = Duration::from_secs(60);
const TIMES: u32 = 50;

/// A place in a training: the next step to take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Position {
    /// Zero-based epoch.
    pub epoch: usize,
    /// Steps taken in this epoch.
    pub step: usize,
    /// Sum of the losses of these steps.
    pub loss: f64,
}

impl Position {
    /// The beginning of an epoch.
    pub fn start_of(epoch: usize) -> Position {
        Position { epoch, ..Position::default() }
    }

    /// Where `epoch` begins for who goes on from here.
    pub fn enter(self, epoch: usize) -> Position {
        if self.epoch == epoch { self } else { Position::start_of(epoch) }
    }
}

/// The best network so far.
#[derive(Clone, Debug)]
pub struct Best {
    /// Zero-based epoch.
    pub epoch: usize,
    /// Its score.
    pub score: f64,
    /// Its parameters and buffers; empty if they are not needed.
    pub state: Vec<(String, Tensor)>,
}

/// What a stage knows at a position, besides its network and optimiser.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The next step.
    pub position: Position,
    /// Finished epochs.
    pub history: Vec<Epoch>,
    /// What else was recorded in each of them.
    pub series: Vec<Series>,
    /// The best network so far, if one is looked for.
    pub best: Option<Best>,
    /// Scores of the finished trials of a tuning, `None` for diverged ones.
    pub scores: Vec<Option<f64>>,
    /// What training could go back to, if it may.
    pub recovery: Option<Recovery>,
}

/// Numbers are kept as their bits: JSON has no infinity.
#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// Of the stage that was at work.
    fingerprint: String,
    epoch: usize,
    step: usize,
    loss_bits: u64,
    best: Option<(usize, u64)>,
    scores: Vec<Option<f64>>,
    /// Whether training went back, if it may; since format 2.
    #[serde(default)]
    went_back: Option<bool>,
    /// Name and SHA-256 of each file.
    files: BTreeMap<String, String>,
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
    total: Total,
}

/// What checkpoints have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// How many were taken.
    pub taken: usize,
    /// How long that took.
    pub time: Duration,
}

impl Checkpoints {
    /// Checkpoints in the folder `dir` of the stage with this fingerprint, `every` so long, or as often as
    /// costs little.
    pub fn new(dir: PathBuf, fingerprint: &str, every: Option<Duration>) -> Checkpoints {
        let clock = Mutex::new(Clock { last: Instant::now(), cost: Duration::ZERO, total: Total::default() });
        Checkpoints { dir, fingerprint: fingerprint.to_owned(), every, clock }
    }

    /// What checkpoints have cost so far, in this process.
    pub fn total(&self) -> Total {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    fn due(&self) -> bool {
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.every.unwrap_or_else(|| LEAST.max(clock.cost.saturating_mul(TIMES)));
        clock.last.elapsed() >= wait
    }

    /// Replaces the last checkpoint, in one step.
    fn save(&self, progress: &Progress, params: &Params, sgd: &Sgd) -> Result<(), Error> {
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
        let Position { epoch, step, loss } = progress.position;
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
        write_json(&mut out, MANIFEST, &manifest)?;
        out.publish()?;
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = started.elapsed();
        let Total { taken, time } = clock.total;
        *clock = Clock { last: Instant::now(), cost, total: Total { taken: taken + 1, time: time + cost } };
        Ok(())
    }

    /// The last checkpoint of this very stage, or what is wrong with it; `None` if there is none.
    fn open(&self) -> Result<Option<Saved>, Refusal> {
        let damaged = |reason: String| Refusal::Damaged { path: self.dir.clone(), reason };
        let text = match fs::read(self.dir.join(MANIFEST)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(error.to_string())),
        };
        let format = serde_json::from_slice::<serde_json::Value>(&text)
            .ok()
            .and_then(|manifest| manifest.get("format")?.as_u64());
        if let Some(format) = format.filter(|&format| format > FORMAT.into()) {
            return Err(Refusal::Newer { path: self.dir.clone(), format });
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if manifest.fingerprint != self.fingerprint {
            return Ok(None);
        }
        for name in [STATE, MOMENTA, HISTORY] {
            if !manifest.files.contains_key(name) {
                return Err(damaged(format!("its manifest does not name {name}")));
            }
        }
        for (name, hash) in &manifest.files {
            if name != HISTORY && !TENSORS.contains(&name.as_str()) {
                return Err(damaged(format!("its manifest names {name:?}")));
            }
            match dash_store::sha256_file(&self.dir.join(name)) {
                Ok(found) if found == *hash => {}
                Ok(_) => return Err(damaged(format!("{name} has changed"))),
                Err(error) => return Err(damaged(error.to_string())),
            }
        }
        let history = self.dir.join(HISTORY);
        let unreadable = |e: Error| damaged(e.to_string());
        let best = match manifest.best {
            Some((epoch, bits)) => {
                let state = match manifest.files.contains_key(BEST) {
                    true => read_tensors(&self.dir.join(BEST)).map_err(unreadable)?,
                    false => Vec::new(),
                };
                Some(Best { epoch, score: f64::from_bits(bits), state })
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
        let progress = Progress {
            position: Position {
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
        Ok(Some(Saved { dir: self.dir.clone(), progress }))
    }
}

/// Brings momenta, in any order, to the parameters of the same names.
pub(crate) fn load_momenta(
    params: &Params,
    sgd: &mut Sgd,
    momenta: Vec<(String, Tensor)>,
) -> Result<(), Error> {
    let mut momenta: BTreeMap<String, Tensor> = momenta.into_iter().collect();
    let ordered: Vec<_> = params.iter().filter_map(|p| momenta.remove_entry(p.name())).collect();
    Ok(sgd.load(&ordered)?)
}

/// Why a checkpoint is not gone on from.
enum Refusal {
    Damaged { path: PathBuf, reason: String },
    Newer { path: PathBuf, format: u64 },
}

/// A checkpoint that was found intact.
#[derive(Debug)]
pub struct Saved {
    dir: PathBuf,
    /// What the stage knew.
    pub progress: Progress,
}

impl Saved {
    /// Brings network and optimiser to where they were.
    ///
    /// # Errors
    /// If the tensors are not those of this network.
    pub fn restore(&self, params: &Params, sgd: &mut Sgd) -> Result<(), Error> {
        load_momenta(params, sgd, read_tensors(&self.dir.join(MOMENTA))?)?;
        params.load(&read_tensors(&self.dir.join(STATE))?)?;
        Ok(())
    }
}

impl StageContext<'_> {
    /// The checkpoint to go on from, if an earlier attempt at this stage left one. A damaged one is told
    /// and not used.
    ///
    /// # Errors
    /// If it was written by a newer version.
    pub fn saved(&self) -> Result<Option<Saved>, Error> {
        let Some(checkpoints) = self.checkpoints else { return Ok(None) };
        match checkpoints.open() {
            Ok(saved) => {
                if let Some(Saved { progress: Progress { position, scores, .. }, .. }) = &saved {
                    let Position { epoch, step, .. } = *position;
                    self.listener.on(&Event::Resumed { trial: scores.len(), epoch, step });
                }
                Ok(saved)
            }
            Err(Refusal::Damaged { path, reason }) => {
                let message = format!("the checkpoint {} is damaged and not used: {reason}", path.display());
                self.listener.on(&Event::Warning { message });
                Ok(None)
            }
            Err(Refusal::Newer { path, format }) => {
                let reason =
                    format!("is a checkpoint of format {format}; this version reads format {FORMAT}");
                Err(Error::Format { path, reason })
            }
        }
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
        now: Now<'_>,
        progress: impl FnOnce() -> Progress,
    ) -> Result<(), Error> {
        let Some(checkpoints) = self.checkpoints else { return Ok(()) };
        let stopping = self.stopping();
        if stopping || checkpoints.due() {
            let (position, recovery) = (now.position, now.recovery.cloned());
            checkpoints.save(&Progress { position, recovery, ..progress() }, params, now.sgd)?;
        }
        if stopping { Err(Error::Stopped) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use dash_nn::{Init, ParamBuilder};

    fn network() -> (Params, Sgd) {
        let mut params = ParamBuilder::new(7, 0, &Device::Cpu);
        params.weight("a", 3, Init::Constant(1.5)).unwrap();
        params.weight("b", (2, 2), Init::Constant(-2.0)).unwrap();
        let params = params.finish();
        let sgd = Sgd::new(&params, 0.9, 0.0).unwrap();
        (params, sgd)
    }

    fn values(tensors: &[(String, Tensor)]) -> Vec<(String, Vec<f32>)> {
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1().unwrap();
        tensors.iter().map(|(name, t)| (name.clone(), flat(t))).collect()
    }

    #[test]
    fn everything_comes_back_bit_by_bit() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path().join(".search.checkpoint"), "print", None);
        assert!(matches!(checkpoints.open(), Ok(None)));
        let (params, sgd) = network();
        let epoch = |epoch, score| Epoch { epoch, learning_rate: 0.1, train_loss: 1.0 / 3.0, score };
        let progress = Progress {
            position: Position { epoch: 2, step: 5, loss: 0.1 + 0.2 },
            history: vec![epoch(0, None), epoch(1, Some(f64::INFINITY))],
            series: vec![("alpha.stem".to_owned(), vec![vec![0.1, f32::NAN], vec![0.2, 0.3]])],
            best: Some(Best { epoch: 1, score: f64::INFINITY, state: params.state().unwrap() }),
            scores: vec![Some(0.1), None],
            recovery: Some(Recovery {
                start: Some([params.state().unwrap(), sgd.state().unwrap()]),
                used: false,
            }),
        };
        checkpoints.save(&progress, &params, &sgd).unwrap();
        let (before, momenta) = (values(&params.state().unwrap()), values(&sgd.state().unwrap()));
        params.iter().for_each(|p| p.var().set(&p.var().zeros_like().unwrap()).unwrap());

        let Ok(Some(saved)) = checkpoints.open() else { panic!("not found") };
        let (other, mut other_sgd) = network();
        saved.restore(&other, &mut other_sgd).unwrap();
        assert_eq!(values(&other.state().unwrap()), before);
        assert_eq!(values(&other_sgd.state().unwrap()), momenta);
        let found = &saved.progress;
        assert_eq!(found.position, progress.position);
        assert_eq!(found.history, progress.history);
        assert_eq!(format!("{:?}", found.series), format!("{:?}", progress.series));
        assert_eq!(found.scores, progress.scores);
        let recovery = found.recovery.as_ref().unwrap();
        assert_eq!(values(&recovery.start.as_ref().unwrap()[0]), before);
        assert!(!recovery.used);
        let best = found.best.as_ref().unwrap();
        assert_eq!((best.epoch, best.score), (1, f64::INFINITY));
        let mut state = values(&best.state);
        state.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(state, before);
    }

    #[test]
    fn another_stage_a_newer_format_and_damage_are_not_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("c");
        let (params, sgd) = network();
        let save = || Checkpoints::new(folder.clone(), "one", None).save(&Progress::default(), &params, &sgd);
        save().unwrap();
        assert!(matches!(Checkpoints::new(folder.clone(), "two", None).open(), Ok(None)));
        let open = || Checkpoints::new(folder.clone(), "one", None).open();
        assert!(matches!(open(), Ok(Some(_))));
        for name in [STATE, MOMENTA, HISTORY] {
            save().unwrap();
            let bytes = fs::read(folder.join(name)).unwrap();
            dash_store::publish_file(&folder.join(name), &bytes[..bytes.len() - 1]).unwrap();
            assert!(matches!(open(), Err(Refusal::Damaged { .. })), "{name}");
        }
        save().unwrap();
        let manifest = fs::read_to_string(folder.join(MANIFEST)).unwrap();
        let change = |from: &str, to: &str| {
            assert!(manifest.contains(from));
            dash_store::publish_file(&folder.join(MANIFEST), manifest.replace(from, to).as_bytes()).unwrap();
        };
        change("\"format\": 2", "\"format\": 3");
        assert!(matches!(open(), Err(Refusal::Newer { format: 3, .. })));
        change("\"format\": 2", "\"format\": 1");
        assert!(matches!(open(), Ok(Some(_))));
        change(HISTORY, "../history.parquet");
        assert!(matches!(open(), Err(Refusal::Damaged { .. })));
    }

    #[test]
    fn checkpoints_cost_a_small_share_of_the_time() {
        let checkpoints = Checkpoints::new(PathBuf::from("nowhere"), "", None);
        assert!(!checkpoints.due());
        let at = |last: u64, cost| {
            let last = Instant::now().checked_sub(Duration::from_secs(last)).unwrap();
            *checkpoints.clock.lock().unwrap() =
                Clock { last, cost: Duration::from_secs(cost), total: Total::default() };
            checkpoints.due()
        };
        assert!(at(61, 1) && !at(59, 1) && !at(90, 2) && at(101, 2));
        assert!(Checkpoints::new(PathBuf::new(), "", Some(Duration::ZERO)).due());
    }
}
