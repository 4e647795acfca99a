//! Runs that are killed or interrupted, and go on.

use super::{stages, tiny};
use dash_tests::Bench;

/// All files of the runs but those that hold times.
fn lasting(bench: &Bench) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for stage in ["search", "tune", "retrain"] {
        let names: &[&str] = match stage {
            "search" => &["architecture.json", "history.parquet", "checkpoint/state.safetensors"],
            "tune" => &["hyperparameters.json", "trials.parquet"],
            _ => &["metrics.json", "history.parquet", "model.json", "model.safetensors"],
        };
        for name in names {
            let path = format!("runs/tiny/0/{stage}/{name}");
            found.insert(path.clone(), std::fs::read(bench.path(&path)).unwrap());
        }
    }
    found
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_files() {
    let arguments =
        ["run", "tiny.toml", "--seeds", "0", "--set", "methods=[\"dash\"]", "--set", "retrain.epochs=6"];
    let whole = tiny();
    whole.run(&arguments).well();
    let (bench, mut kills) = (tiny(), 0);
    loop {
        let every = ["--quiet", "--checkpoint-every", "0", "--threads", ["1", "2"][kills % 2]];
        let mut process = bench.start(&[&arguments[..], &every].concat());
        // Later each time, so that whatever takes long is done at last.
        let patience = std::time::Duration::from_millis(40 + 37 * kills as u64);
        let start = std::time::Instant::now();
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break Some(status);
            }
            if start.elapsed() >= patience {
                break None;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        if let Some(status) = status {
            assert_eq!(status.code(), Some(0));
            break;
        }
        process.kill().unwrap();
        process.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 2, "{kills}");
    for (name, bytes) in lasting(&whole) {
        assert!(bytes == lasting(&bench)[&name], "{name} differs after {kills} kills");
    }
    let left: Vec<String> = std::fs::read_dir(bench.path("runs/tiny/0"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with('.') && name != ".lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_interrupted_run_says_so_and_goes_on_later() {
    let bench = tiny();
    let arguments = ["run", "tiny.toml", "--seeds", "0", "--set", "methods=[\"dash\"]"];
    let mut first = bench.start(&[&arguments[..], &["--quiet", "--set", "retrain.epochs=100000"]].concat());
    let tuned = bench.path("runs/tiny/0/tune/stage.json");
    for _ in 0..600 {
        if tuned.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap();
    assert!(kill.success());
    // At a checkpoint, which a run with another configuration does not use.
    assert_eq!(first.wait().unwrap().code(), Some(75));
    assert!(bench.path("runs/tiny/0/.retrain.checkpoint/manifest.json").exists());
    assert_eq!(stages(&bench.run(&arguments).well(), "started"), ["tiny/0 retrain", "tiny report"]);
    assert!(!bench.path("runs/tiny/0/.retrain.checkpoint").exists());
}
