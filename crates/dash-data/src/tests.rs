//! Raw files -> dataset folder -> batches, and every bad input, through the public interface.

use crate::{BatchTarget, DatasetFolder, Error, ingest, sources};
use dash_core::{
    card::{DatasetCard, Split},
    error::{Classify, ErrorKind},
    event::{Event, Listener, Silent},
    pipeline::{Dataset, Protocol},
};
use dash_store::Staging;
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Mutex,
};

mod cache;
mod deepsea;
mod fsd50k;
mod inputs;
mod music;
mod points;
mod psicov;
mod suits;

/// A folder for one test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn raw(&self) -> PathBuf {
        self.0.path().join("raw")
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        dash_store::publish_file(&self.raw().join(name), bytes).unwrap();
    }

    fn target(&self) -> PathBuf {
        self.0.path().join("dataset")
    }

    fn ingest(&self, dataset: &Dataset, protocol: Protocol) -> Result<DatasetCard, Error> {
        let mut staging = Staging::begin(&self.target())?;
        let card = ingest(dataset, protocol, &mut staging, &Silent)?;
        staging.publish()?;
        Ok(card)
    }

    /// The error of an ingestion, which must be about data, and must leave nothing behind.
    fn refusal(&self, dataset: &Dataset) -> String {
        let error = self.ingest(dataset, Protocol::Strict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        assert!(error.hint().is_some());
        let left: Vec<PathBuf> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|path| *path != self.raw())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "something was left behind");
        error.to_string()
    }

    fn ecg(&self, more: serde_json::Value) -> Dataset {
        let mut value = serde_json::json!({"recipe": "ecg", "raw": self.raw()});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn darcy(&self, more: serde_json::Value) -> Dataset {
        let mut value = serde_json::json!({
            "recipe": "darcy-flow", "raw": self.raw(), "subsample": 2, "train": 4, "validation": 2, "test": 3
        });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }
}

// A small pickle writer: protocol 2 opcodes, plain lists.

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

/// {"data": [[float, ...], ...], "label": [str, ...]}
fn recordings(data: &[Vec<f64>], labels: &[&str]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec();
    text(&mut out, "data");
    out.extend(b"](");
    for recording in data {
        out.extend(b"](");
        for value in recording {
            out.push(b'G');
            out.extend(value.to_be_bytes());
        }
        out.push(b'e');
    }
    out.push(b'e');
    text(&mut out, "label");
    out.extend(b"](");
    for label in labels {
        text(&mut out, label);
    }
    out.extend(b"eu.");
    out
}

fn wave(length: usize, phase: usize) -> Vec<f64> {
    (0..length).map(|t| ((t * 7 + phase * 3) % 11) as f64 - 4.0).collect()
}

/// 20 recordings of 20 to 39 samples with labels in turn.
fn twenty() -> (Vec<Vec<f64>>, Vec<&'static str>) {
    let data = (0..20).map(|r| wave(20 + r, r)).collect();
    let labels = (0..20).map(|r| ["N", "A", "O", "~"][r % 4]).collect();
    (data, labels)
}

const SHORT: &str = r#"{"window": 10, "steps": {"N": 8, "A": 2, "O": 4, "~": 1}}"#;

fn short() -> serde_json::Value {
    serde_json::from_str(SHORT).unwrap()
}

/// A MATLAB file of level 4 with a row of 16-bit numbers.
fn mat4(name: &str, values: &[f64]) -> Vec<u8> {
    let header = [30, 1, values.len() as u32, 0, name.len() as u32 + 1];
    let mut out: Vec<u8> = header.iter().flat_map(|v| v.to_le_bytes()).collect();
    out.extend(name.as_bytes());
    out.push(0);
    out.extend(values.iter().flat_map(|&v| (v as i16).to_le_bytes()));
    out
}

