//! Results belong to the content that they were computed from: datasets that change, move or disappear, damaged records,
//! missing values in reports, provenance.

#![allow(clippy::disallowed_methods, reason = "folders are replaced as another program would")]

use super::{bench, classification::motifs, stages, tiny};
use dash_tests::{Bench, Ran};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

const ONE: [&str; 6] = ["run", "tiny.toml", "--seeds", "0", "--set", "methods=[\"dash\"]"];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [&ONE[..], more].concat()
}

/// Waits until a file exists.
fn wait_for(path: &Path, process: &mut Child) {
    let start = Instant::now();
    while !path.exists() {
        assert!(process.try_wait().unwrap().is_none(), "the process ended before {} existed", path.display());
        assert!(start.elapsed() < Duration::from_secs(120), "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn end(process: Child) -> Ran {
    let output = process.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A bench with another dataset of the same shapes in `other/`.
fn two_datasets() -> Bench {
    let bench = tiny();
    let other = ["data", "ingest", "tiny.toml", "--runs-dir", "other", "--set"];
    bench
        .run(&[&other[..], &["dataset.simulate={ grid = 17, tolerance = 1e-8, train_seed = 77 }"]].concat())
        .well();
    bench
}

#[test]
fn a_dataset_that_is_replaced_during_a_run_fails_the_running_stage_and_is_never_recorded() {
    let long = with(&["--quiet", "--set", "retrain.epochs=400", "--checkpoint-every", "1000"]);
    type Replace = fn(&Bench);
    let ways: [(&str, Replace); 3] = [
        ("another folder", |bench| {
            fs::rename(bench.path("runs/tiny/dataset"), bench.path("away")).unwrap();
            fs::rename(bench.path("other/tiny/dataset"), bench.path("runs/tiny/dataset")).unwrap();
        }),
        ("one file", |bench| {
            fs::copy(
                bench.path("other/tiny/dataset/train.parquet"),
                bench.path("runs/tiny/dataset/train.parquet"),
            )
            .unwrap();
        }),
        ("no folder", |bench| fs::rename(bench.path("runs/tiny/dataset"), bench.path("away")).unwrap()),
    ];
    for (way, replace) in ways {
        let bench = two_datasets();
        let mut process = bench.start(&long);
        wait_for(&bench.path("runs/tiny/0/tune/stage.json"), &mut process);
        replace(&bench);
        let ran = end(process);
        assert_eq!(ran.code, Some(4), "{way}: {ran:#?}");
        assert!(!bench.path("runs/tiny/0/retrain").exists(), "{way}");
    }
}

#[test]
fn a_dataset_that_is_replaced_between_runs_is_made_again_and_nothing_is_mixed() {
    let bench = two_datasets();
    bench.run(&ONE).well();
    let model = fs::read(bench.path("runs/tiny/0/retrain/model.safetensors")).unwrap();
    fs::rename(bench.path("runs/tiny/dataset"), bench.path("away")).unwrap();
    fs::rename(bench.path("other/tiny/dataset"), bench.path("runs/tiny/dataset")).unwrap();
    // The report does not show scores beside a dataset that they were not measured on.
    bench
        .run(&["report", "tiny.toml", "--seeds", "0", "--set", "methods=[\"dash\"]"])
        .failed(4, &["no finished"]);
    let ran = bench.run(&ONE).well();
    // The new dataset has the content of the first one, on which everything else depends.
    assert_eq!(stages(&ran, "started"), ["tiny dataset"]);
    assert_eq!(fs::read(bench.path("runs/tiny/0/retrain/model.safetensors")).unwrap(), model);
}

#[test]
fn edited_inputs_are_made_again() {
    let bench = tiny();
    bench.run(&ONE).well();
    for (file, stage) in [("search/architecture.json", "search"), ("tune/hyperparameters.json", "tune")] {
        let path = format!("runs/tiny/0/{file}");
        let text = fs::read_to_string(bench.path(&path)).unwrap();
        bench.write(&path, format!("{text}\n").as_bytes());
        let ran = bench.run(&ONE).well();
        assert_eq!(stages(&ran, "started"), [format!("tiny/0 {stage}"), "tiny report".to_owned()], "{file}");
        assert_eq!(fs::read_to_string(bench.path(&path)).unwrap(), text);
    }
    // An edited record is not accepted.
    let path = "runs/tiny/0/tune/stage.json";
    let text = fs::read_to_string(bench.path(path)).unwrap();
    bench.write(path, text.replace("\"device\": \"cpu\"", "\"device\": \"abacus\"").as_bytes());
    let ran = bench.run(&ONE).well();
    assert!(ran.stderr.contains("stage.json is damaged"), "{}", ran.stderr);
    assert_eq!(stages(&ran, "started"), ["tiny/0 tune", "tiny report"]);
}

#[test]
fn moved_raw_files_change_nothing_and_reports_need_none() {
    let bench = bench();
    bench.write("motifs.toml", motifs().to_string().as_bytes());
    bench.write("raw/motifs.npz", include_bytes!("../fixtures/motifs.npz"));
    let first = bench.run(&["run", "motifs.toml"]).well();
    assert_eq!(stages(&first, "started").len(), 5);
    fs::rename(bench.path("raw"), bench.path("elsewhere")).unwrap();
    let absolute = format!("dataset.raw={}", bench.path("elsewhere").display());
    for raw in ["dataset.raw=elsewhere", "dataset.raw=./elsewhere/../elsewhere", &absolute] {
        let ran = bench.run(&["run", "motifs.toml", "--set", raw]).well();
        assert!(stages(&ran, "started").is_empty(), "{raw}: {}", ran.stderr);
    }
    // Without the raw files, the dataset is reused, with a warning that it was not compared.
    let ran = bench.run(&["run", "motifs.toml"]).well();
    assert!(stages(&ran, "started").is_empty(), "{}", ran.stderr);
    assert!(ran.stderr.contains("not compared with its raw files"), "{}", ran.stderr);
    bench.run(&["report", "motifs.toml"]).well();
    bench.run(&["status"]).well();
    // A dataset that must be made from them fails and names the missing file.
    bench.run(&["run", "motifs.toml", "--set", "dataset.labels=[\"GATA\"]"]).failed(4, &["raw", "hint: "]);
    // Other content under the same path is other data.
    let mut bytes = fs::read(bench.path("elsewhere/motifs.npz")).unwrap();
    bytes.extend_from_slice(b"PK\x05\x06trailing");
    bench.write("raw/motifs.npz", &bytes);
    let ran = bench.run(&["run", "motifs.toml", "--dry-run"]).well();
    assert!(ran.stdout.contains("input motifs.npz changed"), "{}", ran.stdout);
}

#[test]
fn records_say_how_a_stage_was_run() {
    let bench = tiny();
    bench.run(&with(&["--threads", "2", "--profile", "longer"])).well();
    let record = bench.json("runs/tiny@longer/0/retrain/stage.json");
    let from = &record["provenance"];
    assert_eq!(
        (&from["profile"], &from["threads"], &from["attempts"]),
        (&"longer".into(), &2.into(), &1.into())
    );
    assert_eq!(from["overrides"][0], "methods=[\"dash\"]");
    for key in ["instruction_set", "device_name", "os", "first_started", "plan_policy"] {
        assert!(from[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {from}");
    }
    for key in ["version", "commit", "rustc", "target", "profile"] {
        assert!(from["program"][key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {from}");
    }
    let (peak, predicted) =
        (from["peak_memory"].as_u64().unwrap(), from["predicted_memory"].as_u64().unwrap());
    assert!(peak > 1 << 20 && predicted > 1 << 20, "{from}");
    let rows = bench.json("reports/tiny@longer/results.json");
    assert_eq!(rows[0]["provenance"], *from);
    assert_eq!(rows[0]["pipeline"], "tiny@longer");
    assert!(!bench.path("runs/tiny").exists() && !bench.path("reports/tiny").exists());
}

#[test]
fn what_is_missing_is_in_every_output_and_strict_reports_fail() {
    let bench = tiny();
    bench.run(&ONE).well();
    let ran = bench.run(&["report", "tiny.toml", "--format", "json"]).well();
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    let status: Vec<&str> =
        rows["results"].as_array().unwrap().iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["done", "missing", "missing", "missing"]);
    let ran = bench.run(&["report", "tiny.toml"]).well();
    assert!(ran.stdout.contains("1 of 2"), "{}", ran.stdout);
    bench.run(&["report", "tiny.toml", "--strict"]).failed(7, &["3 results are missing"]);
    let csv = fs::read_to_string(bench.path("reports/tiny/results.csv")).unwrap();
    assert_eq!(csv.matches(",missing,").count(), 3, "{csv}");
}

#[test]
fn a_short_try_under_the_same_name_loses_nothing() {
    let bench = tiny();
    bench.run(&ONE).well();
    let model = fs::read(bench.path("runs/tiny/0/retrain/model.safetensors")).unwrap();
    bench.run(&with(&["--set", "search.epochs=2", "--set", "retrain.epochs=1"])).well();
    assert_ne!(fs::read(bench.path("runs/tiny/0/retrain/model.safetensors")).unwrap(), model);
    let status = bench.run(&["status"]).well().stdout;
    assert!(status.contains("dash-nas runs prune"), "{status}");
    let ran = bench.run(&ONE).well();
    assert_eq!(stages(&ran, "started"), ["tiny report"]);
    assert_eq!(fs::read(bench.path("runs/tiny/0/retrain/model.safetensors")).unwrap(), model);
    bench.run(&["runs", "prune", "other"]).failed(2, &["no runs of \"other\""]);
    assert!(bench.run(&["runs", "prune"]).well().stdout.contains("removed runs/tiny/0/superseded/"));
    assert!(!bench.path("runs/tiny/0/superseded").exists());
}
