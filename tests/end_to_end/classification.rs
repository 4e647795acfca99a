//! Classification from raw files to a report: images, signals, sets of labels.

use super::{bench, npy, stages};
use dash_tests::{PipelineText, Ran, pipeline};

/// Runs a pipeline over recordings with `data` instead of the benchmark's file.
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
    let text = pipeline("emg")
        .dataset("ninapro")
        .set("task.loss", "{ kind = \"focal\", gamma = 0.0 }")
        .set("task.metric", "{ kind = \"zero-one-error\" }")
        .set("task.augment", "[{ kind = \"crop\", padding = 1 }]")
        .set("search.kernel_sizes", "[3, 5]")
        .set("search.dilations", "[1]")
        .set("search.batch_size", 8)
        .set("tune.learning_rates", "[0.01]")
        .set("retrain.epochs", 2)
        .set("retrain.batch_size", 8)
        .smallest();
    bench.write("emg.toml", text.to_string().as_bytes());
    bench.run(&["run", "emg.toml", "--threads", "1", "--runs-dir", "a"]).well();
    let rows = bench.json("reports/emg/results.json");
    assert!((0.0..=100.0).contains(&rows[0]["value"].as_f64().unwrap()), "{rows}");
    let card = bench.json("a/emg/dataset/dataset.json");
    assert_eq!(card["input"]["shape"], serde_json::json!([1, 4, 8]));
    // The augmentation of a sample depends neither on threads nor on batches.
    bench.run(&["run", "emg.toml", "--threads", "3", "--runs-dir", "b"]).well();
    let model = "emg/0/retrain/model.safetensors";
    assert!(bench.files("a")[model] == bench.files("b")[model]);
    let without = ["run", "emg.toml", "--runs-dir", "a", "--dry-run", "--set", "task.augment=[]"];
    assert!(bench.run(&without).well().stdout.contains("task.augment removed"));

    bench.write("raw/label_val.npy", &npy("<i8", "(6,)", vec![0; 40]));
    let damaged = ["run", "emg.toml", "--runs-dir", "c"];
    bench.run(&damaged).failed(4, &["raw/label_val.npy: ", "takes 48 bytes, 40 follow its header", "hint: "]);
}

/// A pipeline over multi-hot labels. The archive is made by `tests/fixtures/motifs.py`.
pub(super) fn motifs() -> PipelineText {
    pipeline("motifs")
        .dataset("deepsea")
        .set("dataset.file", "\"motifs.npz\"")
        .set("dataset.labels", "[\"GATA\", \"TTT\"]")
        .set("task.loss", "{ kind = \"binary-cross-entropy\", positive_weight = 2 }")
        .set("task.metric", "{ kind = \"auroc\" }")
        .set("task.batch_average", 8)
        .batch_size(16)
        .set("search.backbone", "{ kind = \"resnet1d\" }")
        .set("search.kernel_sizes", "[3, 5]")
        .set("tune.learning_rates", "[0.05]")
        .set("retrain.backbone", "{ kind = \"resnet1d\" }")
        .set("retrain.epochs", 6)
        .smallest()
}

#[test]
fn sets_of_labels_go_from_an_archive_to_a_report() {
    let bench = bench();
    bench.write("motifs.toml", motifs().to_string().as_bytes());
    bench.write("raw/motifs.npz", include_bytes!("../fixtures/motifs.npz"));
    bench.run(&["run", "motifs.toml"]).well();
    let card = bench.json("runs/motifs/dataset/dataset.json");
    assert_eq!(card["input"]["shape"], serde_json::json!([4, 32]));
    assert_eq!(card["target"]["labels"], serde_json::json!(["GATA", "TTT"]));
    assert_eq!(card["splits"]["train"]["rows"], 96);
    // The script printed these counts.
    assert_eq!(card["splits"]["test"]["class_counts"], serde_json::json!([18, 13]));
    let rows = bench.json("reports/motifs/results.json");
    let metrics: Vec<&str> = rows.as_array().unwrap().iter().map(|r| r["metric"].as_str().unwrap()).collect();
    assert_eq!(metrics, ["1-auroc", "1-auroc (mean over batches of 8)"]);
    for row in rows.as_array().unwrap() {
        assert_eq!((&row["lower_is_better"], &row["split"]), (&true.into(), &"test".into()));
        assert!((0.0..=1.0).contains(&row["value"].as_f64().unwrap()));
    }
    let page = std::fs::read_to_string(bench.path("reports/motifs/index.html")).unwrap();
    for words in ["1 − AUROC", "averaged over the batches"] {
        assert!(page.contains(words), "{words}");
    }
    // Another batch size of the average repeats the retraining and nothing else.
    let again = bench.run(&["run", "motifs.toml", "--set", "task.batch_average=10"]).well();
    assert_eq!(stages(&again, "started"), ["motifs/0 retrain", "motifs report"]);

    let unfit = bench.run(&["run", "motifs.toml", "--set", "task.metric={ kind = 'macro-f1' }"]);
    unfit.failed(3, &["task.metric: macro-f1 does not fit: deepsea predicts labels; use auroc or"]);
    bench.write("raw/motifs.npz", &include_bytes!("../fixtures/motifs.npz")[..900]);
    bench.run(&["run", "motifs.toml"]).failed(4, &["motifs.npz", "hint: "]);
    assert_eq!(bench.json("runs/motifs/dataset/dataset.json"), card);
}
