//! `dash-nas data`, and custom data from a file to a report.

use super::{bench, tiny};
use dash_tests::Bench;
use serde_json::Value;

fn json(bench: &Bench, arguments: &[&str]) -> Value {
    let ran = bench.run(&[arguments, &["--format", "json"]].concat()).well();
    serde_json::from_str(&ran.stdout).unwrap()
}

fn put_pipeline(bench: &Bench, name: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    bench.write(name, &std::fs::read(folder.join(name)).unwrap());
}

#[test]
fn the_example_of_custom_data_runs_from_file_to_report() {
    let bench = bench();
    put_pipeline(&bench, "quickstart.toml");
    put_pipeline(&bench, "your-own-data.toml");
    bench.run(&["data", "inspect", "your-own-data.toml"]).failed(
        4,
        &[
            "there is no dataset of your-own-data.toml yet",
            "hint: make it: dash-nas data ingest your-own-data.toml",
        ],
    );
    bench
        .run(&["data", "ingest", "your-own-data.toml"])
        .failed(4, &["runs/quickstart/dataset: there is no such folder"]);
    let small = ["dataset.simulate.grid=17", "dataset.train=30", "dataset.validation=4", "dataset.test=4"];
    let sets: Vec<&str> = small.iter().flat_map(|set| ["--set", set]).collect();
    bench.run(&[&["data", "ingest", "quickstart.toml"], &sets[..]].concat()).well();
    let quick = ["--profile", "smoke", "--set", "search.backbone={ kind = \"wrn\", depth = 10 }"];
    let quick =
        [&quick[..], &["--set", "retrain.backbone.depth=10", "--set", "search.dilations=[1, 3]"]].concat();
    bench.run(&[&["run", "your-own-data.toml"], &quick[..]].concat()).well();
    let rows = bench.json("reports/your-own-data@smoke/results.json");
    assert!(rows.as_array().unwrap().iter().all(|row| row["value"].as_f64().unwrap() > 0.0));
    assert_eq!(rows[0]["task"], "parquet");

    // The rows are those of the file.
    let own = json(&bench, &["data", "inspect", "your-own-data.toml", "--profile", "smoke"]);
    let made = json(&bench, &["data", "inspect", "runs/quickstart/dataset/dataset.json"]);
    assert_eq!(own["splits"], made["splits"]);
    assert_eq!((&own["recipe"], &own["input"]["shape"]), (&"parquet".into(), &serde_json::json!([3, 9, 9])));
    assert_eq!(own["sources"].as_array().unwrap().len(), 3);
    bench.run(&["data", "verify", "your-own-data.toml", "--profile", "smoke"]).well();
    bench.write("runs/quickstart/dataset/test.parquet", b"rotten");
    bench
        .run(&["data", "verify", "your-own-data.toml", "--profile", "smoke"])
        .failed(4, &["runs/quickstart/dataset/test.parquet: has 6 bytes"]);
    bench.run(&["data", "verify", "runs/your-own-data@smoke"]).well();
}

/// A pickle with recordings of 60 samples: slow waves and fast ones.
fn recordings() -> Vec<u8> {
    let mut out = b"\x80\x02}(X\x04\0\0\0data](".to_vec();
    for record in 0..60u32 {
        out.extend(b"](");
        for sample in 0..60 {
            let period = if record % 2 == 0 { 20 } else { 5 };
            // At most 10 * 19 + 6: a byte.
            out.extend([b'K', (10 * ((sample + 7 * record) % period) + record % 7) as u8]);
        }
        out.push(b'e');
    }
    out.extend(b"eX\x05\0\0\0label](");
    for record in 0..60 {
        out.extend([b'X', 1, 0, 0, 0, if record % 2 == 0 { b'N' } else { b'A' }]);
    }
    out.extend(b"eu.");
    out
}

const RECORDINGS: &str = r#"name = "waves"
dataset = { recipe = "ecg", raw = "raw", window = 30, steps = { N = 7, A = 7, O = 1, "~" = 1 } }
task = { loss = { kind = "cross-entropy" }, metric = { kind = "zero-one-error" } }
"#;

