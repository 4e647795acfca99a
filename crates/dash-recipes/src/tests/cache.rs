//! Caches that are damaged, cut or overwritten, and datasets that are replaced under who reads them.

use super::*;
use dash_data::{Checked, dataset_content, verify};

/// A dataset of simulated fields whose caches were made.
fn made() -> (Place, DatasetCard) {
    let place = Place::new();
    let card = place.ingest(&simulated(), Protocol::Strict).unwrap();
    open(&place).prepare(&Silent).unwrap();
    (place, card)
}

fn open(place: &Place) -> DatasetFolder {
    DatasetFolder::open(&place.target()).unwrap()
}

fn cache_of(place: &Place, card: &DatasetCard, split: Split) -> PathBuf {
    let name = format!("{}-{}.arrow", split.name(), &card.splits[&split].sha256[..16]);
    place.target().join("cache").join(name)
}

fn train(folder: &DatasetFolder) -> dash_data::Batch {
    folder.split(Split::Train).unwrap().gather(&[5, 0, 1, 2]).unwrap()
}

fn problems(place: &Place) -> Vec<Checked> {
    let mut checked = verify(&place.target()).unwrap();
    checked.retain(|file| file.problem.is_some());
    checked
}

/// Where the numbers of the first block are: any of them may be changed without breaking the structure.
fn middle(bytes: &[u8]) -> usize {
    bytes.len() / 2
}

#[test]
fn a_changed_number_in_a_cache_is_named_and_the_cache_is_made_again() {
    let (place, card) = made();
    let (expected, cache) = (train(&open(&place)), cache_of(&place, &card, Split::Train));
    let whole = std::fs::read(&cache).unwrap();
    assert_eq!(problems(&place), []);
    let nan = f32::NAN.to_le_bytes();
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let changes: [Change<'_>; 4] = [
        &|bytes| bytes[1000] ^= 1,
        &|bytes| {
            let at = middle(bytes) / 4 * 4;
            bytes[at..at + 4].copy_from_slice(&nan);
        },
        &|bytes| {
            let at = middle(bytes);
            bytes[at..at + 400].reverse();
        },
        &|bytes| bytes.push(0),
    ];
    for change in changes {
        overwrite(&cache, change);
        let found = problems(&place);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, cache);

        let folder = open(&place);
        let told = Recorder::default();
        folder.prepare(&told).unwrap();
        let told = told.0.into_inner().unwrap();
        let [Event::Warning { message }] = told.as_slice() else { panic!("{told:?}") };
        assert!(message.contains("is damaged and made again") && message.contains("train-"), "{message}");
        assert_eq!(train(&folder), expected);
        assert_eq!(std::fs::read(&cache).unwrap(), whole);
        assert_eq!(problems(&place), []);
    }
}

#[test]
fn a_cache_without_a_hash_is_made_again() {
    let (place, card) = made();
    let cache = cache_of(&place, &card, Split::Train);
    let (expected, whole) = (train(&open(&place)), std::fs::read(&cache).unwrap());
    // As earlier versions left them.
    overwrite(&cache, |bytes| {
        let key = b"dash-nas:blake3";
        let at = bytes.windows(key.len()).position(|part| part == key).unwrap();
        bytes[at] = b'x';
    });
    assert!(problems(&place)[0].problem.as_ref().unwrap().contains("carries no hash"));
    let folder = open(&place);
    assert_eq!(train(&folder), expected);
    assert!(folder.take_notices().is_empty());
    assert_eq!(std::fs::read(&cache).unwrap(), whole);
}

#[test]
fn a_cache_is_still_an_arrow_file() {
    let (place, card) = made();
    let file = File::open(cache_of(&place, &card, Split::Test)).unwrap();
    let batches = arrow::ipc::reader::FileReader::try_new(file, None).unwrap();
    assert_eq!(batches.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
}

#[test]
fn a_cache_that_is_cut_under_a_reader_is_an_error() {
    let (place, card) = made();
    let folder = open(&place);
    let data = folder.split(Split::Train).unwrap();
    let cache = cache_of(&place, &card, Split::Train);
    File::options().write(true).open(&cache).unwrap().set_len(1000).unwrap();
    let error = data.gather(&[3]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("it was cut while it was in use"), "{error}");
    assert!(error.hint().unwrap().contains("run the same command again"));
    for error in [folder.unchanged().unwrap_err(), folder.recheck().unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains("train-"), "{error}");
    }
    assert_eq!(open(&place).split(Split::Train).unwrap().len(), 6);
}

