//! Small Parquet files and archives of every supported kind, and what is wrong with others.

use super::CustomFormat;
use crate::{DatasetFolder, Error, Ingest, custom};
use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeListArray, Float32Array, Float64Array,
        Int8Array, Int32Array, Int64Array, LargeListArray, ListArray, RecordBatch, StringArray, StructArray,
        UInt8Array,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, Int32Type, Schema},
};
use dash_core::{
    card::{DatasetCard, Split, Target},
    error::{Classify, ErrorKind},
    event::Silent,
    pipeline::{Dataset, Protocol},
    targets::Targets,
};
use dash_store::Staging;
use parquet::arrow::ArrowWriter;
use std::{collections::HashMap, path::PathBuf, sync::Arc};

mod npz;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        dash_store::publish_file(&self.0.path().join("raw").join(name), bytes).unwrap();
    }

    fn target(&self) -> PathBuf {
        self.0.path().join("dataset")
    }

    /// `more` are further keys of the recipe, as JSON without braces.
    fn dataset(&self, recipe: &str, more: &str) -> Dataset {
        let raw = self.0.path().join("raw");
        let text = format!(r#"{{"recipe": "{recipe}", "raw": {:?}, {more}}}"#, raw.to_str().unwrap());
        serde_json::from_str(&text).unwrap()
    }

    fn ingest(&self, dataset: &Dataset, protocol: Protocol) -> Result<DatasetCard, Error> {
        let mut staging = Staging::begin(&self.target())?;
        let (recipe, listener) = (dataset.recipe(), &Silent);
        let cx = &mut Ingest { recipe, staging: &mut staging, protocol, listener };
        let card = match dataset {
            Dataset::Npz(config) => custom::ingest(&config.0, CustomFormat::Npz, cx)?,
            Dataset::Parquet(config) => custom::ingest(&config.0, CustomFormat::Parquet, cx)?,
            other => panic!("{other:?} is not custom data"),
        };
        staging.publish()?;
        Ok(card)
    }

    fn refusal(&self, dataset: &Dataset) -> String {
        let error = self.ingest(dataset, Protocol::Strict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        assert!(error.hint().is_some(), "{error}");
        assert!(!self.target().exists());
        error.to_string()
    }

    fn rows(&self, split: Split, rows: &[usize]) -> crate::Batch {
        let folder = DatasetFolder::open(&self.target()).unwrap();
        folder.split(split).unwrap().gather(rows).unwrap()
    }
}

/// Columns, and the metadata of each field, as a Parquet file.
fn parquet(columns: Vec<(&str, ArrayRef, HashMap<String, String>)>) -> Vec<u8> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array, metadata)| {
            Field::new(*name, array.data_type().clone(), true).with_metadata(metadata.clone())
        })
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, array, _)| array).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays).unwrap();
    let mut writer = ArrowWriter::try_new(vec![], schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn plain(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    parquet(columns.into_iter().map(|(name, array)| (name, array, HashMap::new())).collect())
}

fn item(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", kind, true))
}

/// Flat lists of `size`.
fn fixed(size: i32, values: ArrayRef) -> ArrayRef {
    Arc::new(FixedSizeListArray::new(item(values.data_type().clone()), size, values, None))
}

/// Lists of `lengths`.
fn lists(lengths: &[usize], values: ArrayRef) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(ListArray::new(item(values.data_type().clone()), offsets, values, None))
}

fn f32s(values: impl IntoIterator<Item = f32>) -> ArrayRef {
    Arc::new(Float32Array::from_iter_values(values))
}

fn counted(rows: usize, length: usize) -> ArrayRef {
    f32s((0..rows * length).map(|k| k as f32))
}

