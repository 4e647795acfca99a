//! A whole pipeline on a file system that fails, is full, or loses power at any one of its operations: afterwards, the same
//! command ends with the same bytes. The test is alone in its process because it replaces the process's file system.

#![allow(clippy::unwrap_used, reason = "tests")]

use dash_core::pipeline::Pipeline;
use dash_pipeline::{Engine, Error, Folders, LocalExecutor, RunOutcome, RunSet, TrainingRunner};
use dash_store::{FailingDisk, Fault, write_through};
use dash_tests::TINY;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// As few operations as all stages can have.
const SMALLER: [&str; 10] = [
    "name=\"p\"",
    "seeds=[0]",
    "methods=[\"dash\"]",
    "dataset.simulate={ grid = 9, tolerance = 1e-6 }",
    "dataset.subsample=1",
    "dataset.train=8",
    "dataset.validation=2",
    "dataset.test=2",
    "search.kernel_sizes=[3]",
    "retrain.epochs=1",
];

fn pipeline() -> Pipeline {
    dash_core::load::pipeline("tiny.toml", TINY, None, &SMALLER.map(str::to_owned)).unwrap()
}

/// Runs the pipeline in `dir` with a checkpoint after every step.
fn go(dir: &Path) -> Result<RunOutcome, Error> {
    let runner = TrainingRunner {
        backend: dash_nn::Backend::cpu(),
        checkpoint_every: Some(Duration::ZERO),
        memory: None,
    };
    let engine = Engine::new(Folders::new(dir.join("runs"), dir.join("reports")));
    engine.with_executor(LocalExecutor { runner }).run(&RunSet::one(pipeline()))
}

/// All files of the runs by path, but those that hold times.
fn lasting(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.join("runs")];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                pending.push(path);
            } else if folder.ends_with("cache") && name.starts_with('.') {
                // Caches are shared: what a living process began there, and this one lives, is kept.
            } else if !["stage.json", "events.jsonl", ".lock", "manifest.json", ".file-hashes"]
                .contains(&name.as_str())
            {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The score of the test set in the report.
fn reported(dir: &Path) -> String {
    let text = std::fs::read(dir.join("reports/p/results.json")).unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&text).unwrap();
    rows.as_array().unwrap().iter().map(|row| row["value"].to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_failure_at_any_operation_costs_nothing_but_time() {
    let whole = tempfile::tempdir().unwrap();
    assert!(go(whole.path()).unwrap().failures().is_empty());
    let (expected, score) = (lasting(whole.path()), reported(whole.path()));
    assert!(expected.len() > 12, "{:?}", expected.keys());
    // Every operation with every fault takes a quarter of an hour; otherwise the faults take turns, and of the
    // operations every few.
    let all = std::env::var_os("DASH_ALL_FAULTS").is_some();
    let (mut tried, mut failed) = (0, 0);
    for (turn, fault) in Fault::ALL.into_iter().enumerate() {
        let stride = if all { 1 } else { 23 };
        for at in (if all { 0 } else { 5 * turn }..).step_by(stride) {
            let dir = tempfile::tempdir().unwrap();
            let disk = FailingDisk::new(fault, at);
            write_through(Some(Arc::new(disk.clone())));
            let outcome = go(dir.path());
            write_through(None);
            let undisturbed = disk.operations() <= at;
            let well = matches!(&outcome, Ok(outcome) if outcome.failures().is_empty());
            if !well {
                failed += 1;
            } else if undisturbed {
                break;
            }
            tried += 1;
            // What is visible is whole and right, whatever happened.
            for (path, bytes) in lasting(dir.path()) {
                let hidden = path.iter().any(|part| part.to_string_lossy().starts_with('.'));
                assert!(
                    hidden || expected.get(&path) == Some(&bytes),
                    "{fault:?} at {at}: {}",
                    path.display()
                );
            }
            let again = go(dir.path());
            let again = again.unwrap_or_else(|e| panic!("{fault:?} at {at}: {e}"));
            assert!(again.failures().is_empty(), "{fault:?} at {at}: {:?}", again.failures());
            let found = lasting(dir.path());
            assert!(found.keys().eq(expected.keys()), "{fault:?} at {at}: {:?}", found.keys());
            let other = expected.iter().find(|(path, bytes)| found.get(*path) != Some(bytes));
            assert!(other.is_none(), "{fault:?} at {at}: {}", other.unwrap().0.display());
            assert_eq!(reported(dir.path()), score, "{fault:?} at {at}");
        }
    }
    println!("{tried} faults survived, {failed} of which ended the run");
    assert!(failed > tried / 2, "{tried} {failed}");
}