#[test]
fn ecg_from_the_folder_of_the_challenge_is_the_dataset_of_the_pickle() {
    let (data, labels) = twenty();
    let pickled = Place::new();
    pickled.put("challenge2017.pkl", &recordings(&data, &labels));
    let expected = pickled.ingest(&pickled.ecg(short()), Protocol::Strict).unwrap();

    let place = Place::new();
    let names: Vec<String> = (0..20).map(|r| format!("A{:05}", 3 * r)).collect();
    for (name, values) in names.iter().zip(&data) {
        place.put(&format!("training2017/{name}.mat"), &mat4("val", values));
    }
    place.put("training2017/RECORDS", (names.join("\n") + "\n").as_bytes());
    // The order of the table does not matter, and the later version is preferred.
    let table: Vec<String> = names.iter().zip(&labels).rev().map(|(n, l)| format!("{n},{l}\r\n")).collect();
    place.put("training2017/REFERENCE-v3.csv", table.concat().as_bytes());
    place.put("training2017/REFERENCE.csv", b"not a table");
    let mut config = short();
    config["file"] = "training2017".into();
    let ecg = place.ecg(config);
    let card = place.ingest(&ecg, Protocol::Strict).unwrap();
    assert_eq!(card.splits, expected.splits);
    assert_eq!(card.sources.len(), 21);
    assert_eq!(sources(&ecg).unwrap().len(), 21);

    dash_store::remove(&place.target()).unwrap();
    let refused = |name: &str, bytes: &[u8], expected: &str| {
        let path = place.raw().join("training2017").join(name);
        let before = std::fs::read(&path).unwrap();
        place.put(&format!("training2017/{name}"), bytes);
        let problem = place.refusal(&ecg);
        assert!(problem.contains(expected), "{problem}");
        place.put(&format!("training2017/{name}"), &before);
    };
    refused("A00003.mat", &mat4("data", &data[1]), "A00003.mat");
    refused("A00003.mat", &mat4("val", &data[1])[..30], "A00003.mat");
    refused("A00003.mat", b"MATLAB 5.0", "A00003.mat");
    refused("RECORDS", b"A00000\n../A00003\n", "not the name of a recording");
    refused("RECORDS", b"A00000\nB1\n", "no label for this recording");
    refused("REFERENCE-v3.csv", b"A00000,N\nA00003", "`line 2`");
    refused("REFERENCE-v3.csv", b"A00000,N\nA00000,N\n", "listed twice");
    refused("REFERENCE-v3.csv", table.concat().replace(",O", ",Q").as_bytes(), "unknown label \"Q\"");
    dash_store::remove(&place.raw().join("training2017/A00003.mat")).unwrap();
    assert!(place.refusal(&ecg).contains("A00003.mat: there is no such file"));
}

#[test]
fn ecg_windows_are_cut_scaled_and_split_as_documented() {
    let place = Place::new();
    let (data, labels) = twenty();
    place.put("challenge2017.pkl", &recordings(&data, &labels));
    let dataset = place.ecg(short());
    assert_eq!(sources(&dataset).unwrap(), [place.raw().join("challenge2017.pkl")]);
    let card = place.ingest(&dataset, Protocol::Strict).unwrap();
    assert_eq!(card.input.shape, [1, 10]);
    assert_eq!(card.target.outputs(), 4);
    assert_eq!(card.sources[0].path, "challenge2017.pkl");

    let folder = DatasetFolder::open(&place.target()).unwrap();
    assert_eq!(folder.card(), &card);
    // numpy.random.RandomState(0).permutation(20) = 18 1 19 8 10 17 6 13 4 2 5 14 9 7 16 11 3 0 15 12;
    // ceil(0.2 * 20) = 4 are held out: 18 1 19 8; permutation(4) = 2 3 1 0: test = 19 8, validation = 1 18.
    let test = folder.split(Split::Test).unwrap();
    // Record 19 (39 samples, "~", step 1): 29 windows; record 8 (28 samples, "N", step 8): 0, 8, 16.
    assert_eq!(test.len(), 32);
    assert_eq!(card.splits[&Split::Test].class_counts, [3, 0, 0, 29]);
    // Record 1 (21 samples, "A", step 2): 6 windows; record 18 (38 samples, "O", step 4): 7.
    assert_eq!(card.splits[&Split::Validation].rows, 13);
    assert_eq!(folder.split(Split::Validation).unwrap().tuning_rows(), None);

    let batch = test.gather(&[31, 0]).unwrap();
    assert_eq!(batch.rows, 2);
    assert_eq!(batch.target, BatchTarget::Class(vec![0, 3]));
    let scaled = |record: usize, start: usize| -> Vec<f32> {
        let signal = &data[record];
        let mean = signal.iter().sum::<f64>() / signal.len() as f64;
        let power = signal.iter().map(|v| v * v).sum::<f64>() / signal.len() as f64;
        let deviation = (power - mean * mean).sqrt();
        signal[start..start + 10].iter().map(|v| ((v - mean) / deviation) as f32).collect()
    };
    for (row, expected) in batch.input.iter().zip([scaled(8, 16), scaled(19, 0)].concat()) {
        assert!((row - expected).abs() < 1e-5);
    }
}