#[test]
fn a_cache_that_is_overwritten_under_a_reader_fails_the_stage() {
    let (place, card) = made();
    let folder = open(&place);
    train(&folder);
    folder.unchanged().unwrap();
    folder.recheck().unwrap();
    let cache = cache_of(&place, &card, Split::Train);
    let in_place = |at: u64, bytes: &[u8]| {
        let mut file = File::options().write(true).open(&cache).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    };
    let whole = std::fs::read(&cache).unwrap();
    let at = middle(&whole) as u64 / 4 * 4;
    in_place(at, &1e30f32.to_le_bytes());
    assert!(folder.unchanged().unwrap_err().to_string().contains("does not hold what it did"));
    assert!(folder.recheck().is_err());
    in_place(at, &f32::NAN.to_le_bytes());
    let error = folder.recheck().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(
        error.to_string().contains("row ") && error.to_string().contains("no longer a finite number"),
        "{error}"
    );

    // A cache that another process made again is another file: the one in use is still whole.
    let (place, card) = made();
    let folder = open(&place);
    train(&folder);
    let cache = cache_of(&place, &card, Split::Train);
    dash_store::publish_file(&cache, b"other").unwrap();
    folder.unchanged().unwrap();
}

#[test]
fn a_dataset_that_is_replaced_under_a_reader_fails_the_stage() {
    let other: Dataset = serde_json::from_str(
        r#"{"recipe": "darcy-flow", "simulate": {"grid": 17, "train_seed": 9}, "subsample": 2,
            "train": 6, "validation": 2, "test": 2}"#,
    )
    .unwrap();
    let (place, _) = made();
    let folder = open(&place);
    train(&folder);
    // The same again is the same.
    place.ingest(&simulated(), Protocol::Strict).unwrap();
    folder.unchanged().unwrap();
    place.ingest(&other, Protocol::Strict).unwrap();
    let error = folder.unchanged().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("dataset.json: describes another dataset"), "{error}");
    dash_store::remove(&place.target()).unwrap();
    assert!(folder.unchanged().unwrap_err().to_string().contains("was removed while it was in use"));

    let (place, _) = made();
    let folder = open(&place);
    overwrite(&place.target().join("val.parquet"), |bytes| bytes[60] ^= 1);
    let error = folder.unchanged().unwrap_err();
    assert!(error.to_string().contains("val.parquet: is no longer the file"), "{error}");
}

#[test]
fn the_content_of_a_dataset_has_no_places_terms_and_notes_in_it() {
    let (place, _) = made();
    let content = dataset_content(&place.target()).unwrap();
    assert_eq!(open(&place).content(), content);
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let path = place.target().join("dataset.json");
        let before = std::fs::read(&path).unwrap();
        let mut card = serde_json::from_slice(&before).unwrap();
        change(&mut card);
        dash_store::publish_file(&path, &serde_json::to_vec(&card).unwrap()).unwrap();
        let found = dataset_content(&place.target()).unwrap();
        dash_store::publish_file(&path, &before).unwrap();
        found
    };
    assert_eq!(with(&|card| card["licence"] = "mine".into()), content);
    assert_eq!(with(&|card| card["notes"]["made"] = "yesterday".into()), content);
    let source = serde_json::json!([{"path": "/abs/x.npz", "bytes": 1, "sha256": ""}]);
    assert_eq!(with(&|card| card["sources"] = source.clone()), content);
    assert_eq!(with(&|card| card["recipe"] = "npz".into()), content);
    assert_ne!(with(&|card| card["splits"]["train"]["sha256"] = "0".repeat(64).into()), content);
    assert_ne!(with(&|card| card["target_scaling"]["mean"][0] = 3.5.into()), content);
    assert_ne!(with(&|card| card["notes"]["padding_value"] = serde_json::json!([1.0])), content);
}