#[test]
fn custom_signals_with_classes_are_learned() {
    let bench = bench();
    bench.write("waves.toml", RECORDINGS.as_bytes());
    bench.write("raw/challenge2017.pkl", &recordings());
    bench.run(&["data", "ingest", "waves.toml"]).well();
    bench.write(
        "own.toml",
        br#"name = "own"
methods = ["backbone"]
dataset = { recipe = "parquet", raw = "runs/waves/dataset", file = "train.parquet", target_kind = "class" }
task = { loss = { kind = "cross-entropy" }, metric = { kind = "zero-one-error" } }
tune = { epochs = 1, batch_size = 8, learning_rates = [0.1], dropouts = [0.0], weight_decays = [5e-4], momenta = [0.9] }
retrain = { epochs = 8, batch_size = 8 }
"#,
    );
    bench.run(&["run", "own.toml"]).well();
    let card = bench.json("runs/own/dataset/dataset.json");
    assert_eq!(card["target"]["labels"], serde_json::json!(["0", "1"]));
    let rows = bench.json("reports/own/results.json");
    let test = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["metric"] == "zero-one-error" && row["split"] == "test");
    let error = test.unwrap()["value"].as_f64().unwrap();
    assert!(error < 10.0, "{error} percent of two plain classes are wrong");

    let shown =
        bench.run(&["data", "inspect", "own.toml", "--samples", "out/own.svg", "--count", "3"]).well().stdout;
    for text in [
        "input: shape [1, 30], float32; target: one of 2 classes, int64",
        "validation",
        "samples: out/own.svg",
    ] {
        assert!(shown.contains(text), "{shown}");
    }
    let svg = String::from_utf8(bench.files("out")["own.svg"].clone()).unwrap();
    assert_eq!(svg.matches("<path").count(), 3);
    assert!(svg.contains("train row 0: "));
    bench.run(&["data", "inspect", "own.toml", "--samples", "out/own.PNG", "--count", "2"]).well();
    let png = bench.files("out")["own.PNG"].clone();
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.ends_with(b"IEND\xae\x42\x60\x82"));
    // A backbone that does not fit the data is an error of the pipeline file.
    bench
        .run(&["run", "own.toml", "--set", "retrain.backbone={ kind = \"wrn\" }"])
        .failed(3, &["wrn", "hint: "]);
}

#[test]
fn datasets_are_described_and_checked() {
    let bench = tiny();
    bench.run(&["data", "ingest", "tiny.toml"]).well();
    let shown = json(&bench, &["data", "inspect", "tiny.toml", "--bins", "4", "--samples", "samples.svg"]);
    let splits = shown["splits"].as_array().unwrap();
    let rows: Vec<u64> = splits.iter().map(|split| split["rows"].as_u64().unwrap()).collect();
    assert_eq!(rows, [32, 4, 4]);
    let input = &splits[0]["tensors"][0];
    assert_eq!((&input["column"], &input["shape"]), (&"input".into(), &serde_json::json!([3, 9, 9])));
    // The coordinates of the grid run from 0 to 1.
    assert_eq!((&input["channels"][1]["min"], &input["channels"][1]["max"]), (&0.0.into(), &1.0.into()));
    let counts = input["histogram"]["counts"].as_array().unwrap();
    assert_eq!(counts.len(), 4);
    assert_eq!(counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 32 * 3 * 81);
    assert_eq!(splits[0]["tensors"][1]["column"], "target");
    let svg = String::from_utf8(std::fs::read(bench.path("samples.svg")).unwrap()).unwrap();
    assert_eq!(svg.matches("<image").count(), 6 * 4);
    let text = bench.run(&["data", "inspect", "runs/tiny", "--split", "test"]).well().stdout;
    assert!(text.contains("target: a field of shape [1, 9, 9], float32"), "{text}");
    assert!(text.contains("test") && !text.contains("validation"), "{text}");

    let checked = bench.run(&["data", "verify", "tiny.toml"]).well().stdout;
    // The dataset card, the tables, and their caches, which `inspect` has made.
    assert_eq!(checked.matches(": intact\n").count(), 7, "{checked}");
    let whole = std::fs::read(bench.path("runs/tiny/dataset/val.parquet")).unwrap();
    let mut bad = whole.clone();
    bad[60] ^= 1;
    bench.write("runs/tiny/dataset/val.parquet", &bad);
    let failed = bench.run(&["data", "verify", "runs/tiny/dataset"]);
    failed.failed(4, &["runs/tiny/dataset/val.parquet: sha256 is ", "hint: "]);
    assert!(failed.stdout.contains("runs/tiny/dataset/val.parquet: damaged\n"), "{failed:?}");
    bench.write("runs/tiny/dataset/val.parquet", &whole);
    let card =
        String::from_utf8(std::fs::read(bench.path("runs/tiny/dataset/dataset.json")).unwrap()).unwrap();
    bench.write("runs/tiny/dataset/dataset.json", card.replace("built-in", "other").as_bytes());
    bench.run(&["data", "verify", "tiny.toml"]).failed(4, &["dataset.json: sha256 is "]);
    bench.run(&["data", "verify", "runs"]).failed(4, &["runs/dataset.json", "hint: "]);
    bench.run(&["data", "inspect", "none.toml"]).failed(3, &["cannot read the pipeline file none.toml"]);
}

