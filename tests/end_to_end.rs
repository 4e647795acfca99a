//! The binary from the outside: results, reuse, bad input, exit codes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod data;
mod fuzz;

use dash_tests::{Bench, Ran, TINY};
use serde_json::Value;
use std::collections::BTreeSet;

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_dash-nas"))
}

fn tiny() -> Bench {
    let bench = bench();
    bench.write("tiny.toml", TINY.as_bytes());
    bench
}

/// `run stage` of every line on standard error that ends like `what`.
fn stages(ran: &Ran, what: &str) -> Vec<String> {
    let lines = ran.stderr.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(_, text)| text.starts_with(what)).map(|(stage, _)| stage.to_owned()).collect()
}

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
    assert_eq!(run(&["--profile", "longer"]), ["tiny/0 retrain", "tiny report"]);
    assert_eq!(run(&["--set", "retrain.epochs=3"]), Vec::<String>::new());
    assert_eq!(run(&["--set", "retrain.epochs=3", "--set", "task.name=other"]), ["tiny report"]);

    let plan = ["run", "tiny.toml", "--dry-run", "--set", "search.learning_rate=0.02", "--format", "json"];
    let planned: Value = serde_json::from_str(&bench.run(&plan).well().stdout).unwrap();
    let reason = |run: &str, stage: &str| {
        let steps = planned["plan"].as_array().unwrap();
        let step = steps.iter().find(|s| s["run"] == run && s["stage"] == stage).unwrap();
        format!("{} ({})", step["action"].as_str().unwrap(), step["reason"].as_str().unwrap())
    };
    assert_eq!(reason("tiny", "dataset"), "reuse (finished with these settings)");
    assert_eq!(reason("tiny/0", "search"), "run (search.learning_rate changed 0.01 -> 0.02)");
    assert_eq!(reason("tiny/0", "tune"), "run (input search changed)");
    assert_eq!(reason("tiny/0", "retrain"), "run (retrain.epochs changed 3 -> 2 and 2 more)");
    assert_eq!(reason("tiny/1", "search"), "run (new)");
    let explained = bench.run(&["explain", "tiny.toml", "retrain", "--seeds", "0"]).well().stdout;
    assert!(explained.contains("    retrain.epochs changed 3 -> 2\n"), "{explained}");
    bench.run(&["explain", "tiny.toml", "train"]).failed(2, &["no stage \"train\"", "backbone-retrain"]);
}

