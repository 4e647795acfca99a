//! Point tasks from raw files to a report.

use super::{bench, npy, stages};
use dash_tests::Ran;

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
    // Locks, remembered hashes and the reason of the failure are hidden files.
    let hidden = |name: &String| name.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
    let left: Vec<String> = bench.files("runs").into_keys().filter(|name| !hidden(name)).collect();
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
    assert_eq!(metrics, ["1-map", "1-map (mean over batches of 3)"]);
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
pub(super) const MOTIFS: &str = r#"name = "motifs"
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
    bench.write("raw/motifs.npz", include_bytes!("../fixtures/motifs.npz"));
    bench.run(&["run", "motifs.toml"]).well();
    let card = bench.json("runs/motifs/dataset/dataset.json");
    assert_eq!(card["input"]["shape"], serde_json::json!([4, 32]));
    assert_eq!(card["target"]["labels"], serde_json::json!(["GATA", "TTT"]));
    assert_eq!(card["splits"]["train"]["rows"], 96);
    // As the script printed.
    assert_eq!(card["splits"]["test"]["class_counts"], serde_json::json!([18, 13]));
    let rows = bench.json("reports/motifs/results.json");
    let metrics: Vec<&str> = rows.as_array().unwrap().iter().map(|r| r["metric"].as_str().unwrap()).collect();
    assert_eq!(metrics, ["1-auroc", "1-auroc (mean over batches of 8)"]);
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
    bench.write("raw/motifs.npz", &include_bytes!("../fixtures/motifs.npz")[..900]);
    bench.run(&["run", "motifs.toml"]).failed(4, &["motifs.npz", "hint: "]);
    assert_eq!(bench.json("runs/motifs/dataset/dataset.json"), card);
}
