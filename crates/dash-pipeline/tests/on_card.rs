//! Whole pipelines where every operation of a network runs on the twin of a card; alone in its process, in which the twin
//! stands in for the processor.

#![allow(clippy::unwrap_used, reason = "tests")]

use candle_core::Device;
use dash_core::event::{Event, Listener};
use dash_pipeline::{Batch, Folders, Local, Outcome, Training, run};
use dash_tests::TINY;
use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// Asks to stop after some steps.
struct Stopping(AtomicUsize);

impl Listener for Stopping {
    fn on(&self, event: &Event) {
        if matches!(event, Event::Step { .. }) {
            let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        }
    }

    fn stopping(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

/// Where a pipeline runs.
#[derive(Clone, Debug)]
enum Place {
    Processor,
    Twin,
    Card(Device),
}

fn go(dir: &Path, place: &Place, steps: usize) -> Outcome {
    let pipeline = dash_core::load::pipeline("tiny.toml", TINY, None, &["seeds=[0]".to_owned()]).unwrap();
    let batch = Batch::one(pipeline);
    let folders = Folders::new(dir.join("runs"), dir.join("reports"));
    let device = if let Place::Card(card) = place { card.clone() } else { Device::Cpu };
    let work = Training { device, checkpoint_every: Some(Duration::ZERO), memory: None };
    dash_kernels::instead_of_the_processor(matches!(place, Place::Twin));
    let outcome = run(&batch, &folders, &Local { work }, &Stopping(AtomicUsize::new(steps))).unwrap();
    dash_kernels::instead_of_the_processor(false);
    outcome
}

fn scores(outcome: &Outcome) -> Vec<f64> {
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    outcome.rows.iter().filter_map(|row| row.value).collect()
}

/// A dense task: search, tuning, retraining and evaluation of both methods. Runs that begin on the processor and go on
/// elsewhere, and the other way round, end as those that stay; those on one card to the bit.
#[test]
fn pipelines_run_on_a_card_and_checkpoints_move() {
    let folder = || tempfile::tempdir().unwrap();
    let expected = scores(&go(folder().path(), &Place::Processor, usize::MAX));
    assert!(expected.len() > 1);
    let card = dash_kernels::card_for("pipelines_run_on_a_card_and_checkpoints_move").map(Place::Card);
    for there in [Place::Twin].into_iter().chain(card) {
        let whole = scores(&go(folder().path(), &there, usize::MAX));
        let here = Place::Processor;
        for (first, second) in [(&there, &there), (&here, &there), (&there, &here)] {
            let dir = folder();
            // Somewhere inside of the search, and again inside of what follows.
            for steps in [3, 9] {
                assert!(!go(dir.path(), first, steps).failures.is_empty());
            }
            let found = scores(&go(dir.path(), second, usize::MAX));
            for (found, expected) in found.iter().zip(&expected) {
                let error = (found - expected).abs() / expected.abs();
                assert!(error < 1e-2, "{found} against {expected} ({first:?}, {second:?})");
            }
            assert_eq!(found.len(), expected.len());
            if matches!((first, second), (Place::Twin | Place::Card(_), Place::Twin | Place::Card(_))) {
                assert_eq!(found, whole, "stopped and gone on with on one card");
            }
        }
    }
}
