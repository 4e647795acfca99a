//! The recipe `ecg`: what it makes of small files, and every bad input.

use super::*;
use crate::testing::*;

fn ecg_dataset(place: &Place, more: serde_json::Value) -> Dataset {
    dataset(place, "ecg", more)
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
    let expected = pickled.ingest(&ecg_dataset(&pickled, short()), Protocol::Strict).unwrap();

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
    let ecg = ecg_dataset(&place, config);
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
    let dataset = ecg_dataset(&place, short());
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
    assert_eq!(batch.target, Targets::Class(vec![0, 3]));
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
    let paper = place.ingest(&ecg_dataset(&place, short()), Protocol::Paper).unwrap();
    let strict = strict.ingest(&ecg_dataset(&strict, short()), Protocol::Strict).unwrap();
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
        place.ingest(&ecg_dataset(&place, short()), Protocol::Paper).unwrap();
        ["train.parquet", "val.parquet", "test.parquet", "dataset.json"]
            .map(|name| std::fs::read(place.target().join(name)).unwrap())
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn bad_recordings_are_refused() {
    let place = Place::new();
    let ecg = ecg_dataset(&place, short());
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
    let ecg = |more| refusal(ecg_dataset(&place, serde_json::from_str(more).unwrap()));
    assert!(ecg(r#"{"window": 0}"#).contains("`dataset.window`"));
    assert!(ecg(r#"{"steps": {"N": 1, "A": 1, "O": 1}}"#).contains("`dataset.steps.\"~\"`"));
    assert!(ecg(r#"{"steps": {"N": 1, "A": 0, "O": 1, "~": 1}}"#).contains("`dataset.steps.A`"));
    assert!(ecg(r#"{"steps": {"N": 1, "A": 1, "O": 1, "~": 1, "B": 1}}"#).contains("`dataset.steps.\"B\"`"));
}

#[test]
fn splits_of_the_full_data() {
    let strict = record_splits(8528, Protocol::Strict, 0).unwrap();
    assert_eq!([strict.train.len(), strict.validation.len(), strict.test.len()], [6822, 853, 853]);
    let paper = record_splits(8528, Protocol::Paper, 0).unwrap();
    assert_eq!([paper.train.len(), paper.validation.len(), paper.test.len()], [7675, 853, 853]);
    assert_eq!(paper.test[..3], [2044, 2916, 274]);
    assert_eq!(paper.train[..3], [4865, 6526, 6813]);
    // The strict split parts all recordings; 1706 held-out ones sum to 7 225 066.
    let held_out: usize = strict.validation.iter().chain(&strict.test).sum();
    assert_eq!(held_out, 7_225_066);
    let mut all: Vec<usize> = [&strict.train[..], &strict.validation, &strict.test].concat();
    all.sort_unstable();
    assert_eq!(all, (0..8528).collect::<Vec<_>>());
    // The test half is the first half of the second permutation: positions 1541, 6, 251.
    let order = crate::shared::numpy_random::RandomState::new(0).permutation(8528);
    assert_eq!(strict.test[..3], [order[1541], order[6], order[251]]);
}

#[test]
fn tuning_of_the_paper_protocol_trains_on_published_training_data_only() {
    let paper = record_splits(8528, Protocol::Paper, 0).unwrap();
    let strict = record_splits(8528, Protocol::Strict, 0).unwrap();
    assert_eq!(paper.tuning, strict.train);
    let train: std::collections::HashSet<_> = paper.train.iter().collect();
    assert!(paper.tuning.iter().all(|record| train.contains(record)));
    assert!(paper.tuning.iter().all(|record| !paper.validation.contains(record)));
}

#[test]
fn windows_end_before_the_last_fitting_start() {
    let starts = |length, step| window_starts(length, 1000, step).collect::<Vec<_>>();
    assert_eq!(starts(999, 500), [0usize; 0]);
    assert_eq!(starts(1000, 500), [0usize; 0]);
    assert_eq!(starts(1001, 500), [0]);
    assert_eq!(starts(1500, 500), [0]);
    assert_eq!(starts(1501, 500), [0, 500]);
    // 30 seconds at 300 Hz: 16 windows for N, 97 for A, 32 for O, 320 for noise.
    assert_eq!([500, 83, 250, 25].map(|step| starts(9000, step).len()), [16, 97, 32, 320]);
}