fn words(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

const SPLIT: &str = r#""split": "part""#;
/// Twenty rows: 12 train, 4 validation, 4 test, not in blocks.
fn parts() -> ArrayRef {
    let part = |row: usize| match row % 5 {
        3 => "val",
        4 => "TEST",
        _ => "train",
    };
    Arc::new(StringArray::from_iter_values((0..20).map(part)))
}

#[test]
fn signals_with_text_classes_and_a_split_column() {
    let place = Place::new();
    let labels = ["sinus", "noise", "sinus", "af"].repeat(5);
    let bytes = plain(vec![
        ("signal", fixed(3, counted(20, 3))),
        ("rhythm", words(&labels)),
        ("part", parts()),
        ("note", words(&["x"; 20])),
    ]);
    place.put("all.parquet", &bytes);
    let dataset = place.dataset(
        "parquet",
        &format!(
            r#""file": "all.parquet", "input": "signal", "target": "rhythm", "target_kind": "class", {SPLIT}"#
        ),
    );
    let card = place.ingest(&dataset, Protocol::Strict).unwrap();
    assert_eq!(card.input.shape, [1, 3]);
    let Target::Class { labels, .. } = &card.target else { panic!() };
    assert_eq!(labels.as_slice(), ["af", "noise", "sinus"]);
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [12, 4, 4]);
    assert_eq!((card.recipe.as_str(), card.sources[0].path.as_str()), ("parquet", "all.parquet"));
    // The second validation row is row 8 of the file.
    let batch = place.rows(Split::Validation, &[1]);
    assert_eq!(batch.input, [24.0, 25.0, 26.0]);
    assert_eq!(batch.target, Targets::Class(vec![2]));
    let Dataset::Parquet(config) = &dataset else { panic!("{dataset:?}") };
    assert_eq!(custom::sources(&config.0).unwrap().len(), 1);

    // Under the paper protocol training also sees the validation rows, and tuning does not.
    let card = place.ingest(&dataset, Protocol::Paper).unwrap();
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [16, 4, 4]);
    let folder = DatasetFolder::open(&place.target()).unwrap();
    let tuning = folder.split(Split::Train).unwrap().tuning_rows().unwrap().to_vec();
    assert_eq!(tuning, [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14]);
}

#[test]
fn drawn_splits_part_the_rows_and_depend_on_the_seed_alone() {
    let place = Place::new();
    let classes: ArrayRef = Arc::new(Int64Array::from_iter_values((0..50).map(|row| 7 - row % 2 * 4)));
    let bytes = plain(vec![("input", fixed(1, counted(50, 1))), ("target", classes)]);
    place.put("all.parquet", &bytes);
    let values = |seed: u64| {
        let more = format!(
            r#""file": "all.parquet", "target_kind": "class", "test_fraction": 0.2, "split_seed": {seed}"#
        );
        let card = place.ingest(&place.dataset("parquet", &more), Protocol::Strict).unwrap();
        let Target::Class { labels, .. } = &card.target else { panic!() };
        assert_eq!(labels.as_slice(), ["3", "7"]);
        Split::ALL.map(|split| {
            let batch = place.rows(split, &(0..card.splits[&split].rows).collect::<Vec<_>>());
            let Targets::Class(classes) = batch.target else { panic!() };
            for (value, class) in batch.input.iter().zip(classes) {
                assert_eq!(class, if value % 2.0 == 0.0 { 1 } else { 0 });
            }
            batch.input
        })
    };
    let first = values(3);
    assert_eq!(first.each_ref().map(Vec::len), [35, 5, 10]);
    let mut all = first.concat();
    all.sort_by(f32::total_cmp);
    assert_eq!(all, (0..50).map(|k| k as f32).collect::<Vec<_>>());
    assert_eq!(values(3), first);
    assert_ne!(values(4)[2], first[2]);
}

