//! Whole pipelines where every operation of a network runs on the GPU emulator.

#![allow(clippy::unwrap_used, reason = "tests")]

use dash_core::event::{Event, Listener};
use dash_cuda::Gpu;
use dash_nn::Backend;
use dash_pipeline::{Engine, Folders, LocalExecutor, RunOutcome, RunSet, TrainingRunner};
use dash_tests::TINY;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
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

fn go(dir: &Path, backend: &Backend, steps: usize) -> RunOutcome {
    let pipeline = dash_core::load::pipeline("tiny.toml", TINY, None, &["seeds=[0]".to_owned()]).unwrap();
    let folders = Folders::new(dir.join("runs"), dir.join("reports"));
    let runner =
        TrainingRunner { backend: backend.clone(), checkpoint_every: Some(Duration::ZERO), memory: None };
    let engine = Engine::new(folders)
        .with_executor(LocalExecutor { runner })
        .with_listener(Arc::new(Stopping(AtomicUsize::new(steps))));
    engine.run(&RunSet::one(pipeline)).unwrap()
}

fn scores(outcome: &RunOutcome) -> Vec<f64> {
    assert!(outcome.failures().is_empty(), "{:?}", outcome.failures());
    outcome.rows.iter().filter_map(|row| row.value).collect()
}

/// A dense task: search, tuning, retraining and evaluation of both methods. Runs that start on the CPU and are
/// resumed on a GPU, or the other way round, end like those that are not interrupted; those on one GPU to the bit.
#[test]
fn pipelines_run_on_a_gpu_and_checkpoints_move() {
    let (folder, here) = (|| tempfile::tempdir().unwrap(), Backend::cpu());
    let expected = scores(&go(folder().path(), &here, usize::MAX));
    assert!(expected.len() > 1);
    let gpu = dash_cuda::gpu_for_test("pipelines_run_on_a_gpu_and_checkpoints_move");
    for there in [Gpu::emulated()].into_iter().chain(gpu).map(Backend::gpu) {
        let whole = scores(&go(folder().path(), &there, usize::MAX));
        for (first, second) in [(&there, &there), (&here, &there), (&there, &here)] {
            let dir = folder();
            // Somewhere inside of the search, and again inside of what follows.
            for steps in [3, 9] {
                assert!(!go(dir.path(), first, steps).failures().is_empty());
            }
            let found = scores(&go(dir.path(), second, usize::MAX));
            for (found, expected) in found.iter().zip(&expected) {
                let error = (found - expected).abs() / expected.abs();
                assert!(error < 1e-2, "{found} against {expected} ({first:?}, {second:?})");
            }
            assert_eq!(found.len(), expected.len());
            if first.gpu().is_some() && second.gpu().is_some() {
                assert_eq!(found, whole, "stopped and resumed on one GPU");
            }
        }
    }
}
