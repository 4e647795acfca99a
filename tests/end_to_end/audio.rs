//! Audio from recordings to a report.

use super::bench;
use dash_tests::pipeline;

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
    // Spectrograms of 8 bands and 18 frames, and the column of zeros.
    let text = pipeline("sounds")
        .dash_only()
        .dataset("fsd50k")
        .set("dataset.sample_rate", 1000)
        .set("dataset.chunk", 170)
        .set("dataset.fft", 64)
        .set("dataset.window", 40)
        .set("dataset.hop", 10)
        .set("dataset.bands", 8)
        .set("task.loss", "{ kind = \"binary-cross-entropy\", positive_weight = 2 }")
        .set("task.metric", "{ kind = \"average-precision\" }")
        .set("task.batch_average", 3)
        .set("task.augment", "[{ kind = \"spec-augment\" }, { kind = \"noise\", mask = {} }]")
        .set("search.kernel_sizes", "[3, 5]")
        .set("tune.learning_rates", "[0.05]")
        .smallest();
    bench.write("sounds.toml", text.to_string().as_bytes());
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
    // The chunk of a clip and its augmentation depend neither on threads nor on batches.
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