#[test]
fn nested_lists_and_tensors_become_images_and_fields() {
    let place = Place::new();
    // Height 2, width 3, channels last 2; nested lists of doubles.
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..6 * 12).map(f64::from)));
    let image = lists(&[2; 6], lists(&[3; 12], lists(&[2; 36], values)));
    let offsets = OffsetBuffer::<i64>::from_lengths([6; 6]);
    let bytes: ArrayRef = Arc::new(UInt8Array::from_iter_values(0..36));
    let field: ArrayRef = Arc::new(LargeListArray::new(item(DataType::UInt8), offsets, bytes, None));
    let tensor = [
        ("ARROW:extension:name", "arrow.fixed_shape_tensor"),
        ("ARROW:extension:metadata", r#"{"shape": [2, 3]}"#),
    ];
    let tensor: HashMap<String, String> = tensor.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let flat = fixed(6, counted(6, 6));
    let bytes = parquet(vec![
        ("image", image, HashMap::new()),
        ("field", field, HashMap::new()),
        ("tensor", flat, tensor),
    ]);
    for name in ["a", "b", "c"] {
        place.put(name, &bytes);
    }
    let files = r#""train_file": "a", "validation_file": "b", "test_file": "c""#;
    let more = format!(
        r#"{files}, "input": "image", "channels": "last", "target": "field", "target_kind": "field", "target_shape": [2, 3], "standardise": true, "standardise_target": true"#
    );
    let card = place.ingest(&place.dataset("parquet", &more), Protocol::Strict).unwrap();
    assert_eq!(card.input.shape, [2, 2, 3]);
    let Target::Field { tensor } = &card.target else { panic!() };
    assert_eq!(tensor.shape, [1, 2, 3]);
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [6, 6, 6]);
    let batch = place.rows(Split::Test, &[1]);
    // Channel 0 holds the even numbers 0..72: mean 35, variance 4 (36^2 - 1) / 12.
    let deviation = (4.0 * (36.0f64.powi(2) - 1.0) / 12.0).sqrt();
    let encoded = |value: f64| ((value - 35.0) / deviation) as f32;
    assert!((batch.input[0] - encoded(12.0)).abs() < 1e-6);
    assert!((batch.input[5] - encoded(22.0)).abs() < 1e-6);
    assert!((batch.input[6] - encoded(12.0)).abs() < 1e-6, "channel 1 is channel 0 shifted by 1");
    let scaling = card.target_scaling.unwrap();
    let Targets::Field(field) = batch.target else { panic!() };
    for (at, value) in field.iter().enumerate() {
        let decoded = value * scaling.scale[at] + scaling.mean[at];
        assert!((decoded - (6 + at) as f32).abs() < 1e-4);
    }

    let more = format!(
        r#"{files}, "input": "tensor", "channels": "none", "target": "tensor", "target_kind": "field""#
    );
    let card = place.ingest(&place.dataset("parquet", &more), Protocol::Strict).unwrap();
    assert_eq!(card.input.shape, [1, 2, 3]);
    assert!(card.target_scaling.is_none());
    let batch = place.rows(Split::Train, &[5]);
    assert_eq!(batch.target, Targets::Field(batch.input.clone()));

    // The same flat list is a signal of two channels if the file says so.
    let more = format!(
        r#"{files}, "input": "field", "input_shape": [2, 3], "target": "field", "target_kind": "field", "target_shape": [2, 3]"#
    );
    let card = place.ingest(&place.dataset("parquet", &more), Protocol::Strict).unwrap();
    assert_eq!(card.input.shape, [2, 3]);
    let Target::Field { tensor } = &card.target else { panic!() };
    assert_eq!(tensor.shape, [2, 3], "two channels on a grid of three");
}