#[test]
fn the_paper_protocol_marks_what_tuning_may_train_on() {
    let place = Place::new();
    let (data, labels) = twenty();
    place.put("challenge2017.pkl", &recordings(&data, &labels));
    let strict = Place::new();
    strict.put("challenge2017.pkl", &recordings(&data, &labels));
    let paper = place.ingest(&place.ecg(short()), Protocol::Paper).unwrap();
    let strict = strict.ingest(&strict.ecg(short()), Protocol::Strict).unwrap();
    let folder = DatasetFolder::open(&place.target()).unwrap();
    let train = folder.split(Split::Train).unwrap();
    let tuning = train.tuning_rows().unwrap();
    assert_eq!(tuning.len(), strict.splits[&Split::Train].rows);
    assert!(tuning.len() < train.len());
    assert!(tuning.is_sorted());
    assert_eq!(paper.splits[&Split::Validation].sha256, strict.splits[&Split::Validation].sha256);
    assert_eq!(folder.split(Split::Validation).unwrap().tuning_rows(), None);
    // ceil(0.1 * 20) = 2 are held out for the test: 18 and 1.
    assert_eq!(paper.splits[&Split::Test].class_counts, [0, 6, 7, 0]);
}

#[test]
fn the_same_raw_data_gives_the_same_bytes() {
    let bytes = || {
        let place = Place::new();
        let (data, labels) = twenty();
        place.put("challenge2017.pkl", &recordings(&data, &labels));
        place.ingest(&place.ecg(short()), Protocol::Paper).unwrap();
        ["train.parquet", "val.parquet", "test.parquet", "dataset.json"]
            .map(|name| std::fs::read(place.target().join(name)).unwrap())
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn bad_recordings_are_refused() {
    let place = Place::new();
    let ecg = place.ecg(short());
    assert!(place.refusal(&ecg).contains("no such folder"));
    place.put("notes.txt", b"x");
    assert!(
        place.refusal(&ecg).contains("challenge2017.pkl: there is no such file; the folder holds notes.txt")
    );

    let refusal = |bytes: &[u8]| {
        place.put("challenge2017.pkl", bytes);
        place.refusal(&ecg)
    };
    let (data, labels) = twenty();
    let whole = recordings(&data, &labels);
    assert!(refusal(&whole[..whole.len() / 2]).contains("ends early"));
    assert!(refusal(b"\x80\x03cposix\nsystem\nX\x02\0\0\0id\x85R.").contains("posix.system"));
    assert!(refusal(b"\x80\x03](K\x01e.").contains("a dict is expected"));
    assert!(refusal(b"\x80\x03}(X\x04\0\0\0data](eu.").contains("no field `label`; the file has `data`"));
    assert!(refusal(b"\x80\x03}(X\x05\0\0\0label](eu.").contains("no field `data`"));
    assert!(refusal(&recordings(&data, &labels[..19])).contains("19 labels for the 20 recordings"));

    let mut other = labels.clone();
    other[7] = "X";
    assert!(refusal(&recordings(&data, &other)).contains("field `label[7]`: unknown label \"X\""));
    for (value, words) in [(f64::NAN, "not a finite number"), (f64::INFINITY, "not a finite number")] {
        let mut wrong = data.clone();
        wrong[3][5] = value;
        let message = refusal(&recordings(&wrong, &labels));
        assert!(message.contains("data[3]") && message.contains("sample 5") && message.contains(words));
    }
    let mut constant = data.clone();
    constant[4] = vec![2.5; 30];
    assert!(refusal(&recordings(&constant, &labels)).contains("field `data[4]`"));
    let mut empty = data.clone();
    empty[4] = vec![];
    assert!(refusal(&recordings(&empty, &labels)).contains("empty or constant"));
    let tiny: Vec<Vec<f64>> = (0..20).map(|r| wave(10, r)).collect();
    assert!(refusal(&recordings(&tiny, &labels)).contains("longer than a window"));
    assert!(refusal(&recordings(&[], &[])).contains("longer than a window"));
}

#[test]
fn bad_settings_name_their_key() {
    let place = Place::new();
    let (data, labels) = twenty();
    place.put("challenge2017.pkl", &recordings(&data, &labels));
    let refusal = |dataset: Dataset| {
        let error = place.ingest(&dataset, Protocol::Strict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        error.to_string()
    };
    let ecg = |more| refusal(place.ecg(serde_json::from_str(more).unwrap()));
    assert!(ecg(r#"{"window": 0}"#).contains("`dataset.window`"));
    assert!(ecg(r#"{"steps": {"N": 1, "A": 1, "O": 1}}"#).contains("`dataset.steps.\"~\"`"));
    assert!(ecg(r#"{"steps": {"N": 1, "A": 0, "O": 1, "~": 1}}"#).contains("`dataset.steps.\"A\"`"));
    assert!(ecg(r#"{"steps": {"N": 1, "A": 1, "O": 1, "~": 1, "B": 1}}"#).contains("`dataset.steps.\"B\"`"));
    let darcy = |more| refusal(place.darcy(serde_json::from_str(more).unwrap()));
    assert!(darcy(r#"{"subsample": 0}"#).contains("`dataset.subsample`"));
    assert!(darcy(r#"{"train": 1}"#).contains("`dataset.train`"));
    assert!(darcy(r#"{"test": 0}"#).contains("`dataset.test`"));
    assert!(darcy(r#"{"simulate": {"grid": 9}}"#).contains("exactly one of"));
    assert!(darcy(r#"{"raw": null}"#).contains("exactly one of"));
}

// A small MATLAB writer: uncompressed little-endian doubles, sample index fastest.

fn mat(fields: &[(&str, &[u32], &[f64])]) -> Vec<u8> {
    let mut out = b"MATLAB 5.0 MAT-file, written by a test".to_vec();
    out.resize(124, b' ');
    out.extend([0, 1, b'I', b'M']);
    let word = |out: &mut Vec<u8>, value: usize| out.extend((value as u32).to_le_bytes());
    for (name, dimensions, values) in fields {
        let mut body = vec![];
        for value in [6, 8, 6, 0, 5, 4 * dimensions.len()] {
            word(&mut body, value);
        }
        dimensions.iter().for_each(|&d| word(&mut body, d as usize));
        body.resize(body.len().next_multiple_of(8), 0);
        word(&mut body, 1);
        word(&mut body, name.len());
        body.extend(name.as_bytes());
        body.resize(body.len().next_multiple_of(8), 0);
        word(&mut body, 9);
        word(&mut body, 8 * values.len());
        values.iter().for_each(|v| body.extend(v.to_le_bytes()));
        word(&mut out, 14);
        word(&mut out, body.len());
        out.extend(body);
    }
    out
}

/// Value of sample n at row i, column j; distinct everywhere.
fn value(n: usize, i: usize, j: usize) -> f64 {
    ((n * n + 1) * 100 + i * 10 + j) as f64
}

/// (samples, 5, 5) in the order of the file.
fn cube(samples: usize, scale: f64) -> Vec<f64> {
    (0..samples * 25).map(|k| scale * value(k % samples, k / samples % 5, k / samples / 5)).collect()
}

fn darcy_file(samples: usize) -> Vec<u8> {
    let shape = [samples as u32, 5, 5];
    mat(&[("coeff", &shape, &cube(samples, 1.0)), ("sol", &shape, &cube(samples, 0.25))])
}

// The files hold the value 100 sample + 10 row + column, and minus a quarter of it: see
// tests/fixtures/hdf5.py.
#[test]
fn darcy_files_of_matlab_7_3_are_those_of_level_5() {
    let field = |samples: usize, scale: f64| -> Vec<f64> {
        let value = |k: usize| 100 * (k % samples) + 10 * (k / samples % 5) + k / samples / 5;
        (0..samples * 25).map(|k| scale * value(k) as f64).collect()
    };
    let level5 = Place::new();
    let level7 = Place::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/hdf5");
    for (name, samples, fixture) in [
        ("piececonst_r5_N7_smooth1.mat", 7, "chunked.mat"),
        ("piececonst_r5_N3_smooth2.mat", 3, "contiguous.mat"),
    ] {
        let shape = [samples as u32, 5, 5];
        let fields = [field(samples, 1.0), field(samples, -0.25)];
        level5.put(name, &mat(&[("coeff", &shape, &fields[0]), ("sol", &shape, &fields[1])]));
        level7.put(name, &std::fs::read(fixtures.join(fixture)).unwrap());
    }
    let darcy = |place: &Place| place.darcy(serde_json::json!({}));
    let expected = level5.ingest(&darcy(&level5), Protocol::Strict).unwrap();
    let card = level7.ingest(&darcy(&level7), Protocol::Strict).unwrap();
    assert_eq!(card.splits, expected.splits);
    assert_eq!(card.target_scaling, expected.target_scaling);

    let refused = Place::new();
    for part in ["smooth1", "smooth2"] {
        let bytes = std::fs::read(fixtures.join("refused.mat")).unwrap();
        refused.put(&format!("piececonst_r5_N3_{part}.mat"), &bytes);
    }
    let few = refused.darcy(serde_json::json!({"train": 2, "validation": 1}));
    let message = refused.refusal(&few);
    assert!(message.contains("field `coeff[0, 0, 0]`: the value is not a finite number"), "{message}");
}

#[test]
fn darcy_files_are_thinned_encoded_and_laid_out_as_documented() {
    for protocol in [Protocol::Strict, Protocol::Paper] {
        let place = Place::new();
        place.put("data/piececonst_r5_N7_smooth1.mat", &darcy_file(7));
        place.put("data/piececonst_r5_N3_smooth2.mat", &darcy_file(3));
        let card = place.ingest(&place.darcy(serde_json::json!({})), protocol).unwrap();
        assert_eq!(card.input.shape, [3, 3, 3]);
        assert_eq!(card.sources[1].path, "data/piececonst_r5_N3_smooth2.mat");
        let fitted = if protocol == Protocol::Strict { 4 } else { 6 };
        let rows = Split::ALL.map(|split| card.splits[&split].rows);
        assert_eq!(rows, [fitted, 2, 3]);

        let folder = DatasetFolder::open(&place.target()).unwrap();
        let tuning = folder.split(Split::Train).unwrap().tuning_rows();
        match protocol {
            Protocol::Strict => assert_eq!(tuning, None),
            Protocol::Paper => assert_eq!(tuning, Some(&[0, 1, 2, 3][..])),
        }
        // Validation row 1 is sample 5 of the first file.
        let batch = folder.split(Split::Validation).unwrap().gather(&[1]).unwrap();
        let BatchTarget::Field(target) = batch.target else { panic!("a field is expected") };
        let statistics = |i, j| {
            let values: Vec<f64> = (0..fitted).map(|n| value(n, i, j)).collect();
            let mean = values.iter().sum::<f64>() / fitted as f64;
            let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            (mean, (square / (fitted - 1) as f64).sqrt())
        };
        let scaling = card.target_scaling.unwrap();
        for row in 0..3 {
            for column in 0..3 {
                let at = row * 3 + column;
                let (mean, deviation) = statistics(2 * row, 2 * column);
                let original = value(5, 2 * row, 2 * column);
                let encoded = (original - mean) / (deviation + 1e-5);
                assert!((f64::from(batch.input[at]) - encoded).abs() < 1e-5);
                assert_eq!(batch.input[9 + at], column as f32 / 2.0);
                assert_eq!(batch.input[18 + at], row as f32 / 2.0);
                let decoded = target[at] * scaling.scale[at] + scaling.mean[at];
                assert!((f64::from(decoded) - 0.25 * original).abs() < 1e-3);
            }
        }
    }
}

#[test]
fn bad_darcy_files_are_refused() {
    let place = Place::new();
    let darcy = place.darcy(serde_json::json!({}));
    assert!(place.refusal(&darcy).contains("no such folder"));
    place.put("piececonst_r5_N7_smooth1.mat", &darcy_file(7));
    assert!(place.refusal(&darcy).contains("piececonst_r421_N1024_smooth2.mat"));
    place.put("a/piececonst_r5_N3_smooth2.mat", &darcy_file(3));
    place.put("b/piececonst_r9_N3_smooth2.mat", &darcy_file(3));
    let message = place.refusal(&darcy);
    assert!(message.contains("several") && message.contains("b/piececonst_r9_N3_smooth2.mat"), "{message}");

    let named = place.darcy(serde_json::json!({"test_file": "a/piececonst_r5_N3_smooth2.mat"}));
    let refusal = |bytes: &[u8]| {
        place.put("a/piececonst_r5_N3_smooth2.mat", bytes);
        place.refusal(&named)
    };
    assert!(refusal(&darcy_file(3)[..500]).contains("ends early"));
    let message = refusal(&darcy_file(2));
    assert!(message.contains("3 samples are asked for (`dataset.test`), the file has 2"), "{message}");
    let whole = cube(3, 1.0);
    let message = refusal(&mat(&[("coeff", &[3, 5, 5], &whole), ("Kcoeff", &[3, 5, 5], &whole)]));
    assert!(message.contains("no field `sol`; the file has `coeff`, `Kcoeff`"), "{message}");
    assert!(refusal(&mat(&[("coeff", &[15, 5], &whole), ("sol", &[3, 5, 5], &whole)])).contains("[15, 5]"));
    assert!(
        refusal(&mat(&[("coeff", &[5, 3, 5], &whole), ("sol", &[3, 5, 5], &whole)])).contains("[5, 3, 5]")
    );
    let four = cube(4, 1.0);
    assert!(
        refusal(&mat(&[("coeff", &[3, 5, 5], &whole), ("sol", &[4, 5, 5], &four)])).contains("[4, 5, 5]")
    );
    let mut infinite = whole.clone();
    infinite[3 * (2 + 5 * 4) + 1] = f64::INFINITY;
    let message = refusal(&mat(&[("coeff", &[3, 5, 5], &whole), ("sol", &[3, 5, 5], &infinite)]));
    assert!(message.contains("field `sol[1, 2, 4]`: the value is not a finite number"), "{message}");
    let nine: Vec<f64> = (0..3 * 81).map(f64::from).collect();
    let finer = mat(&[("coeff", &[3, 9, 9], &nine), ("sol", &[3, 9, 9], &nine)]);
    place.put("a/piececonst_r5_N3_smooth2.mat", &finer);
    let error = place.ingest(&named, Protocol::Strict).unwrap_err().to_string();
    assert!(error.contains("the test grid has 5 points per axis, the training grid 3"), "{error}");
}

/// Keeps what it is told.
#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Listener for Recorder {
    fn on(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

fn simulated() -> Dataset {
    serde_json::from_str(
        r#"{"recipe": "darcy-flow", "simulate": {"grid": 17}, "subsample": 2,
            "train": 6, "validation": 2, "test": 2}"#,
    )
    .unwrap()
}

#[test]
fn simulation_reports_progress_and_is_reproducible() {
    let hashes = |threads| {
        let place = Place::new();
        let recorder = Recorder::default();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let card = pool.install(|| {
            let mut staging = Staging::begin(&place.target()).unwrap();
            let card = ingest(&simulated(), Protocol::Strict, &mut staging, &recorder).unwrap();
            staging.publish().unwrap();
            card
        });
        let counts: Vec<usize> = recorder
            .0
            .into_inner()
            .unwrap()
            .iter()
            .filter_map(|event| match event {
                Event::Progress { what, done, total: 10 } if what == "simulated fields" => Some(*done),
                _ => None,
            })
            .collect();
        assert_eq!(counts, (1..=10).collect::<Vec<_>>());
        assert!(card.sources.is_empty());
        card.splits.values().map(|info| info.sha256.clone()).collect::<Vec<_>>()
    };
    assert_eq!(hashes(1), hashes(4));
    assert_eq!(sources(&simulated()).unwrap(), Vec::<PathBuf>::new());
}

fn overwrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    File::options().write(true).truncate(true).open(path).unwrap().write_all(&bytes).unwrap();
}

fn cache_file(place: &Place) -> PathBuf {
    let mut entries = std::fs::read_dir(place.target().join("cache")).unwrap();
    let path = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    path
}

#[test]
fn the_cache_is_named_by_the_hash_used_again_and_renewed_when_damaged() {
    let place = Place::new();
    let card = place.ingest(&simulated(), Protocol::Strict).unwrap();
    let read = || {
        let folder = DatasetFolder::open(&place.target()).unwrap();
        folder.split(Split::Test).unwrap().gather(&[1, 0, 1]).unwrap()
    };
    let first = read();
    let cache = cache_file(&place);
    let name = format!("test-{}.arrow", &card.splits[&Split::Test].sha256[..16]);
    assert_eq!(cache.file_name().unwrap().to_str().unwrap(), name);
    let made = std::fs::metadata(&cache).unwrap().modified().unwrap();
    assert_eq!(read(), first);
    assert_eq!(std::fs::metadata(&cache).unwrap().modified().unwrap(), made);
    let whole = std::fs::read(&cache).unwrap();
    for length in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
        overwrite(&cache, |bytes| bytes.truncate(length));
        assert_eq!(read(), first, "cut to {length} bytes");
        assert_eq!(std::fs::read(&cache).unwrap(), whole);
    }
    // Damage in the footer and in the message headers, never a panic.
    for at in (0..1000).chain(whole.len() - 900..whole.len()).step_by(7) {
        overwrite(&cache, |bytes| bytes[at] ^= 0x41);
        let folder = DatasetFolder::open(&place.target()).unwrap();
        folder.split(Split::Test).unwrap().gather(&[1]).unwrap();
        overwrite(&cache, |bytes| *bytes = whole.clone());
    }
}

#[test]
fn rows_out_of_range_are_an_error() {
    let place = Place::new();
    place.ingest(&simulated(), Protocol::Strict).unwrap();
    let folder = DatasetFolder::open(&place.target()).unwrap();
    let train = folder.split(Split::Train).unwrap();
    assert_eq!(train.gather(&[]).unwrap().rows, 0);
    assert!(matches!(train.gather(&[0, 6]), Err(Error::Row { row: 6, rows: 6 })));
}

#[test]
fn folders_that_are_not_what_their_card_says_are_refused() {
    let refusal = |change: &dyn Fn(&Path)| {
        let place = Place::new();
        place.ingest(&simulated(), Protocol::Strict).unwrap();
        change(&place.target());
        let opened = DatasetFolder::open(&place.target());
        let error = match opened {
            Ok(folder) => folder.split(Split::Train).err().unwrap(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Data);
        error.to_string()
    };
    let card = |from: &'static str, to: &'static str| {
        refusal(&move |folder| {
            overwrite(&folder.join("dataset.json"), |bytes| {
                let text = String::from_utf8(bytes.clone()).unwrap();
                assert!(text.contains(from));
                *bytes = text.replacen(from, to, 1).into_bytes();
            });
        })
    };
    assert!(card("\"format\": 1", "\"format\": 2").contains("format 2"));
    assert!(card("\"rows\": 6", "\"rows\": 7").contains("has 6 rows"));
    assert!(card("\"column\": \"input\"", "\"column\": \"x\"").contains("no column `x`"));
    assert!(card("3,\n", "1,\n").contains("not a tensor of shape [1, 9, 9]"));
    assert!(refusal(&|folder| overwrite(&folder.join("dataset.json"), |b| b.truncate(20))).contains("JSON"));
    assert!(
        refusal(&|folder| dash_store::remove(&folder.join("val.parquet")).unwrap()).contains("val.parquet")
    );
    assert!(
        refusal(&|folder| overwrite(&folder.join("test.parquet"), |b| b.truncate(99)))
            .contains("test.parquet")
    );
    // Same footer, another byte of data: only the hash tells.
    assert!(refusal(&|folder| overwrite(&folder.join("train.parquet"), |b| b[60] ^= 1)).contains("sha256"));
}
