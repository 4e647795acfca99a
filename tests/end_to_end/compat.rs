//! Runs of earlier versions: `tests/compat/format-N` holds a pipeline file and the run that the first version
//! with these formats made of it. Samples are never regenerated; a version with other formats adds its own.

use super::bench;
use dash_tests::Bench;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The samples, each copied to a bench of its own.
fn samples() -> Vec<(String, Bench)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/compat");
    let mut found = vec![];
    for entry in std::fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let bench = bench();
        let mut pending: Vec<PathBuf> = vec![folder.clone()];
        while let Some(path) = pending.pop() {
            if path.is_dir() {
                pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                let name = path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
                bench.write(&name, &std::fs::read(&path).unwrap());
            }
        }
        found.push((folder.file_name().unwrap().to_string_lossy().into_owned(), bench));
    }
    found
}

#[test]
fn runs_of_earlier_versions_are_read_and_reused() {
    let samples = samples();
    assert!(!samples.is_empty());
    for (name, bench) in samples {
        let before = bench.files("runs");
        let planned = bench.run(&["run", "sample.toml", "--dry-run", "--format", "json"]).well();
        let planned: Value = serde_json::from_str(&planned.stdout).unwrap();
        for step in planned["plan"].as_array().unwrap() {
            let expected = if step["stage"] == "report" { "run" } else { "reuse" };
            assert_eq!(step["action"], expected, "{name}: {step}");
        }
        bench.run(&["report", "sample.toml"]).well();
        let metrics = bench.json("runs/sample/0/retrain/metrics.json");
        let rows = bench.json("reports/sample/results.json");
        let row = rows.as_array().unwrap().iter().find(|row| row["split"] == "test").unwrap();
        assert_eq!(row["value"], metrics["values"][0]["value"], "{name}");
        bench.run(&["status"]).well();
        // Its dataset still trains: a longer retraining starts from the stages before.
        let longer = ["run", "sample.toml", "--set", "retrain.epochs=2", "--quiet"];
        bench.run(&longer).well();
        let kept = |path: &str| ["/dataset/", "/search/", "/tune/"].iter().any(|stage| path.contains(stage));
        for (path, bytes) in before.iter().filter(|(path, _)| kept(path)) {
            assert!(bench.files("runs").get(path) == Some(bytes), "{name}: {path} changed");
        }
    }
}

#[test]
fn a_run_of_a_newer_version_is_refused_and_kept() {
    for (name, bench) in samples() {
        let path = "runs/sample/0/search/stage.json";
        let record = std::fs::read_to_string(bench.path(path)).unwrap();
        let newer = record.replacen("\"format\": 1", "\"format\": 999", 1);
        assert_ne!(record, newer, "{name}");
        bench.write(path, newer.as_bytes());
        let before = bench.files("runs");
        bench.run(&["run", "sample.toml"]).failed(4, &["has format 999", "newer version of dash-nas"]);
        let after = bench.files("runs");
        for (path, bytes) in &before {
            assert!(after.get(path) == Some(bytes), "{name}: {path} changed");
        }
    }
}