#[test]
fn label_sets_are_lists_of_zeros_and_ones() {
    let place = Place::new();
    let marks: ArrayRef = Arc::new(BooleanArray::from_iter((0..60).map(|k| Some(k % 4 == 0))));
    let numbers: ArrayRef =
        Arc::new(Int8Array::from_iter_values((0..60).map(|k| if k == 17 { 2 } else { 1 })));
    let bytes = plain(vec![
        ("input", fixed(2, counted(20, 2))),
        ("target", fixed(3, marks)),
        ("wrong", fixed(3, numbers)),
        ("part", parts()),
    ]);
    place.put("all.parquet", &bytes);
    let more =
        format!(r#""file": "all.parquet", "target_kind": "labels", "labels": ["a", "b", "c"], {SPLIT}"#);
    let card = place.ingest(&place.dataset("parquet", &more), Protocol::Strict).unwrap();
    let Target::Labels { labels, .. } = &card.target else { panic!() };
    assert_eq!(labels.as_slice(), ["a", "b", "c"]);
    // The first test row is row 4 of the file: numbers 12 to 14.
    assert_eq!(place.rows(Split::Test, &[0]).target, Targets::Labels(vec![1, 0, 0]));
    dash_store::remove(&place.target()).unwrap();
    let message = place.refusal(
        &place.dataset("parquet", &more.replace("\"target_kind", "\"target\": \"wrong\", \"target_kind")),
    );
    assert!(message.contains("all.parquet: field `wrong[5]`: holds 2; labels are 0 or 1"), "{message}");
    let message = place.refusal(&place.dataset("parquet", &more.replace(r#", "c""#, "")));
    assert!(message.contains("field `target`: has 3 labels per row, `dataset.labels` names 2"), "{message}");
}

#[test]
fn faults_of_a_column_name_it_and_the_row() {
    let place = Place::new();
    let refusal = |columns: Vec<(&str, ArrayRef)>, more: &str| {
        place.put("all.parquet", &plain(columns));
        let more = format!(r#""file": "all.parquet", {SPLIT}, {more}"#);
        let message = place.refusal(&place.dataset("parquet", &more));
        assert!(message.contains("all.parquet: "), "{message}");
        message
    };
    let class = r#""target_kind": "class""#;
    let check = |message: String, words: &str| assert!(message.contains(words), "{message}");
    let input = || ("input", fixed(2, counted(20, 2)));
    let target =
        || -> (&str, ArrayRef) { ("target", Arc::new(Int32Array::from_iter_values((0..20).map(|k| k % 2)))) };
    let part = || ("part", parts());

    check(refusal(vec![input(), part()], class), "no field `target`; the file has `input`, `part`");
    check(refusal(vec![target(), part()], class), "no field `input`");
    check(refusal(vec![input(), target()], class), "no field `part`");
    for (value, words) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let values = f32s((0..40).map(|k| if k == 27 { value } else { 0.0 }));
        let message = refusal(vec![("input", fixed(2, values)), target(), part()], class);
        check(message, &format!("field `input[13]`: number 1 of the row is {words}; it must be finite"));
    }
    // Beyond single precision.
    let huge: ArrayRef = Arc::new(Float64Array::from_iter_values((0..40).map(|_| 1e300)));
    check(refusal(vec![("input", fixed(2, huge)), target(), part()], class), "field `input[0]`");
    let some_null: ArrayRef = Arc::new(Float32Array::from_iter((0..40).map(|k| (k != 31).then_some(0.0))));
    check(
        refusal(vec![("input", fixed(2, some_null)), target(), part()], class),
        "field `input[15]`: is missing",
    );
    let nulls = NullBuffer::from((0..20).map(|row| row != 6).collect::<Vec<_>>());
    let rows = FixedSizeListArray::new(item(DataType::Float32), 2, counted(20, 2), Some(nulls));
    check(refusal(vec![("input", Arc::new(rows)), target(), part()], class), "field `input[6]`: is missing");
    let mut lengths = [2; 20];
    lengths[9] = 3;
    let ragged = lists(&lengths, counted(41, 1));
    let message = refusal(vec![("input", ragged), target(), part()], class);
    check(message, "field `input[9]`: has a list of 3 elements, the first row of the file 2");
    let empty = lists(&[0; 20], counted(0, 1));
    check(refusal(vec![("input", empty), target(), part()], class), "field `input[0]`: is an empty list");
    check(
        refusal(vec![("input", words(&["x"; 20])), target(), part()], class),
        "holds Utf8; numbers are expected",
    );
    let number = ("input", counted(20, 1));
    check(
        refusal(vec![number, target(), part()], class),
        "rows of shape [] are not channels and one or two axes",
    );
    let structs = StructArray::from(vec![(Arc::new(Field::new("a", DataType::Int32, true)), target().1)]);
    check(refusal(vec![("input", Arc::new(structs)), target(), part()], class), "numbers are expected");
    check(
        refusal(vec![input(), target(), part()], r#""target_kind": "class", "input_shape": [3]"#),
        "which do not fill dataset.input_shape = [3]",
    );

    let missing: ArrayRef = Arc::new(Int64Array::from_iter((0..20).map(|k| (k != 4).then_some(k % 2))));
    check(refusal(vec![input(), ("target", missing), part()], class), "field `target[4]`: is missing (null)");
    check(
        refusal(vec![input(), ("target", counted(20, 1)), part()], class),
        "whole numbers, text or Booleans are expected",
    );
    check(refusal(vec![input(), ("target", words(&["a"; 20])), part()], class), "there is but one class, a");
    let named = r#""target_kind": "class", "labels": ["no", "yes"]"#;
    let range: ArrayRef =
        Arc::new(Int64Array::from_iter_values((0..20).map(|k| if k == 11 { 2 } else { k % 2 })));
    check(
        refusal(vec![input(), ("target", range), part()], named),
        "field `target[11]`: is class 2; the 2 names of `dataset.labels` are for 0 to 1",
    );
    let negative: ArrayRef = Arc::new(Int64Array::from_iter_values((0..20).map(|k| -(k % 2))));
    check(refusal(vec![input(), ("target", negative), part()], named), "field `target[1]`: is class -1");
    let other: Vec<&str> = (0..20).map(|k| if k == 3 { "maybe" } else { "no" }).collect();
    let other: DictionaryArray<Int32Type> = other.into_iter().collect();
    check(
        refusal(vec![input(), ("target", Arc::new(other)), part()], named),
        "field `target[3]`: is \"maybe\", which is not among",
    );

    let odd: ArrayRef = Arc::new(Int64Array::from_iter_values((0..20).map(|k| k % 4)));
    check(
        refusal(vec![input(), target(), ("part", odd)], class),
        "field `part[3]`: is `3`; train, validation or test",
    );
    let two = words(&["train", "test"].repeat(10));
    check(
        refusal(vec![input(), target(), ("part", two)], class),
        "field `part`: no row is of the validation split",
    );
    let field = r#""target_kind": "field""#;
    check(
        refusal(vec![input(), ("target", fixed(3, counted(20, 3))), part()], field),
        "rows of shape [3] are not fields on the grid [2] of `input`",
    );
}

#[test]
fn damaged_files_are_refused() {
    let place = Place::new();
    let more = r#""file": "all.parquet", "target_kind": "field""#;
    assert!(place.refusal(&place.dataset("parquet", more)).contains("no such folder"));
    let whole = plain(vec![("input", fixed(8, counted(30, 8))), ("target", fixed(8, counted(30, 8)))]);
    for length in [0, 3, 100, whole.len() - 1] {
        place.put("all.parquet", &whole[..length]);
        assert!(place.refusal(&place.dataset("parquet", more)).contains("all.parquet: "));
    }
    place.put(
        "all.parquet",
        &plain(vec![("input", fixed(8, counted(0, 8))), ("target", fixed(8, counted(0, 8)))]),
    );
    assert!(place.refusal(&place.dataset("parquet", more)).contains("it has no rows"));
    place.put("all.parquet", &whole);
    let error = place
        .ingest(&place.dataset("parquet", &format!(r#"{more}, "test_fraction": 0.0"#)), Protocol::Strict)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("`dataset.test_fraction`: 0 of 30 samples rounds to none"), "{error}");
    let shapes = r#""train_file": "all.parquet", "test_file": "other.parquet", "target_kind": "field""#;
    place.put(
        "other.parquet",
        &plain(vec![("input", fixed(4, counted(3, 4))), ("target", fixed(4, counted(3, 4)))]),
    );
    let message = place.refusal(&place.dataset("parquet", shapes));
    assert!(
        message
            .contains("other.parquet: field `input`: rows have shape [1, 4], those of the first file [1, 8]"),
        "{message}"
    );
}