#[test]
fn measured_plans_are_recorded_and_never_taken_for_those_of_the_model() {
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
    assert_eq!(stages(&repaired, "started"), ["tiny/3 backbone-retrain"]);
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
        if name.ends_with("stage.json") {
            let strip = |bytes: &[u8]| {
                let mut record: Value = serde_json::from_slice(bytes).unwrap();
                for time in ["seconds", "started", "finished"] {
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
fn bad_pipeline_files_have_one_clear_error() {
    let bench = tiny();
    let run = |text: &str, more: &[&str]| {
        bench.write("bad.toml", text.as_bytes());
        bench.run(&[&["run", "bad.toml"], more].concat())
    };
    run(&TINY.replace("batch_size = 4", "batch_sise = 4"), &[])
        .failed(3, &["bad.toml:23: search.batch_sise: unknown key; did you mean `batch_size`?", "hint: "]);
    run(&TINY.replace("seeds = [0, 1]", "seeds = [1, 1]"), &[])
        .failed(3, &["bad.toml:2: seeds[1]: the seed 1 is given twice"]);
    run(TINY, &["--set", "retrain.epoch=5"])
        .failed(3, &["--set retrain.epoch=5: retrain.epoch: unknown key; did you mean `epochs`?"]);
    run(TINY, &["--profile", "long"]).failed(3, &["there is no profile `long`", "longer"]);
    run("name = ", &[]).failed(3, &["bad.toml:1: "]);
    bench.run(&["run", "missing.toml"]).failed(3, &["cannot read the pipeline file missing.toml"]);
    bench.run(&["run", "tiny.toml", "tiny.toml"]).failed(3, &["two pipelines are named \"tiny\""]);
    assert!(bench.files("runs").is_empty() && bench.files("reports").is_empty());

    assert_eq!(bench.run(&["run"]).code, Some(2));
    assert_eq!(bench.run(&["run", "tiny.toml", "--device", "gpu"]).code, Some(2));
    bench.run(&["run", "tiny.toml", "--device", "cuda:0"]).failed(6, &["cuda:0", "hint: --device cpu"]);
    bench.run(&["report", "tiny.toml"]).failed(4, &["no finished stage of tiny", "hint: "]);
}

#[test]
fn check_prints_the_effective_configuration_as_a_pipeline_file() {
    let bench = tiny();
    let printed =
        bench.run(&["check", "tiny.toml", "--profile", "longer", "--set", "tune.epochs=9"]).well().stdout;
    bench.write("printed.toml", printed.as_bytes());
    assert_eq!(bench.run(&["check", "printed.toml"]).well().stdout, printed);
    for line in ["epochs = 3", "epochs = 9", "name = \"tiny\""] {
        assert!(printed.lines().any(|l| l == line), "{line} in {printed}");
    }
    let schema: Value = serde_json::from_str(&bench.run(&["schema"]).well().stdout).unwrap();
    assert!(schema["properties"]["search"].is_object());
    assert!(bench.run(&["completions", "bash"]).well().stdout.contains("dash-nas"));
}

/// A pipeline over recordings, with `data` in the place of the benchmark's file.
fn ecg(data: Option<&[u8]>) -> Ran {
    let bench = bench();
    bench.write(
        "ecg.toml",
        br#"name = "ecg"
        dataset = { recipe = "ecg", raw = "raw" }
        task = { loss = { kind = "cross-entropy" }, metric = { kind = "macro-f1" } }"#,
    );
    if let Some(bytes) = data {
        bench.write("raw/challenge2017.pkl", bytes);
    }
    let ran = bench.run(&["run", "ecg.toml"]);
    let left: Vec<String> = bench.files("runs").into_keys().filter(|name| !name.ends_with(".lock")).collect();
    assert_eq!(left.iter().filter(|name| !name.ends_with("pipeline.toml")).count(), 0, "{left:?}");
    assert!(!bench.path("owned").exists(), "a pickle was executed");
    ran
}

#[test]
fn bad_data_is_refused_and_leaves_nothing_half_written() {
    ecg(None).failed(4, &["raw: there is no such folder", "hint: "]);
    ecg(Some(b"\x80\x02}q\x00X\x04\x00\x00\x00da")).failed(4, &["challenge2017.pkl"]);
    ecg(Some(b"")).failed(4, &["challenge2017.pkl"]);
    // os.system("touch owned")
    ecg(Some(b"\x80\x02cos\nsystem\nX\x0b\x00\x00\x00touch owned\x85R."))
        .failed(4, &["challenge2017.pkl", "os.system"]);
}

/// A numpy file of singles or 64-bit integers.
fn npy(descr: &str, shape: &str, elements: Vec<u8>) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [&b"\x93NUMPY\x01\0"[..], &length, header.as_bytes(), &elements].concat()
}

#[test]
fn numpy_windows_and_changed_training_inputs_lead_to_a_report() {
    let bench = bench();
    for (part, samples) in [("train", 24), ("val", 6), ("test", 6)] {
        // The class is the electrode with the signal.
        let value = |k: usize| if k % 4 == k / 32 % 3 { (k / 4 % 8) as f32 - 3.5 } else { 0.0 };
        let windows = (0..samples * 32).flat_map(|k| value(k).to_le_bytes()).collect();
        bench.write(&format!("raw/ninapro_{part}.npy"), &npy("<f4", &format!("({samples}, 8, 4)"), windows));
        let labels = (0..samples as i64).flat_map(|n| (n % 3).to_le_bytes()).collect();
        bench.write(&format!("raw/label_{part}.npy"), &npy("<i8", &format!("({samples},)"), labels));
    }
    bench.write(
        "emg.toml",
        br#"name = "emg"
        dataset = { recipe = "ninapro", raw = "raw" }
        [task]
        loss = { kind = "focal", gamma = 0.0 }
        metric = { kind = "zero-one-error" }
        augment = [{ kind = "crop", padding = 1 }]
        [search]
        backbone = { kind = "wrn", depth = 10 }
        kernel_sizes = [3, 5]
        dilations = [1]
        epochs = 1
        batch_size = 8
        [tune]
        epochs = 1
        learning_rates = [0.01]
        dropouts = [0.0]
        weight_decays = [5e-4]
        momenta = [0.9]
        [retrain]
        backbone = { kind = "wrn", depth = 10 }
        epochs = 2
        batch_size = 8"#,
    );
    bench.run(&["run", "emg.toml", "--threads", "1", "--runs-dir", "a"]).well();
    let rows = bench.json("reports/emg/results.json");
    assert!((0.0..=100.0).contains(&rows[0]["value"].as_f64().unwrap()), "{rows}");
    let card = bench.json("a/emg/dataset/dataset.json");
    assert_eq!(card["input"]["shape"], serde_json::json!([1, 4, 8]));
    // Neither threads nor batches decide what happens to a sample.
    bench.run(&["run", "emg.toml", "--threads", "3", "--runs-dir", "b"]).well();
    let model = "emg/0/retrain/model.safetensors";
    assert!(bench.files("a")[model] == bench.files("b")[model]);
    let without = ["run", "emg.toml", "--runs-dir", "a", "--dry-run", "--set", "task.augment=[]"];
    assert!(bench.run(&without).well().stdout.contains("task.augment removed"));

    bench.write("raw/label_val.npy", &npy("<i8", "(6,)", vec![0; 40]));
    let damaged = ["run", "emg.toml", "--runs-dir", "c"];
    bench.run(&damaged).failed(4, &["raw/label_val.npy: ", "takes 48 bytes, 40 follow its header", "hint: "]);
}

/// A pipeline over clips of sound: spectrograms of 8 bands and 18 frames, and the column of zeros.
const SOUNDS: &str = r#"name = "sounds"
methods = ["dash"]
[dataset]
recipe = "fsd50k"
raw = "raw"
sample_rate = 1000
chunk = 170
fft = 64
window = 40
hop = 10
bands = 8
[task]
loss = { kind = "binary-cross-entropy", positive_weight = 2 }
metric = { kind = "average-precision" }
batch_average = 3
augment = [{ kind = "spec-augment" }, { kind = "noise", mask = {} }]
[search]
backbone = { kind = "wrn", depth = 10 }
kernel_sizes = [3, 5]
dilations = [1, 2]
epochs = 1
batch_size = 4
[tune]
epochs = 1
batch_size = 4
learning_rates = [0.05]
dropouts = [0.0]
weight_decays = [5e-4]
momenta = [0.9]
[retrain]
backbone = { kind = "wrn", depth = 10 }
epochs = 4
batch_size = 4
"#;

/// One channel of 16 bits, 1000 samples per second.
fn wav(samples: impl ExactSizeIterator<Item = i16>) -> Vec<u8> {
    let bytes = 2 * samples.len() as u32;
    let mut out = b"RIFF".to_vec();
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend(1000u32.to_le_bytes());
    out.extend(2000u32.to_le_bytes());
    out.extend(b"\x02\0\x10\0data");
    out.extend(bytes.to_le_bytes());
    out.extend(samples.flat_map(i16::to_le_bytes));
    out
}

#[test]
fn clips_of_several_chunks_go_from_recordings_to_a_report() {
    let bench = bench();
    bench.write("sounds.toml", SOUNDS.as_bytes());
    // Low or high tones, or both, in clips of one to three chunks.
    for (split, clips) in [("tr", 12), ("val", 6), ("eval", 6)] {
        let mut table = "files,labels,ext\n".to_owned();
        for clip in 0..clips {
            let (low, high) = (clip % 3 != 1, clip % 3 != 2);
            let labels = if low && high {
                "\"low,high\""
            } else if low {
                "low"
            } else {
                "high"
            };
            for chunk in 0..clip % 3 + 1 {
                let tone = |at: u32, period: u32, loud: bool| {
                    if loud && (at + 7 * clip + chunk) % period < period / 2 { 6000 } else { 0 }
                };
                let sample = |at: u32| tone(at, 40, low) + tone(at, 6, high) + (at * 37 % 101) as i16;
                let name = format!("{split}_{clip}_{chunk:04}.wav");
                bench.write(&format!("raw/chunks/{split}/{name}"), &wav((0..170 - 40 * chunk).map(sample)));
                table += &format!("/made/elsewhere/{name},{labels},{split}_{clip}\n");
            }
        }
        bench.write(&format!("raw/chunks/{split}.csv"), table.as_bytes());
    }
    bench.write("raw/chunks/lbl_map.json", br#"{"low": 0, "high": 1, "none": 2}"#);
    bench.write("raw/noise_22050/hiss.wav", &wav((0..400u32).map(|at| (at * at * 31 % 997) as i16)));

    bench.run(&["run", "sounds.toml", "--threads", "1", "--runs-dir", "a"]).well();
    let card = bench.json("a/sounds/dataset/dataset.json");
    assert_eq!(card["input"], serde_json::json!({"column": "input", "shape": [1, 8, 19], "element": "f16"}));
    assert_eq!(card["splits"]["train"]["rows"], 24);
    assert_eq!(card["notes"]["clips_per_split"]["train"], 12);
    let rows = bench.json("reports/sounds/results.json");
    let metrics: Vec<&str> = rows.as_array().unwrap().iter().map(|r| r["metric"].as_str().unwrap()).collect();
    assert_eq!(metrics, ["average-precision", "average-precision (mean over batches of 3)"]);
    assert!(rows.as_array().unwrap().iter().all(|row| (0.0..=1.0).contains(&row["value"].as_f64().unwrap())));
    // Neither threads nor batches decide which part of a clip is taken and what happens to it.
    bench.run(&["run", "sounds.toml", "--threads", "3", "--runs-dir", "b"]).well();
    let (a, b) = (bench.files("a"), bench.files("b"));
    for file in ["dataset/train.parquet", "dataset/noise.parquet", "0/retrain/model.safetensors"] {
        assert!(a[&format!("sounds/{file}")] == b[&format!("sounds/{file}")], "{file}");
    }
    bench.run(&["data", "verify", "a/sounds"]).well();
    let shown = bench.run(&["data", "inspect", "a/sounds", "--samples", "sounds.svg"]).well().stdout;
    assert!(shown.contains("input: shape [1, 8, 19], float16; target: 3 labels, uint8"), "{shown}");

    let silent = ["run", "sounds.toml", "--runs-dir", "c", "--set", "dataset.noise=\"\""];
    bench.run(&silent).failed(3, &["task.augment[1]: does not fit: fsd50k holds no recordings of noise"]);
    bench.write("raw/chunks/eval/eval_0_0000.wav", b"RIFF");
    bench
        .run(&["run", "sounds.toml", "--runs-dir", "c"])
        .failed(4, &["raw/chunks/eval/eval_0_0000.wav: the recording ends early", "hint: "]);
}

/// A pipeline over sets of labels. The archive is made by `tests/fixtures/motifs.py`.
const MOTIFS: &str = r#"name = "motifs"
dataset = { recipe = "deepsea", raw = "raw", file = "motifs.npz", labels = ["GATA", "TTT"] }
task = { loss = { kind = "binary-cross-entropy", positive_weight = 2 }, metric = { kind = "auroc" }, batch_average = 8 }
search = { backbone = { kind = "resnet1d" }, kernel_sizes = [3, 5], dilations = [1, 2], epochs = 1, batch_size = 16 }
retrain = { epochs = 6, batch_size = 16 }

[tune]
epochs = 1
batch_size = 16
learning_rates = [0.05]
dropouts = [0.0]
weight_decays = [5e-4]
momenta = [0.9]
"#;

#[test]
fn sets_of_labels_go_from_an_archive_to_a_report() {
    let bench = bench();
    bench.write("motifs.toml", MOTIFS.as_bytes());
    bench.write("raw/motifs.npz", include_bytes!("fixtures/motifs.npz"));
    bench.run(&["run", "motifs.toml"]).well();
    let card = bench.json("runs/motifs/dataset/dataset.json");
    assert_eq!(card["input"]["shape"], serde_json::json!([4, 32]));
    assert_eq!(card["target"]["labels"], serde_json::json!(["GATA", "TTT"]));
    assert_eq!(card["splits"]["train"]["rows"], 96);
    // As the script printed.
    assert_eq!(card["splits"]["test"]["class_counts"], serde_json::json!([18, 13]));
    let rows = bench.json("reports/motifs/results.json");
    let metrics: Vec<&str> = rows.as_array().unwrap().iter().map(|r| r["metric"].as_str().unwrap()).collect();
    assert_eq!(metrics, ["auroc", "auroc (mean over batches of 8)"]);
    for row in rows.as_array().unwrap() {
        assert_eq!((&row["lower_is_better"], &row["split"]), (&true.into(), &"test".into()));
        assert!((0.0..=1.0).contains(&row["value"].as_f64().unwrap()));
    }
    let page = std::fs::read_to_string(bench.path("reports/motifs/index.html")).unwrap();
    for words in ["1 − AUROC", "batch by batch"] {
        assert!(page.contains(words), "{words}");
    }
    // Another number of batches is another result; nothing else is run again.
    let again = bench.run(&["run", "motifs.toml", "--set", "task.batch_average=10"]).well();
    assert_eq!(stages(&again, "started"), ["motifs/0 retrain", "motifs report"]);

    let unfit = bench.run(&["run", "motifs.toml", "--set", "task.metric={ kind = 'macro-f1' }"]);
    unfit.failed(3, &["task.metric: macro-f1 does not fit: deepsea predicts labels; use auroc or"]);
    bench.write("raw/motifs.npz", &include_bytes!("fixtures/motifs.npz")[..900]);
    bench.run(&["run", "motifs.toml"]).failed(4, &["motifs.npz", "hint: "]);
    assert_eq!(bench.json("runs/motifs/dataset/dataset.json"), card);
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
fn events_are_one_json_object_per_line() {
    let bench = tiny();
    bench.run(&["data", "ingest", "tiny.toml", "--events", "log/events.jsonl", "--quiet"]).well();
    let text = std::fs::read_to_string(bench.path("log/events.jsonl")).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.first().unwrap()["event"], "stage-started");
    assert_eq!(events.last().unwrap()["event"], "stage-finished");
    assert!(events.iter().all(|event| event["elapsed"].is_number()));
    assert!(bench.path("runs/tiny/dataset/dataset.json").is_file());
    assert!(!bench.path("runs/tiny/0/search").exists());
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

#[test]
fn a_timed_task_is_one_line_of_json() {
    let line = |more: &[&str]| -> Value {
        let base = ["bench", "--task", "ecg", "--batch", "2", "--steps", "1", "--warmup", "0"];
        let ran = bench().run(&[&base[..], &["--format", "json"], more].concat()).well();
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let timing = line(&[]);
    let keys: Vec<&str> = timing.as_object().unwrap().keys().map(String::as_str).collect();
    let contract = [
        "task",
        "stage",
        "method",
        "batch",
        "threads",
        "ms_per_step",
        "min_ms",
        "runs",
        "params",
        "peak_rss_mib",
    ];
    assert_eq!(keys, contract);
    assert_eq!(
        (&timing["task"], &timing["stage"], &timing["method"]),
        (&"ecg".into(), &"search".into(), &"dash-nas".into())
    );
    assert_eq!(
        (&timing["batch"], &timing["runs"], &timing["params"]),
        (&2.into(), &1.into(), &18_948.into())
    );
    assert!(timing["ms_per_step"].as_f64().unwrap() > 0.0);
    assert_eq!(line(&["--plan", "measure"])["plan"], "measure");
    bench().run(&["bench"]).failed(2, &["--task"]);
    bench().run(&["bench", "--task", "ecg", "--points", "1"]).failed(2, &["--points"]);
}

#[test]
fn the_sweep_times_three_methods_at_every_point_and_draws_them() {
    let bench = bench();
    let base = ["bench", "--sweep", "--batch", "1", "--steps", "1", "--warmup", "0"];
    let arguments = [&base[..], &["--points", "3", "--format", "json", "--plot", "plots/speed.svg"]].concat();
    let lines: Vec<Value> =
        bench.run(&arguments).well().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let number = |line: &Value, key: &str| line[key].as_u64().unwrap();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let found: BTreeSet<_> = (lines.iter())
        .map(|l| (text(l, "sweep"), number(l, "candidates"), number(l, "length"), text(l, "method")))
        .collect();
    let points = [("candidates", 1, 1000), ("candidates", 4, 1000), ("candidates", 9, 1000)];
    let lengths = [("length", 25, 32), ("length", 25, 64), ("length", 25, 128)];
    let expected = points.into_iter().chain(lengths).flat_map(|(sweep, candidates, length)| {
        ["fourier", "mixed-weights", "mixed-results"]
            .map(|method| (sweep.to_owned(), candidates, length, method.to_owned()))
    });
    assert_eq!(found, expected.collect());
    assert_eq!(lines.len(), 18);
    for line in &lines {
        assert_eq!((number(line, "batch"), number(line, "runs")), (1, 1));
        assert!(number(line, "threads") >= 1);
        let ms = line["ms_per_step"].as_f64().unwrap();
        assert_eq!(line["min_ms"], line["ms_per_step"], "one step");
        assert!((line["seconds_per_epoch"].as_f64().unwrap() - 0.469 * ms).abs() < 1e-6);
        assert_eq!(text(line, "grouping"), "depthwise where c_in == c_out");
        assert_eq!(text(line, "plan"), "model");
    }
    let plot = String::from_utf8(bench.files("plots")["speed.svg"].clone()).unwrap();
    assert_eq!(plot.matches("<circle").count(), lines.len());

    let table = bench.run(&[&base[..], &["--points", "1"]].concat()).well();
    for word in ["mixed-results", "depthwise where c_in == c_out", "469 steps"] {
        assert!(table.stdout.contains(word), "{}", table.stdout);
    }
    bench.run(&["bench", "--sweep", "--task", "ecg"]).failed(2, &["--sweep"]);
}

/// A `.npy` file of singles.
fn singles(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    npy("<f4", &format!("({axes})"), values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// Ten small images of a sky of level 50 with a bright cosmic ray each, in the benchmark's tree, and a
/// pipeline that searches and retrains the smallest network on them.
fn cosmic() -> Bench {
    let bench = bench();
    for number in 1..=10usize {
        let mut image: Vec<f32> = (0..256).map(|at| 50.0 + ((at * 7 + number * 3) % 5) as f32).collect();
        let (mut mask, mut ignore) = (vec![0f32; 256], vec![0f32; 256]);
        for step in 0..5 {
            let at = (5 + (number + step) % 6) * 16 + 5 + step;
            image[at] = 400.0 + number as f32;
            mask[at] = 1.0;
        }
        ignore[6 * 16 + 10] = 1.0;
        let part = if number <= 8 { "train" } else { "test" };
        let name = format!("raw/npy_{part}/f435w/10760/2/{number}_1.npy");
        bench.write(&name, &singles(&[3, 16, 16], &[image, mask, ignore].concat()));
        bench.write(&format!("raw/npy_{part}/f435w/10760/2/sky.npy"), &singles(&[10], &[50.0; 10]));
    }
    bench.write(
        "cosmic.toml",
        br#"
name = "cosmic"
methods = ["dash"]
[dataset]
recipe = "cosmic"
raw = "raw"
validation = 2
[task]
loss = { kind = "masked-binary-cross-entropy" }
metric = { kind = "false-negative-rate" }
batch_average = 1
augment = [{ kind = "background", low = -0.9, high = 3.0 }]
[search]
backbone = { kind = "wrn", depth = 10 }
kernel_sizes = [3]
dilations = [1, 2]
epochs = 2
fraction = 1.0
batch_size = 3
learning_rate = 0.05
[tune]
epochs = 1
fraction = 1.0
batch_size = 3
learning_rates = [0.1]
dropouts = [0.0]
weight_decays = [5e-4]
momenta = [0.9]
[retrain]
backbone = { kind = "wrn", depth = 10 }
epochs = 10
batch_size = 3
"#,
    );
    bench
}

#[test]
fn masks_are_learned_from_a_tree_of_images_and_augmentation_is_part_of_what_is_trained() {
    let bench = cosmic();
    bench.run(&["run", "cosmic.toml"]).well();
    let rows = bench.json("reports/cosmic/results.json");
    let value = |metric: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["metric"] == metric);
        row.unwrap_or_else(|| panic!("{metric}: {rows}"))["value"].as_f64().unwrap()
    };
    let rate = value("false-negative-rate");
    // Two images with five hit pixels each.
    assert!((0.0..=0.5).contains(&rate), "{rate}");
    assert!((value("false-negative-rate (mean over batches of 1)") - rate).abs() < 1e-12);
    // Another range of the background is another training, of the same data.
    let change = "task.augment=[{ kind = 'background', low = -0.5, high = 3.0 }]";
    let again = bench.run(&["run", "cosmic.toml", "--set", change, "--dry-run"]).well();
    let text = format!("{}{}", again.stdout, again.stderr);
    assert!(text.contains("augment"), "{text}");
    bench.write("raw/npy_train/f435w/10760/2/1_1.npy", b"x");
    bench.run(&["run", "cosmic.toml"]).failed(4, &["1_1.npy", "file ends early"]);
}

/// A MATLAB file with cell arrays of pieces of three notes: a melody that goes up and begins again.
fn songs() -> Vec<u8> {
    let words = |values: &[u32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let element = |class: u32, dimensions: [u32; 2], name: &str, content: Vec<u8>| {
        let mut body = words(&[6, 8, class, 0, 5, 8, dimensions[0], dimensions[1], 1, name.len() as u32]);
        body.extend(name.as_bytes());
        body.resize(body.len().next_multiple_of(8), 0);
        body.extend(content);
        body.resize(body.len().next_multiple_of(8), 0);
        [words(&[14, body.len() as u32]), body].concat()
    };
    let piece = |number: u32| {
        let steps = 10 + number % 3;
        let note = |at: u32| u8::from((at % steps + number) % 3 == at / steps);
        let notes: Vec<u8> = (0..3 * steps).map(note).collect();
        element(9, [steps, 3], "", [words(&[2, 3 * steps]), notes].concat())
    };
    let mut out = b"MATLAB 5.0 MAT-file".to_vec();
    out.resize(124, b' ');
    out.extend([0, 1, b'I', b'M']);
    for (name, count) in [("traindata", 12), ("validdata", 3), ("testdata", 3)] {
        out.extend(element(1, [1, count], name, (0..count).flat_map(piece).collect()));
    }
    out
}

#[test]
fn the_next_step_of_a_piano_roll_is_learned() {
    let bench = bench();
    bench.write("raw/songs.mat", &songs());
    bench.write(
        "songs.toml",
        br#"
name = "songs"
methods = ["dash"]
dataset = { recipe = "music", raw = "raw", file = "songs.mat", steps = 12 }
task = { loss = { kind = "masked-binary-cross-entropy" }, metric = { kind = "masked-binary-cross-entropy" } }
[search]
backbone = { kind = "resnet1d", channels = 4 }
kernel_sizes = [3]
dilations = [1, 2]
epochs = 1
batch_size = 4
pull = { kind = "kernel-size" }
[tune]
epochs = 1
fraction = 1.0
batch_size = 4
learning_rates = [0.1]
dropouts = [0.0]
weight_decays = [5e-4]
momenta = [0.9]
[retrain]
backbone = { kind = "resnet1d", channels = 8, causal = true }
epochs = 20
batch_size = 4
"#,
    );
    bench.run(&["run", "songs.toml"]).well();
    let card = bench.json("runs/songs/dataset/dataset.json");
    assert_eq!(
        (&card["input"]["shape"], &card["input"]["element"]),
        (&serde_json::json!([3, 11]), &"u8".into())
    );
    let rows = bench.json("reports/songs/results.json");
    let row = rows.as_array().unwrap().iter().find(|row| row["split"] == "test").unwrap();
    let value = row["value"].as_f64().unwrap();
    // Guessing costs ln 2 = 0.69 per note, knowing how often notes sound 0.64.
    assert!((0.0..0.3).contains(&value), "{value}");
    bench
        .run(&["run", "songs.toml", "--set", "task.metric.kind=relative-l2"])
        .failed(3, &["task.metric: relative-l2 does not fit: music predicts a mask"]);
    bench.write("raw/songs.mat", &songs()[..1500]);
    bench.run(&["run", "songs.toml"]).failed(4, &["songs.mat", "ends early"]);
}

/// Hairpins made by `tests/fixtures/psicov.py`; windows in which the larger ones are cut.
const HAIRPINS: &str = r#"name = "hairpins"
dataset = { recipe = "psicov", raw = "raw" }

[task]
loss = { kind = "mean-squared-error" }
metric = { kind = "mae8" }
batch_average = 2
window = { training = 24, evaluation = 40 }

[search]
backbone = { kind = "wrn", depth = 10 }
kernel_sizes = [3, 5]
dilations = [1, 2]
epochs = 1
batch_size = 2
learning_rate = 0.01
pull = { kind = "kernel-size" }

[tune]
epochs = 1
batch_size = 2
learning_rates = [0.01]
dropouts = [0.0]
weight_decays = [5e-4]
momenta = [0.9]

[retrain]
backbone = { kind = "wrn", depth = 10 }
epochs = 4
batch_size = 2
"#;

#[test]
fn proteins_of_differing_length_go_from_an_archive_to_a_report() {
    let bench = bench();
    bench.write("hairpins.toml", HAIRPINS.as_bytes());
    bench.write("raw/protein.zip", include_bytes!("fixtures/protein.zip"));
    bench.run(&["run", "hairpins.toml", "--threads", "1"]).well();
    let rows = bench.json("reports/hairpins/results.json");
    let metrics: Vec<&str> = rows.as_array().unwrap().iter().map(|r| r["metric"].as_str().unwrap()).collect();
    assert_eq!(metrics, ["mae8", "mae8 (mean over batches of 2)"]);
    let error = rows[0]["value"].as_f64().unwrap();
    assert!(error > 0.0 && error < 20.0, "{error} angstrom");
    let page = std::fs::read_to_string(bench.path("reports/hairpins/index.html")).unwrap();
    assert!(page.contains("24 or more apart in the sequence"));
    let shown =
        bench.run(&["data", "inspect", "hairpins.toml", "--samples", "out/some.svg", "--count", "2"]).well();
    assert!(shown.stdout.contains("input: shape [21, 35, 35] (the longest), float32"), "{shown:?}");
    let svg = String::from_utf8(bench.files("out")["some.svg"].clone()).unwrap();
    assert_eq!(svg.matches("<image").count(), 2 * (4 + 1));
    bench.run(&["data", "verify", "hairpins.toml"]).well();

    // The same bytes on any number of threads, and however many proteins are evaluated together.
    let models = || bench.files("runs/hairpins/0/retrain")["model.safetensors"].clone();
    let first = models();
    bench
        .run(&[
            "run",
            "hairpins.toml",
            "--runs-dir",
            "other",
            "--reports-dir",
            "other-reports",
            "--threads",
            "3",
        ])
        .well();
    assert_eq!(bench.files("other/hairpins/0/retrain")["model.safetensors"], first);
    // The search evaluates nothing: another window of evaluation leaves it.
    let again = bench.run(&["run", "hairpins.toml", "--set", "task.window.evaluation=30"]).well();
    assert_eq!(stages(&again, "started"), ["hairpins/0 tune", "hairpins/0 retrain", "hairpins report"]);

    let unfit = bench.run(&["run", "hairpins.toml", "--set", "task.metric={ kind = 'auroc' }"]);
    unfit.failed(3, &["task.metric: auroc does not fit: psicov predicts a field; use relative-l2 or mae8"]);
    bench.write("raw/protein.zip", &include_bytes!("fixtures/protein.zip")[..9000]);
    bench.run(&["run", "hairpins.toml"]).failed(4, &["protein.zip", "hint: "]);
}

#[test]
fn the_committed_pipelines_state_the_published_protocol() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let mut loaded = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        if dash_core::load::kind(&name, &text).unwrap() == dash_core::load::FileKind::Sweep {
            continue;
        }
        assert!(text.starts_with("#:schema ../schemas/pipeline.json\n"), "{name}");
        let load = |profile: Option<&str>| {
            dash_core::load::pipeline(&name, &text, profile, &[]).unwrap_or_else(|e| panic!("{e}"))
        };
        let profiles = text.lines().filter_map(|line| line.strip_prefix("[profiles.")?.strip_suffix(']'));
        for profile in profiles {
            load(Some(profile));
        }
        let pipeline = load(None);
        assert_eq!(pipeline.name, name);
        loaded.insert(name, serde_json::to_value(pipeline).unwrap());
    }
    // As the authors' released code sets them; a task's own values replace shared ones.
    let shared = [
        ("/search/epochs", "100"),
        ("/search/fraction", "0.2"),
        ("/search/momentum", "0.9"),
        ("/search/weight_decay", "0.0005"),
        ("/search/clip_norm", "1.0"),
        ("/search/grad_scale", "100.0"),
        ("/search/dilations", "[1,3,7,15]"),
        ("/search/separable", "true"),
        ("/search/schedule/factor", "0.2"),
        ("/tune/epochs", "80"),
        ("/tune/fraction", "0.05"),
        ("/tune/learning_rates", "[0.1,0.01,0.001]"),
        ("/tune/dropouts", "[0.0,0.05]"),
        ("/tune/weight_decays", "[0.0005,5e-6]"),
        ("/tune/momenta", "[0.9,0.99]"),
        ("/retrain/epochs", "200"),
    ];
    let ecg = [
        ("/search/kernel_sizes", "[3,7,11,15,19]"),
        ("/search/learning_rate", "0.1"),
        ("/search/arch_learning_rate", "0.05"),
        ("/search/batch_size", "1024"),
        ("/tune/batch_size", "1024"),
        ("/retrain/batch_size", "1024"),
        ("/search/schedule/milestones", "[30,60,90,120,160]"),
        ("/retrain/schedule/milestones", "[30,60,90,120,160]"),
        ("/search/pull/kind", "\"extent\""),
        ("/search/backbone/causal", "false"),
        ("/retrain/backbone/causal", "true"),
    ];
    let darcy = [
        ("/search/kernel_sizes", "[3,5,7,9]"),
        ("/search/learning_rate", "0.01"),
        ("/search/arch_learning_rate", "0.005"),
        ("/search/batch_size", "10"),
        ("/tune/batch_size", "10"),
        ("/retrain/batch_size", "10"),
        ("/search/schedule/milestones", "[60,120,160]"),
        ("/retrain/schedule/milestones", "[60,120,160]"),
        ("/search/pull/kind", "\"kernel-size\""),
        ("/search/backbone/width", "1"),
        ("/retrain/backbone/width", "4"),
        ("/task/decode_target", "true"),
        ("/dataset/subsample", "5"),
        ("/dataset/train", "900"),
        ("/dataset/validation", "100"),
    ];
    let cosmic = [
        ("/search/kernel_sizes", "[3,5,7,9]"),
        ("/search/learning_rate", "0.01"),
        ("/search/arch_learning_rate", "0.005"),
        ("/search/grad_scale", "1000.0"),
        ("/search/batch_size", "4"),
        ("/tune/batch_size", "4"),
        ("/tune/fraction", "0.01"),
        ("/tune/learning_rates", "[0.01,0.001,0.0001]"),
        ("/tune/dropouts", "[0.0]"),
        ("/tune/weight_decays", "[0.00005]"),
        ("/tune/momenta", "[0.99]"),
        ("/retrain/batch_size", "4"),
        ("/search/schedule/milestones", "[60,120,160]"),
        ("/retrain/schedule/milestones", "[60,120,160]"),
        ("/search/pull/kind", "\"kernel-size\""),
        ("/search/backbone/width", "1"),
        ("/retrain/backbone/width", "4"),
        ("/task/augment", "[{\"kind\":\"background\",\"low\":-0.9,\"high\":3.0}]"),
        ("/dataset/crop", "128"),
        ("/dataset/validation", "420"),
    ];
    let psicov = [
        ("/search/kernel_sizes", "[3,5,7,9]"),
        ("/search/learning_rate", "0.01"),
        ("/search/arch_learning_rate", "0.005"),
        ("/search/batch_size", "8"),
        ("/tune/batch_size", "8"),
        ("/tune/learning_rates", "[0.01,0.001,0.0001]"),
        ("/tune/dropouts", "[0.0]"),
        ("/tune/weight_decays", "[0.00005]"),
        ("/tune/momenta", "[0.99]"),
        ("/retrain/batch_size", "8"),
        ("/search/schedule/milestones", "[60,120,160]"),
        ("/retrain/schedule/milestones", "[60,120,160]"),
        ("/search/pull/kind", "\"kernel-size\""),
        ("/search/backbone/width", "1"),
        ("/retrain/backbone/width", "4"),
        ("/task/window/training", "128"),
        ("/task/window/evaluation", "512"),
        ("/task/window/padding", "5"),
        ("/task/window/target_padding", "100.0"),
        ("/task/window/target_limit", "16.0"),
        ("/dataset/validation", "100"),
    ];
    let mnist = [
        ("/search/kernel_sizes", "[3,5,7,9]"),
        ("/search/dilations", "[1,3,7,15,31,63,127]"),
        ("/search/learning_rate", "0.1"),
        ("/search/arch_learning_rate", "0.05"),
        ("/search/batch_size", "256"),
        ("/tune/batch_size", "256"),
        ("/retrain/batch_size", "256"),
        ("/search/schedule/milestones", "[30,60,90,120,160]"),
        ("/search/pull/kind", "\"extent\""),
        ("/retrain/backbone/causal", "true"),
        ("/dataset/mean", "0.1307"),
        ("/dataset/deviation", "0.3081"),
    ];
    let mut permuted = mnist.to_vec();
    permuted.extend([("/dataset/permuted", "true"), ("/dataset/permutation_seed", "1111")]);
    let music = [
        ("/search/kernel_sizes", "[3,7,11,15,19]"),
        ("/search/learning_rate", "0.01"),
        ("/search/arch_learning_rate", "0.005"),
        ("/search/batch_size", "4"),
        ("/tune/batch_size", "4"),
        ("/retrain/batch_size", "4"),
        ("/search/pull/kind", "\"kernel-size\""),
        ("/retrain/backbone/causal", "true"),
    ];
    let nottingham = [&music[..], &[("/dataset/steps", "513")]].concat();
    let jsb = [&music[..], &[("/dataset/steps", "255"), ("/tune/fraction", "0.1")]].concat();
    let cifar10 = [
        ("/search/kernel_sizes", "[3,5,7,9]"),
        ("/search/grad_scale", "5000.0"),
        ("/search/batch_size", "64"),
        ("/tune/fraction", "0.01"),
        ("/retrain/backbone/width", "4"),
        ("/dataset/mean", "[0.4914,0.4822,0.4465]"),
        ("/dataset/deviation", "[0.2023,0.1994,0.201]"),
        ("/task/augment", "[{\"kind\":\"crop\",\"padding\":4},{\"kind\":\"flip\"}]"),
    ];
    for (name, own) in [
        ("ecg", &ecg[..]),
        ("darcy-flow", &darcy[..]),
        ("cosmic", &cosmic[..]),
        ("psicov", &psicov[..]),
        ("mnist", &mnist[..]),
        ("mnist-permuted", &permuted[..]),
        ("jsb", &jsb[..]),
        ("nottingham", &nottingham[..]),
        ("cifar10", &cifar10[..]),
    ] {
        let shared = shared.iter().filter(|(key, _)| !own.iter().any(|(other, _)| other == key));
        for (key, expected) in shared.chain(own) {
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(loaded[name].pointer(key), Some(&expected), "{name} {key}");
        }
    }
}
