//! What a run reuses: stages, plans, damaged files, other processes, reports.

use super::{bench, stages, tiny};
use dash_tests::TINY;
use serde_json::Value;
use std::collections::BTreeSet;

const ALL: [&str; 12] = [
    "tiny dataset",
    "tiny/0 search",
    "tiny/0 tune",
    "tiny/0 retrain",
    "tiny/0 backbone-tune",
    "tiny/0 backbone-retrain",
    "tiny/1 search",
    "tiny/1 tune",
    "tiny/1 retrain",
    "tiny/1 backbone-tune",
    "tiny/1 backbone-retrain",
    "tiny report",
];

#[test]
fn one_command_leads_to_a_report_and_the_next_one_reuses_everything() {
    let bench = tiny();
    let first = bench.run(&["run", "tiny.toml"]).well();
    assert_eq!(stages(&first, "started"), ALL);
    assert!(first.stdout.contains("report: reports/tiny/index.html"), "{}", first.stdout);

    let rows = bench.json("reports/tiny/results.json");
    let keys: BTreeSet<(String, u64)> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["metric"] == "relative-l2" && row["split"] == "test")
        .map(|row| (row["method"].as_str().unwrap().to_owned(), row["seed"].as_u64().unwrap()))
        .collect();
    let expected = [("backbone", 0), ("backbone", 1), ("dash", 0), ("dash", 1)];
    assert_eq!(keys, expected.map(|(method, seed)| (method.to_owned(), seed)).into());
    for row in rows.as_array().unwrap() {
        assert_eq!((&row["pipeline"], &row["protocol"]), (&"tiny".into(), &"strict".into()));
        assert!(row["value"].as_f64().unwrap() > 0.0);
        assert_eq!(row["stage_seconds"]["search"].is_number(), row["method"] == "dash");
        assert!(row["run"].as_str().unwrap().starts_with("tiny/"));
    }
    let page = bench.files("reports/tiny");
    for file in ["index.html", "results.csv", "results.md", "results.parquet", "results.tex"] {
        assert!(page.contains_key(file), "{file}");
    }
    for file in ["train.parquet", "val.parquet", "test.parquet", "dataset.json", "stage.json"] {
        assert!(bench.path("runs/tiny/dataset").join(file).is_file(), "{file}");
    }
    for file in [
        "search/architecture.json",
        "search/history.parquet",
        "tune/hyperparameters.json",
        "tune/trials.parquet",
        "retrain/model.safetensors",
        "retrain/model.json",
        "retrain/history.parquet",
        "retrain/metrics.json",
        "retrain/stage.json",
    ] {
        assert!(bench.path("runs/tiny/0").join(file).is_file(), "{file}");
    }

    let second = bench.run(&["run", "tiny.toml", "--format", "json"]).well();
    assert_eq!(stages(&second, "reused"), ALL);
    assert!(stages(&second, "started").is_empty());
    let document: Value = serde_json::from_str(&second.stdout).unwrap();
    assert_eq!(document["results"], rows);
    assert_eq!(document["reports"], serde_json::json!(["reports/tiny/index.html"]));
    assert_eq!(document["failures"], serde_json::json!([]));
}

