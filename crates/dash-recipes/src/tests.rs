//! Datasets that recipes made: caches, checks, names of inputs.

use crate::testing::*;

mod cache;
mod check_task;
mod inputs;

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
    assert!(matches!(train.gather(&[0, 6]), Err(dash_data::Error::Row { row: 6, rows: 6 })));
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
