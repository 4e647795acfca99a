//! How far the stage at work has come, told to other processes.
//!
//! The process that works writes `.progress.json` into the folder of its run every few seconds; `status` reads
//! it, as long as that process lives.

use crate::{Stage, attempts::Attempts};
use dash_core::{
    event::{Event, Listener},
    pipeline::Pipeline,
};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const FILE: &str = ".progress.json";

/// More bytes than it has.
const LARGEST: u64 = 1 << 16;

/// Time between two tellings.
const EVERY: Duration = Duration::from_secs(5);

/// Where the process that makes the results in `dir` tells how far it has come.
pub(crate) fn progress_of(dir: &Path) -> PathBuf {
    dir.with_file_name(FILE)
}

/// How far a stage has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageProgress {
    /// Name of the stage.
    pub stage: String,
    /// The share of its work that is done, from 0 to 1.
    pub done: f64,
    /// Seconds that it will take to its end, if it goes on as it went in this process.
    pub left: Option<f64>,
}

impl StageProgress {
    /// What the process at work on the run in `dir` told last.
    pub(crate) fn read(dir: &Path) -> Option<StageProgress> {
        serde_json::from_slice(&dash_store::read_small(&dir.join(FILE), LARGEST).ok()?).ok()
    }
}

/// Passes events on, and tells how far the stage has come.
pub(crate) struct ProgressReporter<'a> {
    listener: &'a dyn Listener,
    attempts: &'a Attempts,
    path: PathBuf,
    stage: Stage,
    epochs: usize,
    state: Mutex<State>,
}

struct State {
    start: Instant,
    told: Option<Instant>,
    /// Shares done: when this process began with the stage, and now.
    first: f64,
    done: f64,
    /// Epochs that ended.
    epoch: usize,
}

impl<'a> ProgressReporter<'a> {
    /// For a stage of `pipeline` whose results will be in `dir`.
    pub(crate) fn new(
        listener: &'a dyn Listener,
        dir: &Path,
        stage: Stage,
        pipeline: &Pipeline,
        attempts: &'a Attempts,
    ) -> ProgressReporter<'a> {
        let epochs = match stage {
            Stage::Search => pipeline.search.epochs,
            Stage::Retrain(_) => pipeline.retrain.epochs,
            Stage::Dataset | Stage::Tune(_) | Stage::Report => 0,
        };
        let state = State { start: Instant::now(), told: None, first: 0.0, done: 0.0, epoch: 0 };
        ProgressReporter {
            listener,
            attempts,
            path: progress_of(dir),
            stage,
            epochs,
            state: Mutex::new(state),
        }
    }

    /// Removes what was told, once the stage is at its end.
    pub(crate) fn finish(self) {
        // What remains is read by nobody once this process is gone.
        let _ = dash_store::remove(&self.path);
    }
}

fn share(done: f64, total: usize) -> Option<f64> {
    (total > 0).then(|| (done / total as f64).clamp(0.0, 1.0))
}

impl State {
    fn hear(&mut self, event: &Event, epochs: usize) {
        let heard = match event {
            Event::Resumed { epoch, .. } => {
                self.epoch = *epoch;
                let first = share(*epoch as f64, epochs);
                self.first = first.unwrap_or_default();
                first
            }
            Event::Step { step, steps } => {
                let part = share(*step as f64, *steps).unwrap_or_default();
                share(self.epoch as f64 + part, epochs)
            }
            Event::Epoch { epoch, .. } => {
                self.epoch = epoch + 1;
                share(self.epoch as f64, epochs)
            }
            Event::Trial { trial, trials, .. } => share((trial + 1) as f64, *trials),
            Event::Progress { done, total, .. } => share(*done as f64, *total),
            _ => None,
        };
        self.done = heard.unwrap_or(self.done);
    }

    /// Seconds left after `elapsed`, at the pace so far.
    fn left(&self, elapsed: Duration) -> Option<f64> {
        let pace = (self.done - self.first) / elapsed.as_secs_f64();
        (pace > 0.0 && pace.is_finite()).then(|| (1.0 - self.done) / pace)
    }
}

impl Listener for ProgressReporter<'_> {
    fn on(&self, event: &Event) {
        self.listener.on(event);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.hear(event, self.epochs);
        if state.told.is_some_and(|told| told.elapsed() < EVERY) {
            return;
        }
        state.told = Some(Instant::now());
        let left = state.left(state.start.elapsed());
        let progress = StageProgress { stage: self.stage.name().to_owned(), done: state.done, left };
        // Nobody's results depend on it: a full disk is told by those whose do.
        if let Ok(text) = serde_json::to_vec(&progress) {
            let _ = dash_store::publish_file(&self.path, &text);
        }
        self.attempts.save(None);
    }

    fn stopping(&self) -> bool {
        self.listener.stopping()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_the_pace_so_far_says() {
        let mut state = State { start: Instant::now(), told: None, first: 0.0, done: 0.0, epoch: 0 };
        let second = Duration::from_secs(1);
        assert_eq!(state.left(second), None);
        let epoch = |epoch| Event::Epoch {
            epoch,
            epochs: 4,
            train_loss: 1.0,
            score: None,
            learning_rate: 0.1,
            seconds: 1.0,
        };
        state.hear(&epoch(0), 4);
        assert_eq!((state.done, state.left(second)), (0.25, Some(3.0)));
        state.hear(&Event::Step { step: 5, steps: 10 }, 4);
        assert_eq!((state.done, state.left(3 * second)), (0.375, Some(5.0)));
        // What an earlier process did says nothing about the pace of this one.
        state.hear(&Event::Resumed { trial: 0, epoch: 2, step: 3 }, 4);
        state.hear(&epoch(2), 4);
        assert_eq!((state.done, state.left(second)), (0.75, Some(1.0)));
        // Trials and samples count for themselves.
        let mut state = State { start: Instant::now(), told: None, first: 0.0, done: 0.0, epoch: 0 };
        state.hear(&Event::Trial { trial: 1, trials: 8, score: None }, 0);
        state.hear(&Event::Step { step: 1, steps: 2 }, 0);
        assert_eq!(state.done, 0.25);
        state.hear(&Event::Progress { what: "samples".into(), done: 9, total: 10 }, 0);
        assert_eq!(state.done, 0.9);
    }
}
