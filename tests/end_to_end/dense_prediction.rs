//! Dense prediction from raw files to a report: masks, piano rolls, maps of proteins.

use super::{bench, npy, stages};
use dash_tests::{Bench, pipeline};

/// A `.npy` file of 32-bit floats.
fn npy_f32(shape: &[usize], values: &[f32]) -> Vec<u8> {
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
        bench.write(&name, &npy_f32(&[3, 16, 16], &[image, mask, ignore].concat()));
        bench.write(&format!("raw/npy_{part}/f435w/10760/2/sky.npy"), &npy_f32(&[10], &[50.0; 10]));
    }
    let text = pipeline("cosmic")
        .dash_only()
        .dataset("cosmic")
        .set("dataset.validation", 2)
        .task("masked-binary-cross-entropy", "false-negative-rate")
        .set("task.batch_average", 1)
        .set("task.augment", r#"[{ kind = "background", low = -0.9, high = 3.0 }]"#)
        .batch_size(3)
        .set("search.epochs", 2)
        .set("search.fraction", 1.0)
        .set("search.learning_rate", 0.05)
        .set("tune.fraction", 1.0)
        .set("retrain.epochs", 10)
        .smallest();
    bench.write("cosmic.toml", text.to_string().as_bytes());
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
    // Another range of the background changes the training but not the dataset.
    let change = "task.augment=[{ kind = 'background', low = -0.5, high = 3.0 }]";
    let again = bench.run(&["run", "cosmic.toml", "--set", change, "--dry-run"]).well();
    let text = format!("{}{}", again.stdout, again.stderr);
    assert!(text.contains("augment"), "{text}");
    bench.write("raw/npy_train/f435w/10760/2/1_1.npy", b"x");
    bench.run(&["run", "cosmic.toml"]).failed(4, &["1_1.npy", "file ends early"]);
}

/// A MAT-file with cell arrays of piano rolls of three notes: a rising melody that repeats.
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
    let text = pipeline("songs")
        .dash_only()
        .dataset("music")
        .set("dataset.file", "\"songs.mat\"")
        .set("dataset.steps", 12)
        .task("masked-binary-cross-entropy", "masked-binary-cross-entropy")
        .set("search.backbone", "{ kind = \"resnet1d\", channels = 4 }")
        .set("search.pull", "{ kind = \"kernel-size\" }")
        .set("tune.fraction", 1.0)
        .set("retrain.backbone", "{ kind = \"resnet1d\", channels = 8, causal = true }")
        .set("retrain.epochs", 20)
        .smallest();
    bench.write("songs.toml", text.to_string().as_bytes());
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

#[test]
fn proteins_of_variable_length_go_from_an_archive_to_a_report() {
    let bench = bench();
    // Hairpins made by `tests/fixtures/psicov.py`; the larger ones are cut to the training window.
    let text = pipeline("hairpins")
        .dataset("psicov")
        .task("mean-squared-error", "mae8")
        .set("task.batch_average", 2)
        .set("task.window", "{ training = 24, evaluation = 40 }")
        .batch_size(2)
        .set("search.kernel_sizes", "[3, 5]")
        .set("search.learning_rate", 0.01)
        .set("search.pull", "{ kind = \"kernel-size\" }")
        .set("tune.learning_rates", "[0.01]")
        .smallest();
    bench.write("hairpins.toml", text.to_string().as_bytes());
    bench.write("raw/protein.zip", include_bytes!("../fixtures/protein.zip"));
    bench.run(&["run", "hairpins.toml", "--threads", "1"]).well();
    let rows = bench.json("reports/hairpins/results.json");
    let metrics: Vec<&str> = rows.as_array().unwrap().iter().map(|r| r["metric"].as_str().unwrap()).collect();
    assert_eq!(metrics, ["mae8", "mae8 (mean over batches of 2)"]);
    let error = rows[0]["value"].as_f64().unwrap();
    assert!(error > 0.0 && error < 20.0, "{error} angstrom");
    let page = std::fs::read_to_string(bench.path("reports/hairpins/index.html")).unwrap();
    assert!(page.contains("at least 24 apart in the sequence"));
    let shown =
        bench.run(&["data", "inspect", "hairpins.toml", "--samples", "out/some.svg", "--count", "2"]).well();
    assert!(shown.stdout.contains("input: shape [21, 35, 35] (the longest), float32"), "{shown:?}");
    let svg = String::from_utf8(bench.files("out")["some.svg"].clone()).unwrap();
    assert_eq!(svg.matches("<image").count(), 2 * (4 + 1));
    bench.run(&["data", "verify", "hairpins.toml"]).well();

    // The bytes depend neither on the number of threads nor on how many proteins are evaluated together.
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
    // The search does not evaluate: another evaluation window does not affect it.
    let again = bench.run(&["run", "hairpins.toml", "--set", "task.window.evaluation=30"]).well();
    assert_eq!(stages(&again, "started"), ["hairpins/0 tune", "hairpins/0 retrain", "hairpins report"]);

    let unfit = bench.run(&["run", "hairpins.toml", "--set", "task.metric={ kind = 'auroc' }"]);
    unfit.failed(3, &["task.metric: auroc does not fit: psicov predicts a field; use relative-l2 or mae8"]);
    bench.write("raw/protein.zip", &include_bytes!("../fixtures/protein.zip")[..9000]);
    bench.run(&["run", "hairpins.toml"]).failed(4, &["protein.zip", "hint: "]);
}
