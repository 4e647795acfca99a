use crate::{Error, ingest, sources};
use dash_core::targets::Targets;
use dash_core::{
    card::{DatasetCard, Split},
    error::{Classify, ErrorKind},
    event::Silent,
    pipeline::{Dataset, Protocol},
};
use dash_data::DatasetFolder;
use dash_formats::testing::{npy, npy_f32};
use dash_store::Staging;
use std::path::PathBuf;
use tar::{Builder, EntryType, Header};

const ROWS: usize = 6;
const COLUMNS: usize = 8;

/// A value for row and column of an image, distinct everywhere.
fn pixel(image: usize, at: usize) -> f32 {
    (image * 1000 + at / COLUMNS * 10 + at % COLUMNS) as f32 - 20.0
}

/// Image, mask (every third pixel) and, with three planes, ignored pixels (every fifth).
fn planes(image: usize, planes: usize) -> Vec<f32> {
    let points = 0..ROWS * COLUMNS;
    let every = |n: usize| points.clone().map(move |at| if at % n == 0 { 1.0 } else { 0.0 });
    let mut values: Vec<f32> = points.clone().map(|at| pixel(image, at)).chain(every(3)).collect();
    if planes == 3 {
        values.extend(every(5));
    }
    values
}

fn exposure(image: usize, count: usize) -> Vec<u8> {
    npy_f32(&[count, ROWS, COLUMNS], &planes(image, count))
}

fn levels(values: &[f64]) -> Vec<u8> {
    npy("<f8", false, &[values.len()], &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

/// Four training images of three galaxy fields, one of a globular cluster, and one of another filter.
fn train() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("f435w/10760/2/1_1.npy", exposure(0, 3)),
        ("f435w/10760/2/2_1.npy", exposure(1, 3)),
        ("f435w/10760/2/sky.npy", levels(&[10.0, 11.0])),
        ("f435w/13737/2/3_1.npy", exposure(2, 3)),
        ("f435w/13737/2/sky.npy", levels(&[1.0, 2.0, 3.5])),
        ("f435w/13737/2/notes.txt", b"x".to_vec()),
        ("f435w/9490/a3/1_1.npy", exposure(3, 3)),
        ("f435w/9442/1/1_1.npy", exposure(4, 3)),
        ("f606w/13737/3/1_1.npy", exposure(5, 3)),
    ]
}

fn test() -> Vec<(&'static str, Vec<u8>)> {
    vec![("f435w/10182/pb/1_1.npy", exposure(6, 2))]
}

struct Place(tempfile::TempDir);

impl Place {
    /// The trees as folders, one level below the raw folder.
    fn new() -> Place {
        let place = Place::empty();
        train().iter().for_each(|(name, bytes)| place.put(&format!("cosmic/npy_train/{name}"), bytes));
        test().iter().for_each(|(name, bytes)| place.put(&format!("cosmic/npy_test/{name}"), bytes));
        place
    }

    fn empty() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// With the training images packed, and the test images as a folder.
    fn packed(archive: &[u8]) -> Place {
        let place = Place::empty();
        place.put("deepCR.ACS-WFC.train.tar", archive);
        test().iter().for_each(|(name, bytes)| place.put(&format!("npy_test/{name}"), bytes));
        place
    }

    fn raw(&self) -> PathBuf {
        self.0.path().join("raw")
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        dash_store::publish_file(&self.raw().join(name), bytes).unwrap();
    }