#[test]
fn raw_files_are_listed_with_their_licences() {
    let bench = bench();
    bench.write("data/raw/ecg/challenge2017.pkl", &[0; 1500]);
    bench.write("elsewhere/cifar100/cifar-100-python/train", b"");
    let text = bench.run(&["data", "list"]).well().stdout;
    for word in ["challenge2017.pkl", "1.5 kB", "150 MB", "Open Data", "https://nb360.ml.cmu.edu", "deepsea"]
    {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
    let listed = json(&bench, &["data", "list", "--raw", "elsewhere"]);
    let tasks = listed["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 13);
    let task = |recipe: &str| tasks.iter().find(|task| task["recipe"] == recipe).unwrap();
    assert_eq!(task("ecg")["readable"], true);
    assert_eq!(task("ecg")["files"][0]["present"], Value::Null);
    assert_eq!(task("cifar100")["files"][0]["present"]["path"], "elsewhere/cifar100/cifar-100-python/");
}

#[test]
fn files_that_are_here_are_fetched_into_the_raw_folder() {
    let bench = bench();
    bench.write("downloads/x/challenge2017.pkl", &[7; 1500]);
    let fetch = ["data", "fetch", "ecg", "--from", "downloads"];
    let first = bench.run(&fetch).well().stdout;
    assert!(first.contains("data/raw/ecg/challenge2017.pkl: copied, 1.5 kB, hash recorded\n"), "{first}");
    assert!(first.contains("licence: Open Data Commons"), "{first}");
    let again = json(&bench, &fetch);
    assert_eq!((&again["files"][0]["copied"], &again["files"][0]["first"]), (&false.into(), &false.into()));
    bench.write("data/raw/ecg/challenge2017.pkl", &[8; 1500]);
    bench.run(&fetch).failed(4, &["data/raw/ecg/challenge2017.pkl: sha256 is ", "hint: "]);
    bench
        .run(&["data", "fetch", "satellite", "--from", "downloads"])
        .failed(4, &["there is no satellite_train.npy"]);
    bench.run(&["data", "fetch", "moon", "--from", "downloads"]).failed(2, &["satellite"]);
}

/// A local server that answers every request with the same file.
fn serve(body: &'static [u8]) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/file", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = vec![];
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())
                .unwrap();
            stream.write_all(body).unwrap();
        }
    });
    address
}

/// Sizes in the catalogue of the two files of the task `music`. The catalogue has no addresses of them, so that no test
/// connects to another host.
const MUSIC: [(&str, usize); 2] = [("JSB_Chorales.mat", 96_000), ("Nottingham.mat", 372_000)];

/// Servers for both files, filled with `byte`.
fn music(byte: u8) -> [String; 2] {
    MUSIC.map(|(_, length)| serve(vec![byte; length].leak()))
}

/// Writes the addresses of both files.
fn mirrors(bench: &Bench, addresses: &[[String; 2]]) {
    let line = |number: usize| {
        let of_one: Vec<&String> = addresses.iter().map(|pair| &pair[number]).collect();
        format!("{:?} = {of_one:?}\n", MUSIC[number].0)
    };
    bench.write("mirrors.toml", (line(0) + &line(1)).as_bytes());
}

