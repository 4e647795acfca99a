//! The recipe `deepsea`: what it makes of an archive, and every bad one.

use crate::testing::*;
use dash_core::card::{ElementType, Target, TensorField};
use dash_data::{CardDetails, DatasetRow, Ingest, RowLayout, RowTarget};

const FILE: &str = "deepsea_filtered.npz";

fn deepsea(place: &Place, more: serde_json::Value) -> Dataset {
    let mut value = json!({"recipe": "deepsea", "raw": place.raw()});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

/// The letter at a position of a sequence.
fn letter(row: usize, position: usize) -> usize {
    (row * 5 + position * 3 + row * position) % 4
}

/// Label 0 alternates, label 1 is in every third row, label 2 nowhere.
fn label(row: usize, label: usize) -> u8 {
    u8::from([row % 2 == 1, row.is_multiple_of(3), false][label])
}

/// (rows, 6, 4) one-hot bytes, and (rows, 3) labels.
fn part(rows: usize) -> [Vec<u8>; 2] {
    let x: Vec<u8> =
        (0..rows).flat_map(|row| (0..24).map(move |i| u8::from(letter(row, i / 4) == i % 4))).collect();
    let y: Vec<u8> = (0..rows).flat_map(|row| (0..3).map(move |l| label(row, l))).collect();
    [npy("|u1", false, &[rows, 6, 4], &x), npy("|u1", false, &[rows, 3], &y)]
}

/// Five training, three validation and four test sequences; some members may be others.
fn archive(changed: &[(&str, Vec<u8>)], deflated: bool) -> Vec<u8> {
    let [[x_train, y_train], [x_val, y_val], [x_test, y_test]] = [5, 3, 4].map(part);
    let mut members = vec![
        ("x_train.npy", x_train),
        ("y_train.npy", y_train),
        ("x_val.npy", x_val),
        ("y_val.npy", y_val),
        ("x_test.npy", x_test),
        ("y_test.npy", y_test),
    ];
    for (name, bytes) in changed {
        members.iter_mut().find(|m| m.0 == *name).unwrap().1 = bytes.clone();
    }
    members.retain(|m| !m.1.is_empty());
    zip(&members.iter().map(|(name, bytes)| Member { name, bytes, deflated }).collect::<Vec<_>>())
}

#[test]
fn sequences_and_labels_are_read_as_documented() {
    let place = Place::new();
    place.put(FILE, &archive(&[], false));
    let dataset = deepsea(&place, json!({}));
    assert_eq!(sources(&dataset).unwrap(), [place.raw().join(FILE)]);
    let card = place.ingest(&dataset, Protocol::Strict).unwrap();
    assert_eq!(card.input.shape, [4, 6]);
    let names = ["0", "1", "2"].map(str::to_owned).to_vec();
    assert_eq!(card.target, Target::Labels { column: "target".to_owned(), labels: names });
    assert_eq!((card.target.outputs(), card.target.is_dense()), (3, false));
    assert_eq!(card.splits[&Split::Train].class_counts, [2, 2, 0]);
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [5, 3, 4]);

    let folder = DatasetFolder::open(&place.target()).unwrap();
    assert_eq!(folder.card(), &card);
    let train = folder.split(Split::Train).unwrap();
    assert!(train.tuning_rows().is_none());
    let batch = train.gather(&[3, 0]).unwrap();
    for (at, row) in [3, 0].into_iter().enumerate() {
        for channel in 0..4 {
            for position in 0..6 {
                let expected = f32::from(u8::from(letter(row, position) == channel));
                assert_eq!(batch.input[at * 24 + channel * 6 + position], expected);
            }
        }
    }
    assert_eq!(batch.target, Targets::Labels(vec![1, 1, 0, 0, 1, 0]));
}

#[test]
fn the_paper_protocol_trains_on_validation_data_too_and_marks_what_tuning_may_see() {
    let place = Place::new();
    place.put(FILE, &archive(&[], true));
    let card = place.ingest(&deepsea(&place, json!({})), Protocol::Paper).unwrap();
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [8, 3, 4]);
    let folder = DatasetFolder::open(&place.target()).unwrap();
    let train = folder.split(Split::Train).unwrap();
    assert_eq!(train.tuning_rows(), Some(&[0, 1, 2, 3, 4][..]));
    let validation = folder.split(Split::Validation).unwrap();
    assert_eq!(train.gather(&[5, 6, 7]).unwrap(), validation.gather(&[0, 1, 2]).unwrap());
}