    fn dataset(&self, more: serde_json::Value) -> Dataset {
        let mut value = serde_json::json!({"recipe": "cosmic", "raw": self.raw(), "validation": 1});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn try_ingest(&self, more: serde_json::Value, protocol: Protocol) -> Result<DatasetCard, Error> {
        let mut staging = Staging::begin(&self.0.path().join("dataset"))?;
        let card = ingest(&self.dataset(more), protocol, &mut staging, &Silent)?;
        staging.publish()?;
        Ok(card)
    }

    fn ingest(&self) -> DatasetCard {
        self.try_ingest(serde_json::json!({}), Protocol::Strict).unwrap()
    }

    fn folder(&self) -> DatasetFolder {
        DatasetFolder::open(&self.0.path().join("dataset")).unwrap()
    }

    fn refusal(&self) -> String {
        let error = self.try_ingest(serde_json::json!({}), Protocol::Strict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        assert!(error.hint().is_some());
        error.to_string()
    }

    fn bad_setting(&self, more: serde_json::Value) -> String {
        let error = self.try_ingest(more, Protocol::Strict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        error.to_string()
    }
}

/// The plane cut to rows 1..4 and columns 2..6: the centre of half the size.
fn centre<T: Copy>(plane: &[T]) -> Vec<T> {
    (1..4).flat_map(|row| plane[row * COLUMNS + 2..row * COLUMNS + 6].to_vec()).collect()
}

#[test]
fn images_are_cut_split_and_labelled_as_documented() {
    let place = Place::new();
    let card = place.ingest();
    assert_eq!(card.input.shape, [1, 3, 4]);
    assert_eq!((card.target.outputs(), card.target.is_dense()), (1, true));
    assert_eq!(card.background.as_deref(), Some("sky"));
    // Images of the wanted fields, and their sky levels.
    let names: Vec<&str> = card.sources.iter().map(|source| source.path.as_str()).collect();
    assert_eq!(names.len(), 7);
    assert!(
        names.contains(&"cosmic/npy_train/f435w/10760/2/sky.npy") && names[6].contains("10182/pb/1_1.npy")
    );
    assert!(!names.iter().any(|name| name.contains("9442") || name.contains("f606w")));
    let found = sources(&place.dataset(serde_json::json!({}))).unwrap();
    assert_eq!(found.len(), 7);
    assert!(found.iter().all(|path| path.is_file()));

    let folder = place.folder();
    let rows = |split| folder.split(split).unwrap().len();
    assert_eq!(Split::ALL.map(rows), [3, 1, 1]);
    // numpy.random.RandomState(0).permutation(4) = 2 3 1 0: the last is held out.
    let batch = folder.split(Split::Validation).unwrap().gather(&[0]).unwrap();
    assert_eq!(batch.background, [10.0]);
    let whole = planes(0, 3);
    assert_eq!(batch.input, centre(&whole[..ROWS * COLUMNS]));
    let Targets::Mask { values, ignore } = batch.target else { panic!("a mask is expected") };
    let bytes = |plane: usize| -> Vec<u8> {
        centre(&whole[plane * ROWS * COLUMNS..(plane + 1) * ROWS * COLUMNS])
            .iter()
            .map(|&v| v as u8)
            .collect()
    };
    assert_eq!((values, ignore), (bytes(1), bytes(2)));

    let batch = folder.split(Split::Train).unwrap().gather(&[2, 0, 1]).unwrap();
    // The third exposure of its visit has the third level; a visit without levels has none to add.
    assert_eq!(batch.background, [0.0, 11.0, 3.5]);
    let firsts: Vec<f32> = batch.input.iter().step_by(12).copied().collect();
    assert_eq!(firsts, [3, 1, 2].map(|image| pixel(image, COLUMNS + 2)));

    // Two planes: nothing is ignored.
    let batch = folder.split(Split::Test).unwrap().gather(&[0]).unwrap();
    let Targets::Mask { values, ignore } = batch.target else { panic!("a mask is expected") };
    assert_eq!((values.iter().sum::<u8>(), ignore), (4, vec![0; 12]));
    let shares = &card.notes["pixel_shares"];
    assert_eq!(shares["test"], serde_json::json!({"hit": 4.0 / 12.0, "ignored": 0.0}));
}

#[test]
fn the_paper_protocol_keeps_the_three_parts_and_tunes_on_all_training_images() {
    let (strict, paper) = (Place::new(), Place::new());
    let expected = strict.ingest();
    let card = paper.try_ingest(serde_json::json!({}), Protocol::Paper).unwrap();
    for split in [Split::Validation, Split::Test] {
        assert_eq!(card.splits[&split], expected.splits[&split]);
    }
    let folder = paper.folder();
    let train = folder.split(Split::Train).unwrap();
    assert_eq!(train.tuning_rows(), Some(&[0, 1, 2][..]));
}

#[test]
fn filter_fields_crop_and_trees_have_keys() {
    let place = Place::new();
    let more =
        serde_json::json!({"filter": "f606w", "fields": [], "crop": 5, "train_tree": "cosmic/npy_train"});
    let error = place.try_ingest(more, Protocol::Strict).unwrap_err().to_string();
    assert!(error.contains("npy_test") && error.contains("it has f435w/10182_pb"), "{error}");
    let more = serde_json::json!({"fields": ["9442_1", "10760_2", "10182_pb"], "crop": 5});
    let card = place.try_ingest(more, Protocol::Strict).unwrap();
    assert_eq!(card.input.shape, [1, 5, 5]);
    assert_eq!(card.splits[&Split::Train].rows, 2);
    let more = serde_json::json!({"train_tree": "npy"});
    let error = place.try_ingest(more, Protocol::Strict).unwrap_err().to_string();
    assert!(error.ends_with("npy: there is no such folder or archive"), "{error}");
}

#[test]
fn impossible_settings_name_their_key() {
    let place = Place::new();
    assert!(
        place.bad_setting(serde_json::json!({"crop": 7})).contains("`dataset.crop`: 7 x 7 pixels of 6 x 8")
    );
    assert!(place.bad_setting(serde_json::json!({"crop": 0})).contains("`dataset.crop`"));
    assert!(place.bad_setting(serde_json::json!({"validation": 0})).contains("`dataset.validation`"));
}

#[test]
fn bad_trees_and_images_are_refused() {
    let place = Place::empty();
    assert!(place.refusal().contains("no such folder"));
    place.put("notes.txt", b"x");
    assert!(place.refusal().contains("neither a folder `npy_train` nor a file `deepCR.ACS-WFC.train.tar`"));
    place.put("npy_train/f435w/1_1.npy", &exposure(0, 3));
    assert!(place.refusal().contains("has no images named like"));
    place.put("npy_train/f606w/13737/3/1_1.npy", &exposure(0, 3));
    let message = place.refusal();
    assert!(message.contains("\"f435w\"") && message.contains("it has f606w/13737_3"), "{message}");
    place.put("a/npy_train/x", b"x");
    let message = place.refusal();
    assert!(message.contains("`dataset.train_tree` must name one"), "{message}");

    let refusal = |name: &str, bytes: &[u8]| {
        let place = Place::new();
        place.put(&format!("cosmic/npy_train/f435w/{name}"), bytes);
        place.refusal()
    };
    let image = |change: fn(&mut Vec<f32>)| {
        let mut values = planes(1, 3);
        change(&mut values);
        npy_f32(&[3, ROWS, COLUMNS], &values)
    };
    let name = "10760/2/2_1.npy";
    let whole = exposure(1, 3);
    for (bytes, words) in [
        (&whole[..whole.len() - 1], "follow its header"),
        (b"\x80\x02}.", "file ends early"),
        (&npy_f32(&[ROWS, COLUMNS], &planes(1, 3)[..48]), "field `image`: has shape [6, 8]"),
        (&npy_f32(&[4, 3, 12], &[planes(1, 3), vec![0.0; 0]].concat()), "has shape [4, 3, 12]"),
        (&npy_f32(&[3, COLUMNS, ROWS], &planes(1, 3)), "is 8 x 6, the first training image is 6 x 8"),
        (&image(|v| v[COLUMNS + 2] = f32::NAN), "field `image`: pixel (1, 2) is not a finite number"),
        (&image(|v| v[48 + 3 * COLUMNS + 5] = 0.5), "field `mask`: pixel (3, 5) is neither 0 nor 1"),
        (&image(|v| v[96 + 2 * COLUMNS + 3] = 2.0), "field `ignore`: pixel (2, 3) is neither 0 nor 1"),
    ] {
        let message = refusal(name, bytes);
        assert!(message.contains("2_1.npy") && message.contains(words), "{message}");
    }
    let sky = "10760/2/sky.npy";
    for (bytes, words) in [
        (levels(&[10.0]), "has 1 levels, none for `2_1.npy`"),
        (levels(&[10.0, f64::NAN]), "the level of `2_1.npy` is not finite"),
        (npy_f32(&[1, 2], &[1.0, 2.0]), "has shape [1, 2]"),
    ] {
        let message = refusal(sky, &bytes);
        assert!(message.contains("field `sky`") && message.contains(words), "{message}");
    }
    let message = refusal("10760/2/first.npy", &whole);
    assert!(message.contains("none for `first.npy`"), "{message}");
}

fn header(size: usize, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size as u64);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header
}

/// The training tree as an archive; `more` adds members.
fn archive(more: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(vec![]);
    for (name, bytes) in train() {
        let mut header = header(bytes.len(), EntryType::Regular);
        builder.append_data(&mut header, format!("./npy_train/{name}"), bytes.as_slice()).unwrap();
    }
    more(&mut builder);
    builder.into_inner().unwrap()
}

/// A member whose name is written as it is.
fn member(builder: &mut Builder<Vec<u8>>, name: &[u8], kind: EntryType, link: &str) {
    let mut header = header(0, kind);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    if !link.is_empty() {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    builder.append(&header, std::io::empty()).unwrap();
}

#[test]
fn archives_are_read_in_place_and_give_the_same_bytes() {
    let (folder, packed) = (Place::new(), Place::packed(&archive(|_| {})));
    let (expected, found) = (folder.ingest(), packed.ingest());
    assert_eq!(found.splits, expected.splits);
    assert_eq!(found.sources[0].path, "deepCR.ACS-WFC.train.tar");
    assert_eq!(sources(&packed.dataset(serde_json::json!({}))).unwrap().len(), 2);
    // As when an archive is unpacked, the last member of a name counts.
    let twice = archive(|builder| {
        let bytes = exposure(9, 3);
        let mut header = header(bytes.len(), EntryType::Regular);
        builder.append_data(&mut header, "npy_train/f435w/10760/2/1_1.npy", bytes.as_slice()).unwrap();
    });
    let place = Place::packed(&twice);
    place.ingest();
    let batch = place.folder().split(Split::Validation).unwrap().gather(&[0]).unwrap();
    assert_eq!(batch.input[0], pixel(9, COLUMNS + 2));
}

#[test]
fn damaged_archives_and_paths_out_of_them_are_refused() {
    let refusal = |bytes: &[u8]| {
        let message = Place::packed(bytes).refusal();
        assert!(message.contains("deepCR.ACS-WFC.train.tar"), "{message}");
        message
    };
    let with = |name: &'static [u8], kind, link: &'static str| {
        refusal(&archive(|builder| member(builder, name, kind, link)))
    };
    let file = EntryType::Regular;
    assert!(with(b"../outside.txt", file, "").contains("member `../outside.txt` points out of the archive"));
    assert!(with(b"npy_train/../../x", file, "").contains("points out"));
    assert!(with(b"/etc/f435w/1/1_1.npy", file, "").contains("points out"));
    let image = b"npy_train/f435w/10760/2/7_1.npy";
    assert!(with(image, EntryType::Symlink, "/etc/passwd").contains("7_1.npy` is a link"));
    assert!(with(image, EntryType::Link, "x").contains("7_1.npy` is a link"));

    let whole = archive(|_| {});
    let message = refusal(&whole[..1000]);
    assert!(message.contains("ends early, in member `") && message.contains("10760/2/1_1.npy"), "{message}");
    // Inside the header of the second member.
    let second = 512 + exposure(0, 3).len().next_multiple_of(512);
    assert!(refusal(&whole[..second + 100]).contains("not a complete tar archive"));
    let mut damaged = whole.clone();
    damaged[second + 3] ^= 0x20;
    assert!(refusal(&damaged).contains("not a complete tar archive"));
    assert!(refusal(&[]).contains("has no images"));
}

#[test]
fn a_card_must_describe_its_masks_and_background() {
    let place = Place::new();
    place.ingest();
    let folder = place.0.path().join("dataset");
    let card: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("dataset.json")).unwrap()).unwrap();
    for (key, value, words) in [
        (
            "/target/ignore/shape",
            serde_json::json!([1, 4, 3]),
            "column `ignore` has shape [1, 4, 3], column `target`",
        ),
        ("/target/element", "f32".into(), "column `target` has elements of type F32; this version reads U8"),
        (
            "/target/column",
            "input".into(),
            "column `input` is not a tensor of shape [1, 3, 4] and type UInt8",
        ),
        ("/target/ignore/column", "other".into(), "has no column `other`"),
        ("/background", "other".into(), "has no column `other`"),
        ("/background", "image".into(), "column `image` is Int64, not Float32"),
    ] {
        let mut changed = card.clone();
        *changed.pointer_mut(key).unwrap() = value;
        dash_store::publish_file(&folder.join("dataset.json"), changed.to_string().as_bytes()).unwrap();
        let error = DatasetFolder::open(&folder).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains(words), "{error}");
    }
}
