//! Shows the progress of a running stage to other processes.
//!
//! The process that runs a stage writes `.progress.json` into the folder of its run every few seconds. `status` reads the
//! file as long as that process holds the lock of the run.

use crate::attempts::Attempts;
use dash_core::{
    event::{Event, Listener},
    pipeline::Pipeline,
    stage::Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const FILE: &str = ".progress.json";

/// Limit of the size of the file in bytes.
const SIZE_LIMIT: u64 = 1 << 16;

/// Time between two updates of the file.
const INTERVAL: Duration = Duration::from_secs(5);

/// Path of the progress file of the process that makes the results in `dir`.
pub(crate) fn progress_path(dir: &Path) -> PathBuf {
    dir.with_file_name(FILE)
}

/// Progress of a running stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageProgress {
    /// Name of the stage.
    pub stage: String,
    /// The fraction of its work that is done, from 0 to 1.
    pub done: f64,
    /// Estimated time left in seconds, at the pace of the running process.
    pub left: Option<f64>,
}

impl StageProgress {
    /// Reads the progress of the process that works on the run in `dir`.
    pub(crate) fn read(dir: &Path) -> Option<StageProgress> {
        serde_json::from_slice(&dash_store::read_small(&dir.join(FILE), SIZE_LIMIT).ok()?).ok()
    }
}

/// Forwards events to a listener and writes the progress file.
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
    /// When the file was last written.
    written: Option<Instant>,
    /// Fraction that was done when this process started with the stage.
    first: f64,
    /// Fraction that is done now.
    done: f64,
    /// The number of finished epochs.
    epoch: usize,
}

impl<'a> ProgressReporter<'a> {
    /// Creates a reporter for a stage of `pipeline` whose results will be in `dir`.
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
        let state = State { start: Instant::now(), written: None, first: 0.0, done: 0.0, epoch: 0 };
        ProgressReporter {
            listener,
            attempts,
            path: progress_path(dir),
            stage,
            epochs,
            state: Mutex::new(state),
        }
    }

    /// Removes the file at the end of the stage.
    pub(crate) fn finish(self) {
        // A file that remains is not read once this process has ended.
        let _ = dash_store::remove(&self.path);
    }
}

fn fraction(done: f64, total: usize) -> Option<f64> {
    (total > 0).then(|| (done / total as f64).clamp(0.0, 1.0))
}

impl State {
    fn observe(&mut self, event: &Event, epochs: usize) {
        let observed = match event {
            Event::Resumed { epoch, .. } => {
                self.epoch = *epoch;
                let first = fraction(*epoch as f64, epochs);
                self.first = first.unwrap_or_default();
                first
            }
            Event::Step { step, steps } => {
                let within = fraction(*step as f64, *steps).unwrap_or_default();
                fraction(self.epoch as f64 + within, epochs)
            }
            Event::Epoch { epoch, .. } => {
                self.epoch = epoch + 1;
                fraction(self.epoch as f64, epochs)
            }
            Event::Trial { trial, trials, .. } => fraction((trial + 1) as f64, *trials),
            Event::Progress { done, total, .. } => fraction(*done as f64, *total),
            _ => None,
        };
        self.done = observed.unwrap_or(self.done);
    }

    /// Estimated seconds left after `elapsed`, at the pace so far.
    fn left(&self, elapsed: Duration) -> Option<f64> {
        let pace = (self.done - self.first) / elapsed.as_secs_f64();
        (pace > 0.0 && pace.is_finite()).then(|| (1.0 - self.done) / pace)
    }
}

impl Listener for ProgressReporter<'_> {
    fn on(&self, event: &Event) {
        self.listener.on(event);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.observe(event, self.epochs);
        if state.written.is_some_and(|written| written.elapsed() < INTERVAL) {
            return;
        }
        state.written = Some(Instant::now());
        let left = state.left(state.start.elapsed());
        let progress = StageProgress { stage: self.stage.name().to_owned(), done: state.done, left };
        // No result depends on this file; a full disk is reported by the files whose loss matters.
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
    fn the_time_left_follows_from_the_pace_so_far() {
        let mut state = State { start: Instant::now(), written: None, first: 0.0, done: 0.0, epoch: 0 };
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
        state.observe(&epoch(0), 4);
        assert_eq!((state.done, state.left(second)), (0.25, Some(3.0)));
        state.observe(&Event::Step { step: 5, steps: 10 }, 4);
        assert_eq!((state.done, state.left(3 * second)), (0.375, Some(5.0)));
        // The work of an earlier process does not count towards the pace of this one.
        state.observe(&Event::Resumed { trial: 0, epoch: 2, step: 3 }, 4);
        state.observe(&epoch(2), 4);
        assert_eq!((state.done, state.left(second)), (0.75, Some(1.0)));
        // Trials and samples are counted directly.
        let mut state = State { start: Instant::now(), written: None, first: 0.0, done: 0.0, epoch: 0 };
        state.observe(&Event::Trial { trial: 1, trials: 8, score: None }, 0);
        state.observe(&Event::Step { step: 1, steps: 2 }, 0);
        assert_eq!(state.done, 0.25);
        state.observe(&Event::Progress { what: "samples".into(), done: 9, total: 10 }, 0);
        assert_eq!(state.done, 0.9);
    }
}