#[test]
fn labels_are_named_by_the_pipeline_file_or_the_tracks_beside_the_archive() {
    let place = Place::new();
    place.put(FILE, &archive(&[], false));
    place.put("tracks.txt", b"a\r\nb\n\nc d\n");
    let labels = |dataset: &Dataset| match place.ingest(dataset, Protocol::Strict).unwrap() {
        DatasetCard { target: Target::Labels { labels, .. }, sources, .. } => {
            (labels, sources.into_iter().map(|s| s.path).collect::<Vec<_>>())
        }
        _ => panic!("labels are expected"),
    };
    let from_file = deepsea(&place, json!({}));
    assert_eq!(sources(&from_file).unwrap().len(), 2);
    let (names, read) = labels(&from_file);
    assert_eq!(
        (names, read),
        (vec!["a".into(), "b".into(), "c d".into()], vec![FILE.into(), "tracks.txt".into()])
    );
    let by_key = deepsea(&place, json!({"labels": ["x", "y", "z"]}));
    assert_eq!(labels(&by_key), (vec!["x".into(), "y".into(), "z".into()], vec![FILE.to_owned()]));

    let error = place.ingest(&deepsea(&place, json!({"labels": ["x"]})), Protocol::Strict).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.to_string(), "`dataset.labels`: has 1 names, `y_train` has 3 labels");
    dash_store::remove(&place.target()).unwrap();
    place.put("tracks.txt", b"a\nb\n");
    let message = place.refusal(&from_file);
    assert!(
        message.contains("tracks.txt") && message.contains("2 names, `y_train` has 3 labels"),
        "{message}"
    );
    place.put("tracks.txt", b"\xff\n");
    assert!(place.refusal(&from_file).contains("tracks.txt"));
}

#[test]
fn archives_are_read_block_by_block() {
    // More rows than one block of four mebibytes holds.
    let rows = 50_000;
    let place = Place::new();
    let [x, y] = part(rows);
    place.put(FILE, &archive(&[("x_train.npy", x), ("y_train.npy", y)], false));
    let card = place.ingest(&deepsea(&place, json!({})), Protocol::Strict).unwrap();
    assert_eq!(card.splits[&Split::Train].class_counts, [rows / 2, rows.div_ceil(3), 0]);
    let folder = DatasetFolder::open(&place.target()).unwrap();
    let train = folder.split(Split::Train).unwrap();
    let asked = [43_689, 43_690, 43_691, rows - 1];
    let batch = train.gather(&asked).unwrap();
    let Targets::Labels(labels) = batch.target else { panic!("labels are expected") };
    for (at, row) in asked.into_iter().enumerate() {
        assert_eq!(labels[3 * at..3 * at + 3], [0, 1, 2].map(|l| label(row, l)));
        assert_eq!(batch.input[24 * at + 6 * letter(row, 5) + 5], 1.0);
    }
}

