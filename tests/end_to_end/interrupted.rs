//! Runs that are killed or interrupted, and resumed.

use super::{stages, tiny};
use dash_tests::Bench;

/// All files of the runs except those that hold times.
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

/// Number of kills.
const KILLS: usize = 50;
/// Shortest time until a kill, in milliseconds.
const SHORTEST: u64 = 20;

#[test]
fn a_run_that_is_killed_at_any_moments_ends_with_the_same_files() {
    use std::time::{Duration, Instant};
    let arguments =
        ["run", "tiny.toml", "--seeds", "0", "--set", "methods=[\"dash\"]", "--set", "retrain.epochs=6"];
    let whole = tiny();
    let start = Instant::now();
    whole.run(&arguments).well();
    let longest = u64::try_from(start.elapsed().as_millis()).unwrap().max(2 * SHORTEST);
    let expected = lasting(&whole);
    // Pseudo-random moments that are the same in every test run (Knuth's MMIX generator).
    let mut random = 42u64;
    let (mut kills, mut ends) = (0, 0);
    let mut bench = tiny();
    while kills < KILLS || ends == 0 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let patience = Duration::from_millis(SHORTEST + (random >> 33) % (longest - SHORTEST));
        let every = ["--quiet", "--checkpoint-every", "0", "--threads", ["1", "2"][kills % 2]];
        let mut process = bench.start(&[&arguments[..], &every].concat());
        let start = Instant::now();
        let mut status = None;
        // After enough kills, the last process may finish.
        while status.is_none() && (start.elapsed() < patience || kills >= KILLS) {
            std::thread::sleep(Duration::from_millis(5));
            status = process.try_wait().unwrap();
        }
        let Some(status) = status else {
            process.kill().unwrap();
            process.wait().unwrap();
            kills += 1;
            continue;
        };
        assert_eq!(status.code(), Some(0));
        ends += 1;
        for (name, bytes) in lasting(&bench) {
            assert!(bytes == expected[&name], "{name} differs after {kills} kills");
        }
        let left: Vec<String> = std::fs::read_dir(bench.path("runs/tiny/0"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with('.') && name != ".lock")
            .collect();
        assert!(left.is_empty(), "{left:?}");
        bench = tiny();
    }
    println!("{kills} kills, {ends} runs that finished");
}

#[test]
fn an_interrupted_run_stops_at_a_checkpoint_and_resumes() {
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
    // Other processes see its progress, which it writes at the first epoch and then every few seconds.
    let mut progress = serde_json::Value::Null;
    for _ in 0..600 {
        let seen = bench.run(&["status", "--format", "json"]).well();
        let seen: serde_json::Value = serde_json::from_str(&seen.stdout).unwrap();
        let run = seen["runs"].as_array().unwrap().iter().find(|run| run["run"] == "tiny/0").unwrap();
        progress = run["progress"].clone();
        if progress["stage"] == "retrain" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(progress["stage"], "retrain");
    assert!((0.0..0.5).contains(&progress["done"].as_f64().unwrap()), "{progress}");
    let kill = std::process::Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap();
    assert!(kill.success());
    // It stopped at a checkpoint, which a run with another configuration does not use.
    assert_eq!(first.wait().unwrap().code(), Some(75));
    assert!(bench.path("runs/tiny/0/.retrain.checkpoint/manifest.json").exists());
    assert_eq!(stages(&bench.run(&arguments).well(), "started"), ["tiny/0 retrain", "tiny report"]);
    assert!(!bench.path("runs/tiny/0/.retrain.checkpoint").exists());
}