#[test]
fn a_changed_setting_runs_what_depends_on_it_and_nothing_else() {
    let bench = tiny();
    let run = |more: &[&str]| {
        let arguments = [&["run", "tiny.toml", "--set", "methods=[\"dash\"]", "--seeds", "0"], more].concat();
        stages(&bench.run(&arguments).well(), "started")
    };
    assert_eq!(run(&[]).len(), 5);
    assert_eq!(run(&["--set", "retrain.epochs=3"]), ["tiny/0 retrain", "tiny report"]);
    assert_eq!(run(&["--set", "retrain.epochs=3"]), Vec::<String>::new());
    // A profile leaves the runs without it alone.
    assert_eq!(run(&["--profile", "longer"]).len(), 5);
    assert_eq!(run(&["--set", "retrain.epochs=3"]), Vec::<String>::new());
    assert_eq!(run(&["--set", "retrain.epochs=3", "--set", "task.name=other"]), ["tiny report"]);

    let plan = ["run", "tiny.toml", "--dry-run", "--set", "search.learning_rate=0.02", "--format", "json"];
    let planned: Value = serde_json::from_str(&bench.run(&plan).well().stdout).unwrap();
    let reason = |run: &str, stage: &str| {
        let steps = planned["plan"].as_array().unwrap();
        let step = steps.iter().find(|s| s["run"] == run && s["stage"] == stage).unwrap();
        format!("{} ({})", step["action"].as_str().unwrap(), step["reason"].as_str().unwrap())
    };
    assert_eq!(reason("tiny", "dataset"), "reuse (finished with these settings and inputs)");
    assert_eq!(reason("tiny/0", "search"), "run (search.learning_rate changed 0.01 -> 0.02)");
    assert_eq!(reason("tiny/0", "tune"), "run (after 0/search)");
    assert_eq!(reason("tiny/0", "retrain"), "run (retrain.epochs changed 3 -> 2)");
    assert_eq!(reason("tiny/1", "search"), "run (new)");
    let explained = bench.run(&["explain", "tiny.toml", "retrain", "--seeds", "0"]).well().stdout;
    assert!(explained.contains("    retrain.epochs changed 3 -> 2\n"), "{explained}");
    bench.run(&["explain", "tiny.toml", "train"]).failed(2, &["no stage \"train\"", "backbone-retrain"]);
    let dash = ["explain", "tiny.toml", "backbone-tune", "--set", "methods=[\"dash\"]"];
    bench
        .run(&dash)
        .failed(2, &["the pipeline has no stage \"backbone-tune\"", "hint: its stages are dataset, search"]);
}

#[test]
fn measured_plans_are_recorded_and_never_reused_as_those_of_the_model() {
    let bench = tiny();
    let base = ["run", "tiny.toml", "--set", "methods=[\"backbone\"]", "--seeds", "0"];
    let measured = [&base[..], &["--plan", "measure"]].concat();
    bench.run(&base).well();
    let record = || bench.json("runs/tiny/0/backbone-retrain/stage.json");
    let sizes = |record: &Value| record["plan"]["convolutions"].as_array().unwrap().clone();
    let by_model = record();
    assert_eq!(by_model["plan"]["by"], "model");
    // Batches of four: the stem's three channels become sixteen.
    let stem = sizes(&by_model)
        .into_iter()
        .find(|line| line.as_str().unwrap().starts_with("4 x 3 channels of 9x9 to 16, 9 of 9 taps: "));
    assert!(stem.is_some(), "{by_model}");
    assert!(bench.json("runs/tiny/dataset/stage.json").get("plan").is_none());

    let trained = ["tiny/0 backbone-tune", "tiny/0 backbone-retrain", "tiny report"];
    assert_eq!(stages(&bench.run(&measured).well(), "started"), trained);
    assert!(stages(&bench.run(&measured).well(), "started").is_empty());
    assert_eq!(record()["plan"]["by"], "measure");
    assert!(sizes(&record()).iter().any(|line| line.as_str().unwrap().contains("; measured ")));

    let explain = ["explain", "tiny.toml", "backbone-retrain", "--seeds", "0"];
    let explained = bench.run(&explain).well().stdout;
    assert!(explained.contains("    plan removed, was \"measure\"\n"), "{explained}");
    assert!(explained.contains("planned by measure:\n    4 x "), "{explained}");
    let explained = bench.run(&[&explain[..], &["--plan", "measure", "--format", "json"]].concat()).well();
    let explained: Value = serde_json::from_str(&explained.stdout).unwrap();
    assert_eq!(explained["plan"][0]["action"], "reuse");
    assert_eq!(explained["plan"][0]["convolutions"]["by"], "measure");
}