#[test]
fn files_that_a_server_has_are_fetched_into_the_raw_folder() {
    let bench = bench();
    bench.run(&["data", "fetch", "ecg"]).failed(
        4,
        &["no address is known of challenge2017.pkl", "https://nb360.ml.cmu.edu", "--from", "--mirrors"],
    );
    let good = music(7);
    mirrors(&bench, std::slice::from_ref(&good));
    let fetch = ["data", "fetch", "music", "--mirrors", "mirrors.toml"];
    let ran = bench.run(&fetch).well();
    let line = format!("data/raw/music/Nottingham.mat: fetched from {}, 372 kB, hash recorded\n", good[1]);
    assert!(ran.stdout.contains(&line), "{}", ran.stdout);
    assert!(ran.stderr.contains("Nottingham.mat: 372 kB of 372 kB"), "{}", ran.stderr);
    let again = json(&bench, &fetch);
    assert_eq!((&again["files"][0]["address"], &again["files"][0]["first"]), (&Value::Null, &false.into()));
    // A file with another hash than the recorded one is refused, and the next address is tried.
    let other = music(8);
    mirrors(&bench, std::slice::from_ref(&other));
    bench.write("other/music/sha256.json", &bench.files("data/raw/music")["sha256.json"]);
    let elsewhere = [&fetch[..], &["--raw", "other"][..]].concat();
    bench
        .run(&elsewhere)
        .failed(4, &["other/music/JSB_Chorales.mat: sha256 is ", "hint: fetch the file again"]);
    mirrors(&bench, &[other, good]);
    bench.run(&elsewhere).well();
    bench.run(&[&fetch[..], &["--from", "x"][..]].concat()).failed(2, &["--from"]);
    bench.write("mirrors.toml", b"\"moon.pkl\" = []");
    bench.run(&fetch).failed(3, &["mirrors.toml", "no task has a raw file called `moon.pkl`"]);
}

#[test]
fn what_a_server_sends_must_have_the_size_of_the_catalogue() {
    let bench = bench();
    let address = serve(&[7; 1500]);
    bench.write("mirrors.toml", format!("\"challenge2017.pkl\" = [\"{address}\"]\n").as_bytes());
    bench.run(&["data", "fetch", "ecg", "--mirrors", "mirrors.toml"]).failed(
        4,
        &["cannot be fetched", "has 1500 bytes, the catalogue knows of 140625000 to 168750000", "hint: "],
    );
    let left = bench.files("data/raw/ecg");
    assert!(!left.contains_key("challenge2017.pkl") && !left.contains_key("sha256.json"), "{left:?}");
}

#[test]
fn a_damaged_cache_is_named_and_changes_no_result() {
    let bench = tiny();
    let run = ["run", "tiny.toml"];
    bench.run(&run).well();
    let model = bench.files("runs/tiny/0/retrain")["model.safetensors"].clone();
    let caches = bench.files("runs/tiny/dataset/cache");
    assert_eq!(caches.len(), 3, "{:?}", caches.keys());
    let text = bench.run(&["data", "verify", "tiny.toml"]).well().stdout;
    assert_eq!(text.matches(": intact\n").count(), 7, "{text}");
    // Values that are changed in place, and a truncated file.
    for (number, (name, bytes)) in caches.iter().enumerate() {
        let mut bad = bytes.clone();
        let at = bad.len() / 2;
        match number {
            0 => bad.truncate(at),
            1 => bad[at..at + 400].reverse(),
            _ => bad[at / 4 * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes()),
        }
        bench.write(&format!("runs/tiny/dataset/cache/{name}"), &bad);
    }
    let failed = bench.run(&["data", "verify", "tiny.toml"]);
    failed.failed(4, &["cache/train-", "cache/test-", "cache/validation-"]);
    dash_store::remove(&bench.path("runs/tiny/0/retrain")).unwrap();
    bench.run(&run).well();
    assert_eq!(bench.files("runs/tiny/0/retrain")["model.safetensors"], model);
    assert_eq!(bench.files("runs/tiny/dataset/cache"), caches);
    bench.run(&["data", "verify", "tiny.toml"]).well();
}