#[test]
fn bad_archives_are_refused() {
    let place = Place::new();
    let dataset = deepsea(&place, json!({}));
    assert!(place.refusal(&dataset).contains("no such folder"));
    place.put("other.npz", b"");
    assert!(place.refusal(&dataset).contains("the folder holds other.npz"));
    place.put(FILE, b"PK");
    assert!(place.refusal(&dataset).contains(FILE));
    let refusal = |name: &str, bytes: Vec<u8>| {
        place.put(FILE, &archive(&[(name, bytes)], false));
        place.refusal(&dataset)
    };
    let bytes = |shape: &[usize]| npy("|u1", false, shape, &vec![0; shape.iter().product()]);
    let ends = |message: String, end: &str| assert!(message.ends_with(end), "{message}");

    ends(
        refusal("y_val.npy", vec![]),
        "no field `y_val`; the file has `x_train`, `y_train`, `x_val`, `x_test`, `y_test`",
    );
    ends(
        refusal("x_val.npy", bytes(&[3, 24])),
        "field `x_val`: has the shape [3, 24]; (samples, length, channels) is expected",
    );
    ends(
        refusal("y_test.npy", bytes(&[4])),
        "field `y_test`: has the shape [4]; (samples, labels) is expected",
    );
    ends(
        refusal("y_train.npy", bytes(&[4, 3])),
        "field `y_train`: has labels of 4 samples, `x_train` has 5 samples",
    );
    let empty = [("x_val.npy", bytes(&[0, 6, 4])), ("y_val.npy", bytes(&[0, 3]))];
    place.put(FILE, &archive(&empty, false));
    ends(place.refusal(&dataset), "field `x_val`: has no samples");
    ends(
        refusal("x_val.npy", bytes(&[3, 4, 6])),
        "field `x_val`: has the shape [3, 4, 6], `x_train` has [5, 6, 4]",
    );
    ends(refusal("y_test.npy", bytes(&[4, 2])), "field `y_test`: has 2 labels per sample, `y_train` has 3");
    ends(
        refusal("y_val.npy", bytes(&[3, 3])),
        "field `y_val`: no label is there in some of the 3 samples and missing in others: there is nothing to score",
    );
    let mut values = vec![0.0; 12];
    values[10] = 0.5;
    ends(
        refusal("y_test.npy", npy_f32(&[4, 3], &values)),
        "field `y_test[3, 1]`: the value 0.5 is neither 0 nor 1",
    );
    let mut values = vec![1.0; 96];
    values[24 + 4 * 2 + 3] = f32::NAN;
    ends(
        refusal("x_test.npy", npy_f32(&[4, 6, 4], &values)),
        "field `x_test[1, 2, 3]`: the value is not a finite number",
    );
    ends(
        refusal("x_test.npy", npy("|O", false, &[4, 6, 4], &[])),
        "holds Python objects; numbers are expected",
    );
    // A packed archive whose last bytes are missing.
    let whole = archive(&[], true);
    place.put(FILE, &whole[..whole.len() - 30]);
    assert!(place.refusal(&dataset).contains(FILE));
}

/// A dataset whose Parquet file holds a label that is neither 0 nor 1.
#[test]
fn the_cache_takes_no_other_labels_than_0_and_1() {
    let place = Place::new();
    let tensor = TensorField { column: "input".into(), shape: vec![1, 2], element: ElementType::F32 };
    let target = Target::Labels { column: "target".into(), labels: vec!["a".into(), "b".into()] };
    let mut staging = Staging::begin(&place.target()).unwrap();
    let (protocol, listener) = (Protocol::Strict, &Silent);
    let mut ingest = Ingest { recipe: "test", staging: &mut staging, protocol, listener };
    let mut writer = ingest.writer(RowLayout::new(tensor, target, vec![]));
    for split in Split::ALL {
        let written = writer.split::<Error>(split, |push| {
            for labels in [[0, 1], [1, 2]] {
                let target = RowTarget::Labels(&labels);
                push(DatasetRow { input: &[0.0, 1.0], target, background: 0.0, ids: &[], tuning: false })?;
            }
            Ok::<(), Error>(())
        });
        written.unwrap();
    }
    let licence = "none";
    writer.finish(CardDetails { sources: vec![], target_scaling: None, notes: [].into(), licence }).unwrap();
    staging.publish().unwrap();
    let folder = DatasetFolder::open(&place.target()).unwrap();
    let error = folder.split(Split::Train).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().ends_with("column `target`, row 1: a label is neither 0 nor 1"), "{error}");
}

#[test]
fn the_same_archive_gives_the_same_bytes() {
    let place = Place::new();
    place.put(FILE, &archive(&[], false));
    let hashes = |name: &str| {
        let mut staging = Staging::begin(&place.target().with_file_name(name)).unwrap();
        let card = ingest(&deepsea(&place, json!({})), Protocol::Strict, &mut staging, &Silent).unwrap();
        card.splits.values().map(|info| info.sha256.clone()).collect::<Vec<_>>()
    };
    assert_eq!(hashes("a"), hashes("b"));
}