#[test]
fn damage_is_noticed_named_and_repaired() {
    let bench = tiny();
    let arguments = ["run", "tiny.toml", "--set", "methods=[\"backbone\"]", "--seeds", "3"];
    bench.run(&arguments).well();
    let before = bench.files("runs/tiny/3/backbone-retrain");
    bench.write("runs/tiny/3/backbone-retrain/model.safetensors", b"rotten");
    let repaired = bench.run(&arguments).well();
    // The report shows when it was made.
    assert_eq!(stages(&repaired, "started"), ["tiny/3 backbone-retrain", "tiny report"]);
    assert!(repaired.stderr.contains("output model.safetensors damaged"), "{}", repaired.stderr);
    assert!(repaired.stderr.contains("warning: runs/tiny/3/backbone-retrain/model.safetensors"));
    let after = bench.files("runs/tiny/3/backbone-retrain");
    assert_eq!(before["model.safetensors"], after["model.safetensors"]);
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_any_number_of_threads() {
    let bench = tiny();
    for (folder, threads) in [("a", "1"), ("b", "3")] {
        bench.run(&["run", "tiny.toml", "--seeds", "1", "--threads", threads, "--runs-dir", folder]).well();
    }
    let (a, b) = (bench.files("a"), bench.files("b"));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    assert!(a.len() > 20);
    for (name, bytes) in &a {
        if name == ".file-hashes" {
            continue;
        }
        if name.ends_with("stage.json") {
            let strip = |bytes: &[u8]| {
                let mut record: Value = serde_json::from_slice(bytes).unwrap();
                for time in ["seconds", "started", "finished", "provenance", "sha256"] {
                    assert!(record.as_object_mut().unwrap().remove(time).is_some());
                }
                record
            };
            assert_eq!(strip(bytes), strip(&b[name]), "{name}");
        } else {
            assert!(bytes == &b[name], "{name} differs");
        }
    }
    let seeds = bench.run(&["status", "--runs-dir", "a"]).well().stdout;
    assert!(seeds.contains("tiny/1") && seeds.contains("backbone-retrain"), "{seeds}");
}

#[test]
fn a_second_process_on_the_same_run_is_refused() {
    let bench = tiny();
    let mut first =
        bench.start(&["run", "tiny.toml", "--set", "retrain.epochs=100000", "--seeds", "0", "--quiet"]);
    let lock = bench.path("runs/tiny/0/.lock");
    for _ in 0..600 {
        if std::fs::read(&lock).is_ok_and(|bytes| !bytes.is_empty()) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let second = bench.run(&["run", "tiny.toml", "--seeds", "0"]);
    let pid = first.id().to_string();
    first.kill().unwrap();
    first.wait().unwrap();
    second.failed(5, &["in use by process", &pid, "hint: "]);
    // The dead process's lock is taken over, and its leftovers are removed.
    bench.run(&["run", "tiny.toml", "--seeds", "0"]).well();
    let litter: Vec<String> =
        bench.files("runs").into_keys().filter(|name| name.contains(".dash-")).collect();
    assert!(litter.is_empty(), "{litter:?}");
}

#[test]
fn a_dataset_is_not_replaced_under_the_run_of_another_process() {
    let bench = tiny();
    bench.run(&["run", "tiny.toml", "--seeds", "0"]).well();
    let before = bench.files("runs/tiny/dataset");
    // This test is the other process, at work on seed 0.
    let at_work = dash_store::Lock::acquire(&bench.path("runs/tiny/0")).unwrap();
    let pid = std::process::id().to_string();
    let other = ["run", "tiny.toml", "--seeds", "1", "--set", "dataset.train=24"];
    bench.run(&other).failed(5, &["in use by process", &pid]);
    bench.run(&["data", "ingest", "tiny.toml", "--set", "dataset.train=24"]).failed(5, &[&pid]);
    assert_eq!(bench.files("runs/tiny/dataset"), before);
    // The same dataset is shared, and a free one may be replaced.
    bench.run(&["run", "tiny.toml", "--seeds", "1"]).well();
    drop(at_work);
    bench.run(&other).well();
    assert_ne!(bench.files("runs/tiny/dataset"), before);
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_anything_runs() {
    let bench = tiny();
    bench.write("reports/tiny/thesis.txt", b"not a report");
    bench.run(&["run", "tiny.toml"]).failed(6, &["reports/tiny", "hint: "]);
    assert!(!bench.path("runs/tiny").exists());
    bench.write("file", b"");
    bench.run(&["run", "tiny.toml", "--reports-dir", "file"]).failed(6, &["file"]);
    assert!(!bench.path("runs/tiny").exists());
}

#[test]
fn memory_that_no_machine_has_is_refused_and_what_is_finished_is_kept() {
    let bench = tiny();
    // Kernels of a million weights between thousands of channels: hundreds of terabytes.
    let huge = ["search.kernel_sizes=[1001]", "search.backbone.width=256"];
    let huge: Vec<&str> = huge.iter().flat_map(|set| ["--set", set]).collect();
    let run = ["run", "tiny.toml", "--seeds", "0", "--set", "methods=[\"dash\"]"];
    bench
        .run(&[&run, &huge[..]].concat())
        .failed(6, &["MiB of memory are needed", "hint: make batch sizes or the network smaller"]);
    let ran = bench.run(&run).well();
    assert_eq!(stages(&ran, "reused"), ["tiny dataset"]);
}

#[test]
fn a_stage_that_needs_more_memory_than_may_be_used_is_refused_before_it_runs() {
    let bench = tiny();
    let run = ["run", "tiny.toml", "--seeds", "0", "--set", "methods=[\"dash\"]"];
    bench.run(&["data", "ingest", "tiny.toml"]).well();
    let set = ["--set", "search.batch_size=100000"];
    let plan = bench.run(&[&run[..], &set, &["--dry-run", "--format", "json"]].concat()).well();
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let memory = |stage: &str| {
        let steps = plan["plan"].as_array().unwrap();
        let step = steps.iter().find(|step| step["stage"] == stage).unwrap();
        step["memory_bytes"].as_u64()
    };
    assert!(memory("search") > Some(200 << 20) && memory("retrain") < Some(200 << 20), "{plan}");
    assert_eq!(memory("dataset"), None);
    let refused = bench.run(&[&run[..], &set, &["--memory", "200"]].concat());
    refused.failed(6, &["batches of 100000 samples, ", "hint: search.batch_size = "]);
    assert!(!bench.path("runs/tiny/0/search").exists());
    // The batch size of the hint fits.
    let hint = refused.stderr.lines().find_map(|line| line.strip_prefix("hint: ")).unwrap();
    let size = hint.split_once(" would fit").unwrap().0.replace(' ', "");
    bench.run(&[&run[..], &["--set", &size, "--memory", "200"]].concat()).well();
}

#[test]
fn events_are_one_json_object_per_line() {
    let bench = tiny();
    let listeners = ["--events", "log/events.jsonl", "--tensorboard", "board", "--quiet"];
    bench.run(&[&["data", "ingest", "tiny.toml"][..], &listeners].concat()).well();
    let text = std::fs::read_to_string(bench.path("log/events.jsonl")).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.first().unwrap()["event"], "stage-started");
    assert_eq!(events.last().unwrap()["event"], "stage-finished");
    assert!(events.iter().all(|event| event["elapsed"].is_number()));
    assert!(bench.path("runs/tiny/dataset/dataset.json").is_file());
    assert!(!bench.path("runs/tiny/0/search").exists());
    // Nothing was trained, so there is no file; each trained stage gets one.
    assert!(bench.files("board").is_empty());
    bench.run(&[&["run", "tiny.toml", "--seeds", "0"][..], &listeners].concat()).well();
    let board = bench.files("board");
    let folders: BTreeSet<&str> = board.keys().filter_map(|path| Some(path.rsplit_once('/')?.0)).collect();
    let stages = ["search", "tune", "retrain", "backbone-tune", "backbone-retrain"];
    assert_eq!(folders, stages.map(|stage| format!("tiny/0/{stage}")).iter().map(String::as_str).collect());
}

#[test]
fn a_sweep_gets_a_report_over_all_its_pipelines() {
    let bench = bench();
    let one = TINY.replace("[\"dash\", \"backbone\"]", "[\"backbone\"]");
    bench.write("p/a.toml", one.replace("\"tiny\"", "\"a\"").as_bytes());
    bench.write("p/b.toml", one.replace("\"tiny\"", "\"b\"").as_bytes());
    bench.write("p/both.toml", b"include = [\"a.toml\", \"b.toml\"]\nseeds = [5]\nreport = \"all\"");
    let ran = bench.run(&["run", "p/both.toml"]).well();
    assert!(ran.stdout.contains("report: reports/all/index.html"), "{}", ran.stdout);
    let rows = bench.json("reports/all/results.json");
    let runs: BTreeSet<&str> = rows.as_array().unwrap().iter().map(|r| r["run"].as_str().unwrap()).collect();
    assert_eq!(runs, ["a/5", "b/5"].into());
    assert_eq!(
        bench.json("reports/a/results.json").as_array().unwrap().len() * 2,
        rows.as_array().unwrap().len()
    );
}
