//! The recipes of classified samples: what they make of small files, and every bad input.

use super::*;
use crate::testing::{npy, npy_f32, npy_i64};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

pub(super) fn dataset(place: &Place, recipe: &str, more: Value) -> Dataset {
    let mut value = json!({"recipe": recipe, "raw": place.raw()});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

// Pickles of protocol 2 as Python 2 and numpy 1 wrote them.

fn short(out: &mut Vec<u8>, text: &str) {
    out.extend([b'U', text.len() as u8]);
    out.extend(text.as_bytes());
}

/// A numpy array; `code` like `<f8` or `|u1`.
pub(super) fn array(code: &str, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut out = start_of_array(code, shape);
    out.push(b'T');
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
    out.extend(b"tb");
    out
}

pub(super) fn start_of_array(code: &str, shape: &[usize]) -> Vec<u8> {
    let (order, code) = code.split_at(1);
    let mut out =
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01(".to_vec();
    for &axis in shape {
        out.push(b'J');
        out.extend((axis as i32).to_le_bytes());
    }
    out.extend(b"tcnumpy\ndtype\n");
    short(&mut out, code);
    out.extend(b"K\0K\x01\x87R(K\x03");
    short(&mut out, order);
    out.extend(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89");
    out
}

/// {name: value, ...}
pub(super) fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"}(".to_vec();
    for (name, value) in entries {
        short(&mut out, name);
        out.extend(value);
    }
    out.push(b'u');
    out
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [&b"]("[..], &items.concat(), b"e"].concat()
}

fn ints(values: &[i64]) -> Vec<u8> {
    array("<i8", &[values.len()], &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

fn small(values: &[u8]) -> Vec<u8> {
    list(&values.iter().map(|&v| vec![b'K', v]).collect::<Vec<_>>())
}

pub(super) fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// What numpy.save makes of a dict.
fn object_npy(value: &[u8]) -> Vec<u8> {
    let object = [&start_of_array("|O8", &[])[..], b"](", value, b"etb"].concat();
    npy("|O", false, &[], &pickle(&object))
}

/// Splits and rows that an ingestion made: input and class by id.
fn rows(place: &Place, split: Split) -> Vec<(Vec<f32>, i64)> {
    let folder = DatasetFolder::open(&place.target()).unwrap();
    let data = folder.split(split).unwrap();
    let batch = data.gather(&(0..data.len()).collect::<Vec<_>>()).unwrap();
    let BatchTarget::Class(classes) = batch.target else { panic!("classes are expected") };
    let length = batch.input.len() / batch.rows;
    batch.input.chunks(length).map(<[f32]>::to_vec).zip(classes).collect()
}

fn tuning(place: &Place) -> Option<Vec<usize>> {
    let folder = DatasetFolder::open(&place.target()).unwrap();
    folder.split(Split::Train).unwrap().tuning_rows().map(<[usize]>::to_vec)
}

// Satellite

/// Series n is n, n + 0.5, n + 1; labels run from 1 to 3.
fn satellite_file(samples: usize) -> Vec<u8> {
    let values: Vec<f64> = (0..samples * 3).map(|k| (k / 3) as f64 + 0.5 * (k % 3) as f64).collect();
    let labels: Vec<i64> = (0..samples).map(|n| n as i64 % 3 + 1).collect();
    satellite(&values, &labels)
}

fn satellite(values: &[f64], labels: &[i64]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let data = array("<f8", &[values.len() / 3, 3], &bytes);
    object_npy(&dict(&[("data", data), ("label", ints(labels))]))
}

#[test]
fn satellite_series_keep_their_values_and_labels_start_at_zero() {
    for protocol in [Protocol::Strict, Protocol::Paper] {
        let place = Place::new();
        place.put("satellite_train.npy", &satellite_file(10));
        place.put("sub/satellite_test.npy", &satellite_file(4));
        let card = place
            .ingest(&dataset(&place, "satellite", json!({"validation_fraction": 0.2})), protocol)
            .unwrap();
        assert_eq!(card.input.shape, [1, 3]);
        assert_eq!(card.sources[1].path, "sub/satellite_test.npy");
        let dash_core::card::Target::Class { labels, .. } = &card.target else { panic!() };
        assert_eq!(labels, &["1", "2", "3"]);
        // The last two of permutation(10) = 2 8 4 9 1 6 7 3 0 5 are for validation.
        let row = |n: usize| (vec![n as f32, n as f32 + 0.5, n as f32 + 1.0], n as i64 % 3);
        assert_eq!(rows(&place, Split::Validation), [row(0), row(5)]);
        assert_eq!(rows(&place, Split::Test), (0..4).map(row).collect::<Vec<_>>());
        let train: Vec<usize> = match protocol {
            Protocol::Strict => vec![1, 2, 3, 4, 6, 7, 8, 9],
            Protocol::Paper => (0..10).collect(),
        };
        assert_eq!(rows(&place, Split::Train), train.into_iter().map(row).collect::<Vec<_>>());
        let expected = (protocol == Protocol::Paper).then(|| vec![1, 2, 3, 4, 6, 7, 8, 9]);
        assert_eq!(tuning(&place), expected);
    }
    let place = Place::new();
    place.put("satellite_train.npy", &satellite_file(20));
    place.put("satellite_test.npy", &satellite_file(4));
    place.ingest(&dataset(&place, "satellite", json!({"standardise": true})), Protocol::Strict).unwrap();
    let deviation = (1.0f64 / 6.0).sqrt();
    for (series, _) in rows(&place, Split::Test) {
        for (value, expected) in series.iter().zip([-0.5, 0.0, 0.5]) {
            assert!((f64::from(*value) - expected / deviation).abs() < 1e-6);
        }
    }
}

#[test]
fn bad_satellite_files_are_refused() {
    let place = Place::new();
    let wanted = dataset(&place, "satellite", json!({}));
    assert!(place.refusal(&wanted).contains("no such folder"));
    place.put("satellite_train.npy", &satellite_file(20));
    assert!(place.refusal(&wanted).contains("satellite_test.npy: there is no such file; the folder holds"));
    place.put("a/satellite_test.npy", &satellite_file(4));
    place.put("b/satellite_test.npy", &satellite_file(4));
    assert!(place.refusal(&wanted).contains("several files have this name"));

    let wanted = dataset(&place, "satellite", json!({"test_file": "a/satellite_test.npy"}));
    let refusal = |bytes: &[u8]| {
        place.put("a/satellite_test.npy", bytes);
        place.refusal(&wanted)
    };
    let whole = satellite_file(4);
    assert!(refusal(&whole[..whole.len() / 2]).contains("ends early"));
    assert!(refusal(&npy_f32(&[4, 3], &[0.0; 12])).contains("objects are expected"));
    assert!(refusal(&object_npy(&list(&[]))).contains("the file holds a list of 0; a dict is expected"));
    assert!(refusal(&object_npy(&dict(&[("data", ints(&[1]))]))).contains("field `data`: is an array"));
    let data = || array("<f8", &[2, 3], &[0; 48]);
    assert!(
        refusal(&object_npy(&dict(&[("data", data())]))).contains("no field `label`; the file has `data`")
    );
    let message = refusal(&object_npy(&dict(&[("data", data()), ("label", ints(&[1, 2, 3]))])));
    assert!(message.contains("field `label`: 3 labels for the 2 samples of `data`"), "{message}");
    let message = refusal(&satellite(&[0.0, 1.0, 2.0, 3.0, f64::NAN, 5.0], &[1, 2]));
    assert!(message.contains("field `data[1]`: element 1 is not a finite number"), "{message}");
    assert!(refusal(&satellite(&[0.0; 6], &[1, -2])).contains("field `label[1]`: the label -2 is negative"));
    assert!(refusal(&satellite(&[0.0; 6], &[1, 1 << 40])).contains("field `label[1]`"));
    let narrow = array("<f8", &[3, 2], &[0; 48]);
    let message = refusal(&object_npy(&dict(&[("data", narrow), ("label", ints(&[1, 2, 3]))])));
    assert!(message.contains("series of length 2, those of the training file have 3"), "{message}");
    // Nothing that a pickle asks for is executed.
    let evil = npy("|O", false, &[], b"\x80\x02cposix\nsystem\nU\x02id\x85R.");
    assert!(refusal(&evil).contains("posix.system"));
}

// NinaPro

/// Windows of 4 times and `channels` channels: value = 100 sample + 10 time + channel.
fn windows(samples: usize, channels: usize) -> Vec<u8> {
    let values: Vec<f32> = (0..samples * 4 * channels)
        .map(|k| (100 * (k / (4 * channels)) + 10 * (k / channels % 4) + k % channels) as f32)
        .collect();
    npy_f32(&[samples, 4, channels], &values)
}

fn put_ninapro(place: &Place, channels: usize) {
    for (part, samples) in [("train", 5), ("val", 3), ("test", 2)] {
        place.put(&format!("ninaPro/ninapro_{part}.npy"), &windows(samples, channels));
        let labels: Vec<i64> = (0..samples as i64).map(|n| n % 3).collect();
        place.put(&format!("ninaPro/label_{part}.npy"), &npy_i64(&[samples], &labels));
    }
}

#[test]
fn ninapro_windows_become_planes_of_electrodes_and_time() {
    for channels in [2, 3] {
        let place = Place::new();
        put_ninapro(&place, channels);
        let card = place.ingest(&dataset(&place, "ninapro", json!({})), Protocol::Strict).unwrap();
        assert_eq!(card.input.shape, [1, channels, 4]);
        assert_eq!(card.target.outputs(), 3);
        assert_eq!(card.sources.len(), 6);
        assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [5, 3, 2]);
        let (input, class) = rows(&place, Split::Test)[1].clone();
        let expected: Vec<f32> =
            (0..channels).flat_map(|c| (0..4).map(move |t| (100 + 10 * t + c) as f32)).collect();
        assert_eq!((input, class), (expected, 1));
    }
    let place = Place::new();
    put_ninapro(&place, 2);
    let card = place.ingest(&dataset(&place, "ninapro", json!({})), Protocol::Paper).unwrap();
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [8, 3, 2]);
    assert_eq!(tuning(&place).unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(rows(&place, Split::Train)[5..], rows(&place, Split::Validation));
}

#[test]
fn bad_ninapro_files_are_refused() {
    let place = Place::new();
    let wanted = dataset(&place, "ninapro", json!({}));
    put_ninapro(&place, 2);
    let refusal = |name: &str, bytes: &[u8]| {
        let path = format!("ninaPro/{name}");
        let before = std::fs::read(place.raw().join(&path)).unwrap();
        place.put(&path, bytes);
        let message = place.refusal(&wanted);
        place.put(&path, &before);
        assert!(message.contains(name), "{message}");
        message
    };
    assert!(refusal("ninapro_val.npy", &windows(3, 4)).contains("windows of 4 times and 4 channels"));
    assert!(refusal("ninapro_val.npy", &windows(2, 2)).contains("3 labels for the 2 samples"));
    assert!(refusal("ninapro_val.npy", &windows(3, 2)[..200]).contains("follow its header"));
    assert!(refusal("ninapro_val.npy", &npy_f32(&[3, 8], &[0.0; 24])).contains("(samples, time, channels)"));
    assert!(refusal("ninapro_val.npy", &npy_f32(&[0, 4, 2], &[])).contains("there are no windows"));
    assert!(
        refusal("label_val.npy", &npy_f32(&[3], &[0.0, 0.5, 1.0])).contains("row 1 holds something else")
    );
    assert!(refusal("label_val.npy", &npy_i64(&[3, 1], &[0, 1, 2])).contains("one label per sample"));
    assert!(refusal("label_test.npy", &npy_i64(&[2], &[0, -1])).contains("the label -1 is negative"));
    let mut values = [0.0; 24];
    values[13] = f32::INFINITY;
    let message = refusal("ninapro_val.npy", &npy_f32(&[3, 4, 2], &values));
    assert!(message.contains("field `array[1]`: element 5 is not a finite number"), "{message}");
    dash_store::remove(&place.raw().join("ninaPro/label_val.npy")).unwrap();
    assert!(place.refusal(&wanted).contains("`dataset.validation_label_file` can name another"));
}

// CIFAR-100

/// Images of 2 x 2 pixels: value k of image n is n + 20 k.
fn cifar_file(samples: usize, labels: &[u8]) -> Vec<u8> {
    let bytes: Vec<u8> = (0..samples * 12).map(|k| (k / 12 + 20 * (k % 12)) as u8).collect();
    pickle(&dict(&[("data", array("|u1", &[samples, 12], &bytes)), ("fine_labels", small(labels))]))
}

fn meta() -> Vec<u8> {
    let names = ["apple", "bear", "crab"].map(|name| {
        let mut out = vec![];
        short(&mut out, name);
        out
    });
    pickle(&dict(&[("fine_label_names", list(&names))]))
}

fn cifar_files() -> [(&'static str, Vec<u8>); 3] {
    [
        ("train", cifar_file(10, &[0, 1, 2, 0, 1, 2, 0, 1, 2, 0])),
        ("test", cifar_file(3, &[2, 1, 0])),
        ("meta", meta()),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        // Names that the library would not write.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn cifar_is_read_unpacked_and_packed_and_normalised() {
    let wanted = json!({"mean": [0.5, 0.25, 0.0], "deviation": [0.5, 0.5, 2.0]});
    let unpacked = Place::new();
    for (name, bytes) in cifar_files() {
        unpacked.put(&format!("cifar-100-python/{name}"), &bytes);
    }
    let card = unpacked.ingest(&dataset(&unpacked, "cifar100", wanted.clone()), Protocol::Strict).unwrap();
    assert_eq!(card.input.shape, [3, 2, 2]);
    let dash_core::card::Target::Class { labels, .. } = &card.target else { panic!() };
    assert_eq!(labels, &["apple", "bear", "crab"]);
    assert_eq!(card.notes["padding_value"], json!([-1.0, -0.5, 0.0]));
    // The first two of permutation(10) are 2 and 8.
    let validation = rows(&unpacked, Split::Validation);
    assert_eq!(validation.iter().map(|(_, class)| *class).collect::<Vec<_>>(), [2, 2]);
    let expected: Vec<f32> = (0..12)
        .map(|k| {
            let (mean, deviation) = [(0.5, 0.5), (0.25, 0.5), (0.0, 2.0)][k / 4];
            ((f64::from(2 + 20 * k as u8) / 255.0 - mean) / deviation) as f32
        })
        .collect();
    for (value, expected) in validation[0].0.iter().zip(expected) {
        assert!((value - expected).abs() < 1e-6);
    }
    // Bytes stay bytes on disk.
    assert_eq!(card.input.element, dash_core::card::ElementType::U8);

    let packed = Place::new();
    let files = cifar_files().map(|(name, bytes)| (format!("cifar-100-python/{name}"), bytes));
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    packed.put("cifar-100-python.tar.gz", &gzip(&tar(&files)));
    let other = packed.ingest(&dataset(&packed, "cifar100", wanted), Protocol::Strict).unwrap();
    assert_eq!(other.splits, card.splits);
    assert_eq!(other.sources[0].path, "cifar-100-python.tar.gz");

    let paper = Place::new();
    for (name, bytes) in cifar_files() {
        paper.put(name, &bytes);
    }
    paper.ingest(&dataset(&paper, "cifar100", json!({})), Protocol::Paper).unwrap();
    assert_eq!(tuning(&paper).unwrap(), [0, 1, 3, 4, 5, 6, 7, 9]);
    assert_eq!(rows(&paper, Split::Train).len(), 10);
}

#[test]
fn bad_cifar_files_are_refused() {
    let place = Place::new();
    let wanted = dataset(&place, "cifar100", json!({}));
    place.put("notes.txt", b"x");
    assert!(place.refusal(&wanted).contains("cifar-100-python.tar.gz: there is no such file"));
    let archive = |bytes: &[u8]| {
        place.put("cifar-100-python.tar.gz", bytes);
        place.refusal(&wanted)
    };
    let whole = gzip(&tar(&cifar_files()));
    for length in [0, 10, whole.len() / 2, whole.len() - 1] {
        assert!(archive(&whole[..length]).contains("cifar-100-python.tar.gz: "), "{length}");
    }
    let [train, test, meta] = cifar_files();
    let message = archive(&gzip(&tar(&[train.clone(), meta.clone()])));
    assert!(message.contains("there is no member `test`"), "{message}");
    let message = archive(&gzip(&tar(&[("../train", train.1.clone())])));
    assert!(message.contains("member \"../train\" points out of the archive"), "{message}");
    let message = archive(&gzip(&tar(&[("/train", train.1.clone())])));
    assert!(message.contains("points out of the archive"), "{message}");
    let message = archive(&gzip(&tar(&[train.clone(), train.clone()])));
    assert!(message.contains("several members \"train\""), "{message}");
    for bomb in [vec![0; 70 << 20], tar(&[("train", vec![0; 70 << 20])])] {
        let message = archive(&gzip(&bomb));
        assert!(message.contains("unpacks to more than 67108864 bytes"), "{message}");
    }

    let refusal = |name: &str, bytes: &[u8]| {
        for (other, whole) in [&train, &test, &meta] {
            place.put(&format!("cifar/{other}"), if *other == name { bytes } else { whole });
        }
        let message = place.refusal(&wanted);
        assert!(message.contains(&format!("cifar/{name}")), "{message}");
        message
    };
    assert!(refusal("test", &cifar_file(3, &[0, 1])).contains("2 labels for the 3 samples"));
    let message = refusal("test", &cifar_file(3, &[0, 3, 1]));
    assert!(
        message.contains("field `fine_labels[1]`: the label 3 has no name; there are 3 names"),
        "{message}"
    );
    let odd = |length: usize| {
        let data = array("|u1", &[1, length], &vec![0; length]);
        pickle(&dict(&[("data", data), ("fine_labels", small(&[0]))]))
    };
    assert!(refusal("test", &odd(13)).contains("not that of square images"));
    assert!(refusal("test", &odd(27)).contains("images of 9 pixels, those of the training file have 4"));
    assert!(refusal("meta", &pickle(&dict(&[]))).contains("no field `fine_label_names`"));
    assert!(refusal("train", b"\x80\x02cos\nsystem\nU\x02id\x85R.").contains("os.system"));
    dash_store::remove(&place.raw().join("cifar/meta")).unwrap();
    assert!(place.refusal(&wanted).contains("cifar/meta: there is no such file"));
}

#[test]
fn cifar_of_other_numbers_is_stored_as_networks_see_it() {
    let wanted = json!({"mean": [0.5, 0.25, 0.0], "deviation": [0.5, 0.5, 2.0]});
    let (bytes, singles) = (Place::new(), Place::new());
    for (name, file) in cifar_files() {
        bytes.put(name, &file);
        singles.put(name, &file);
    }
    let values: Vec<u8> = (0..36).flat_map(|k| ((k / 12 + 20 * (k % 12)) as f32).to_le_bytes()).collect();
    let data = array("<f4", &[3, 12], &values);
    singles.put("test", &pickle(&dict(&[("data", data), ("fine_labels", small(&[2, 1, 0]))])));
    bytes.ingest(&dataset(&bytes, "cifar100", wanted.clone()), Protocol::Strict).unwrap();
    let card = singles.ingest(&dataset(&singles, "cifar100", wanted), Protocol::Strict).unwrap();
    assert_eq!((card.input.element, card.input_scaling), (dash_core::card::ElementType::F32, None));
    for split in Split::ALL {
        assert_eq!(rows(&bytes, split), rows(&singles, split));
    }
}

/// The files of CIFAR-10: five batches of two images, a test batch of three, and names.
fn cifar10_files() -> Vec<(String, Vec<u8>)> {
    let batch = |first: usize, labels: &[u8]| {
        let samples = labels.len();
        let bytes: Vec<u8> = (0..samples * 12).map(|k| (first + k / 12 + 20 * (k % 12)) as u8).collect();
        pickle(&dict(&[("data", array("|u1", &[samples, 12], &bytes)), ("labels", small(labels))]))
    };
    let mut files: Vec<(String, Vec<u8>)> = (0..5)
        .map(|n| (format!("data_batch_{}", n + 1), batch(2 * n, &[2 * n as u8 % 3, (2 * n + 1) as u8 % 3])))
        .collect();
    files.push(("test_batch".to_owned(), batch(0, &[2, 1, 0])));
    let names = ["plane", "bird", "frog"].map(|name| {
        let mut out = vec![];
        short(&mut out, name);
        out
    });
    files.push(("batches.meta".to_owned(), pickle(&dict(&[("label_names", list(&names))]))));
    files
}

#[test]
fn cifar10_batches_are_one_training_set() {
    let wanted = json!({"mean": [0.0, 0.0, 0.0], "deviation": [1.0, 1.0, 1.0]});
    let unpacked = Place::new();
    for (name, bytes) in cifar10_files() {
        unpacked.put(&format!("cifar-10-batches-py/{name}"), &bytes);
    }
    let card = unpacked.ingest(&dataset(&unpacked, "cifar10", wanted.clone()), Protocol::Strict).unwrap();
    assert_eq!((card.recipe.as_str(), card.sources.len()), ("cifar10", 7));
    let dash_core::card::Target::Class { labels, .. } = &card.target else { panic!() };
    assert_eq!(labels, &["plane", "bird", "frog"]);
    // The first two of permutation(10) are 2 and 8: image n begins with n / 255.
    let image = |n: usize| (n as i64, (n % 3) as i64);
    let found = |split| {
        let first = |(input, class): (Vec<f32>, i64)| ((255.0 * input[0]).round() as i64, class);
        rows(&unpacked, split).into_iter().map(first).collect::<Vec<_>>()
    };
    assert_eq!(found(Split::Validation), [2, 8].map(image));
    assert_eq!(found(Split::Train), [0, 1, 3, 4, 5, 6, 7, 9].map(image));

    let packed = Place::new();
    let files: Vec<(String, Vec<u8>)> = cifar10_files()
        .into_iter()
        .map(|(name, bytes)| (format!("cifar-10-batches-py/{name}"), bytes))
        .collect();
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    packed.put("cifar-10-python.tar.gz", &gzip(&tar(&files)));
    let other = packed.ingest(&dataset(&packed, "cifar10", wanted), Protocol::Strict).unwrap();
    assert_eq!(other.splits, card.splits);

    let refusal = |name: &str, bytes: Vec<u8>| {
        for (other, whole) in cifar10_files() {
            unpacked
                .put(&format!("cifar-10-batches-py/{other}"), if other == name { &bytes } else { &whole });
        }
        dash_store::remove(&unpacked.target()).unwrap();
        unpacked.refusal(&dataset(&unpacked, "cifar10", json!({})))
    };
    let one = |length: usize, label: u8| {
        let data = array("|u1", &[1, length], &vec![0; length]);
        pickle(&dict(&[("data", data), ("labels", small(&[label]))]))
    };
    let message = refusal("data_batch_3", one(27, 0));
    assert!(message.contains("data_batch_3") && message.contains("images of 9 pixels"), "{message}");
    let message = refusal("data_batch_5", one(12, 3));
    assert!(message.contains("data_batch_5: field `labels[0]`: the label 3 has no name"), "{message}");
    let message = refusal("test_batch", one(27, 0));
    assert!(message.contains("images of 9 pixels, those of the training file have 4"), "{message}");
    let message = refusal("batches.meta", pickle(&dict(&[])));
    assert!(message.contains("no field `label_names`"), "{message}");
    dash_store::remove(&unpacked.raw().join("cifar-10-batches-py/data_batch_4")).unwrap();
    let message = unpacked.refusal(&dataset(&unpacked, "cifar10", json!({})));
    assert!(message.contains("data_batch_4: there is no such file"), "{message}");
}

#[test]
fn permuted_images_have_rows_and_columns_in_bit_reversed_order() {
    let image = |place: &Place, permuted: bool| {
        let wanted = json!({"permuted": permuted, "mean": [0.0, 0.0, 0.0], "deviation": [1.0, 1.0, 1.0]});
        let card = place.ingest(&dataset(place, "cifar100", wanted), Protocol::Strict).unwrap();
        (rows(place, Split::Test)[0].0.iter().map(|v| v * 255.0).collect::<Vec<f32>>(), card)
    };
    let place = Place::new();
    let file = |samples: usize, side: usize| {
        let length = 3 * side * side;
        let bytes: Vec<u8> = (0..samples * length).map(|k| (k % length) as u8).collect();
        let labels: Vec<u8> = (0..samples).map(|n| n as u8 % 3).collect();
        pickle(&dict(&[("data", array("|u1", &[samples, length], &bytes)), ("fine_labels", small(&labels))]))
    };
    place.put("train", &file(10, 4));
    place.put("test", &file(1, 4));
    place.put("meta", &meta());
    let (plain, card) = image(&place, false);
    assert!(!card.notes.contains_key("row_order"));
    let (permuted, card) = image(&place, true);
    assert_eq!(card.notes["row_order"], json!([0, 2, 1, 3]));
    assert_eq!(card.notes["column_order"], json!([0, 2, 1, 3]));
    let order = [0usize, 2, 1, 3];
    let expected: Vec<f32> =
        (0..48).map(|k| plain[k / 16 * 16 + order[k / 4 % 4] * 4 + order[k % 4]]).collect();
    assert_eq!(permuted, expected);
    place.put("train", &file(10, 3));
    place.put("test", &file(1, 3));
    let error =
        place.ingest(&dataset(&place, "cifar100", json!({"permuted": true})), Protocol::Strict).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.to_string(), "`dataset.permuted`: 3 rows and columns are no power of two");
}

// MNIST

/// An IDX file of bytes.
fn idx(shape: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|axis| out.extend(axis.to_be_bytes()));
    out.extend(elements);
    out
}

/// Images of 2 x 3 pixels: pixel k of image n is 10 n + k.
fn digits(samples: usize) -> Vec<u8> {
    let pixels: Vec<u8> = (0..samples * 6).map(|k| (k / 6 * 10 + k % 6) as u8).collect();
    idx(&[samples as u32, 2, 3], &pixels)
}

fn digit_labels(samples: usize) -> Vec<u8> {
    idx(&[samples as u32], &(0..samples).map(|n| n as u8 % 3).collect::<Vec<_>>())
}

#[test]
fn mnist_is_a_series_of_pixels_from_files_of_all_places() {
    // numpy.random.RandomState(5).permutation(6) = 5 2 4 1 0 3.
    for (folder, end, permuted, order) in [
        ("", "", false, [0, 1, 2, 3, 4, 5]),
        ("MNIST/raw/", ".gz", true, [5, 2, 4, 1, 0, 3]),
        ("raw/", ".gz", false, [0, 1, 2, 3, 4, 5]),
    ] {
        let place = Place::new();
        for (part, samples) in [("train", 10), ("t10k", 2)] {
            let pack = |bytes: Vec<u8>| if end.is_empty() { bytes } else { gzip(&bytes) };
            place.put(&format!("{folder}{part}-images-idx3-ubyte{end}"), &pack(digits(samples)));
            place.put(&format!("{folder}{part}-labels-idx1-ubyte{end}"), &pack(digit_labels(samples)));
        }
        let wanted = dataset(
            &place,
            "mnist",
            json!({
                "validation_fraction": 0.2, "mean": 0.5, "deviation": 0.25, "permuted": permuted,
                "permutation_seed": 5
            }),
        );
        let card = place.ingest(&wanted, Protocol::Strict).unwrap();
        assert_eq!(card.input.shape, [1, 6]);
        assert_eq!((&card.notes["image"], card.sources.len()), (&json!([2, 3]), 4));
        let row = |n: usize| {
            let value = |k: &usize| ((f64::from((10 * n + k) as u32) / 255.0 - 0.5) / 0.25) as f32;
            (order.iter().map(value).collect::<Vec<f32>>(), n as i64 % 3)
        };
        // The first two of permutation(10) are 2 and 8.
        for ((found, class), n) in rows(&place, Split::Validation).into_iter().zip([2, 8]) {
            let (expected, of) = row(n);
            assert_eq!(class, of);
            assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
        }
        assert_eq!(rows(&place, Split::Test).len(), 2);
        assert_eq!(rows(&place, Split::Train).len(), 8);
    }
}

#[test]
fn bad_mnist_files_are_refused() {
    let place = Place::new();
    let wanted = dataset(&place, "mnist", json!({}));
    assert!(place.refusal(&wanted).contains("no such folder"));
    place.put("notes.txt", b"x");
    let message = place.refusal(&wanted);
    assert!(message.contains("train-images-idx3-ubyte: there is no such file"), "{message}");
    assert!(message.contains("`dataset.train_file` can name another"), "{message}");
    let refusal = |name: &str, bytes: &[u8]| {
        for (part, samples) in [("train", 10), ("t10k", 2)] {
            place.put(&format!("{part}-images-idx3-ubyte"), &digits(samples));
            place.put(&format!("{part}-labels-idx1-ubyte"), &digit_labels(samples));
        }
        place.put(name, bytes);
        let message = place.refusal(&wanted);
        assert!(message.contains(name), "{message}");
        message
    };
    let whole = digits(10);
    assert!(
        refusal("train-images-idx3-ubyte", &whole[..40]).contains("takes 60 bytes, 24 follow the header")
    );
    assert!(refusal("train-images-idx3-ubyte", &digit_labels(10)).contains("an array of 1 axes; 3 are"));
    assert!(refusal("train-labels-idx1-ubyte", &digit_labels(9)).contains("9 labels for the 10 samples"));
    assert!(refusal("t10k-labels-idx1-ubyte", b"x").contains("ends early"));
    let other = idx(&[2, 3, 3], &[0; 18]);
    let message = refusal("t10k-images-idx3-ubyte", &other);
    assert!(message.contains("images of [3, 3] pixels, those of the training file have [2, 3]"), "{message}");
}

// Spherical

fn sphere(samples: usize, labels: &[i64]) -> Vec<u8> {
    let bytes: Vec<u8> = (0..samples * 27).map(|k| (k % 251) as u8).collect();
    dict(&[("images", array("|u1", &[samples, 3, 3, 3], &bytes)), ("labels", ints(labels))])
}

fn spherical_file(test: Vec<u8>) -> Vec<u8> {
    pickle(&dict(&[("train", sphere(10, &[0, 1, 2, 3, 0, 1, 2, 3, 0, 1])), ("test", test)]))
}

#[test]
fn spherical_images_keep_their_bytes() {
    for (name, packed) in [("s2_cifar100.gz", true), ("plain.pkl", false)] {
        let place = Place::new();
        let bytes = spherical_file(sphere(2, &[3, 0]));
        place.put(name, &if packed { gzip(&bytes) } else { bytes });
        let wanted = dataset(&place, "spherical", json!({"file": name}));
        let card = place.ingest(&wanted, Protocol::Strict).unwrap();
        assert_eq!((card.input.shape.as_slice(), card.target.outputs()), (&[3, 3, 3][..], 4));
        assert_eq!((card.input.element, card.input_scaling), (dash_core::card::ElementType::U8, None));
        assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [8, 2, 2]);
        let expected: Vec<f32> = (27..54).map(|k| k as f32).collect();
        assert_eq!(rows(&place, Split::Test)[1], (expected, 0));
        // The last two of permutation(10) are 0 and 5.
        let classes: Vec<i64> = rows(&place, Split::Validation).iter().map(|(_, class)| *class).collect();
        assert_eq!(classes, [0, 1]);
    }
}

#[test]
fn bad_spherical_files_are_refused() {
    let place = Place::new();
    let wanted = dataset(&place, "spherical", json!({}));
    let refusal = |bytes: &[u8]| {
        place.put("s2_cifar100.gz", bytes);
        place.refusal(&wanted)
    };
    let whole = gzip(&spherical_file(sphere(2, &[3, 0])));
    assert!(refusal(&whole[..whole.len() / 2]).contains("s2_cifar100.gz: the file ends early"));
    let mut damaged = whole.clone();
    damaged[whole.len() - 6] ^= 1;
    assert!(refusal(&damaged).contains("s2_cifar100.gz: "));
    assert!(refusal(&gzip(&vec![0; 70 << 20])).contains("unpacks to more than 67108864 bytes"));
    assert!(refusal(&gzip(b"x")).contains("no pickle"));
    let message = refusal(&gzip(&pickle(&dict(&[("train", sphere(2, &[0, 1]))]))));
    assert!(message.contains("no field `test`; the file has `train`"), "{message}");
    let message = refusal(&gzip(&spherical_file(dict(&[("labels", ints(&[0]))]))));
    assert!(message.contains("no field `test.images`; the file has `labels`"), "{message}");
    let message = refusal(&gzip(&spherical_file(sphere(2, &[0]))));
    assert!(
        message.contains("field `test.labels`: 1 labels for the 2 samples of `test.images`"),
        "{message}"
    );
    let message = refusal(&gzip(&spherical_file(sphere(2, &[0, -4]))));
    assert!(message.contains("field `test.labels[1]`: the label -4 is negative"), "{message}");
    let flat = dict(&[("images", array("|u1", &[1, 27], &[0; 27])), ("labels", ints(&[0]))]);
    assert!(refusal(&gzip(&spherical_file(flat))).contains("field `test.images`: is an array of"));
    let other = dict(&[("images", array("|u1", &[1, 3, 3, 4], &[0; 36])), ("labels", ints(&[0]))]);
    assert!(refusal(&gzip(&spherical_file(other))).contains("images of shape [3, 3, 4]"));
}

#[test]
fn spherical_images_are_made_of_flat_ones() {
    let project = |seed: u32| json!({"project": {"bandwidth": 3, "images_per_rotation": 4, "seed": seed}});
    let unpacked = Place::new();
    for (name, bytes) in cifar_files() {
        unpacked.put(&format!("cifar-100-python/{name}"), &bytes);
    }
    // Without the key the benchmark's file is meant.
    let message = unpacked.refusal(&dataset(&unpacked, "spherical", json!({})));
    assert!(message.contains("s2_cifar100.gz: there is no such file"), "{message}");
    assert!(message.contains("`dataset.project = {}` makes it from the CIFAR-100 there"), "{message}");

    let wanted = dataset(&unpacked, "spherical", project(1));
    assert_eq!(sources(&wanted).unwrap().len(), 3);
    let card = unpacked.ingest(&wanted, Protocol::Strict).unwrap();
    assert_eq!((card.recipe.as_str(), card.input.shape.as_slice()), ("spherical", &[3, 6, 6][..]));
    let dash_core::card::Target::Class { labels, .. } = &card.target else { panic!() };
    assert_eq!(labels, &["apple", "bear", "crab"]);
    assert_eq!(card.notes["projection"]["images_per_rotation"], 4);
    for split in Split::ALL {
        for (image, _) in rows(&unpacked, split) {
            let span = image.iter().fold((255f32, 0f32), |(low, high), &v| (low.min(v), high.max(v)));
            assert_eq!(span, (0.0, 255.0));
            assert!(image.iter().all(|value| value.fract() == 0.0));
        }
    }

    // An image becomes the same whatever is read before it, from wherever.
    let packed = Place::new();
    packed.put("cifar-100-python.tar.gz", &gzip(&tar(&cifar_files())));
    let other = packed.ingest(&dataset(&packed, "spherical", project(1)), Protocol::Strict).unwrap();
    assert_eq!(other.splits, card.splits);
    let paper = Place::new();
    paper.put("cifar-100-python.tar.gz", &gzip(&tar(&cifar_files())));
    paper.ingest(&dataset(&paper, "spherical", project(1)), Protocol::Paper).unwrap();
    // The last two of permutation(10) are 0 and 5.
    let all = rows(&paper, Split::Train);
    assert_eq!(rows(&unpacked, Split::Validation), [all[0].clone(), all[5].clone()]);
    let reseeded = Place::new();
    reseeded.put("cifar-100-python.tar.gz", &gzip(&tar(&cifar_files())));
    let other = reseeded.ingest(&dataset(&reseeded, "spherical", project(2)), Protocol::Strict).unwrap();
    assert_ne!(other.splits, card.splits);

    for key in ["bandwidth", "images_per_rotation"] {
        let none = json!({"project": {key: 0}});
        let error = packed.ingest(&dataset(&packed, "spherical", none), Protocol::Strict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(&format!("`dataset.project.{key}`: 0 is given")), "{error}");
    }
}

#[test]
fn bad_flat_images_make_no_spherical_ones() {
    let place = Place::new();
    let wanted = dataset(&place, "spherical", json!({"project": {}}));
    place.put("notes.txt", b"x");
    let message = place.refusal(&wanted);
    assert!(message.contains("cifar-100-python.tar.gz: there is no such file"), "{message}");
    assert!(message.contains("`dataset.project.archive` can name another"), "{message}");
    let [train, test, meta] = cifar_files();
    let refusal = |name: &str, bytes: &[u8]| {
        for (other, whole) in [&train, &test, &meta] {
            place.put(&format!("cifar/{other}"), if *other == name { bytes } else { whole });
        }
        place.refusal(&wanted)
    };
    assert!(refusal("test", &cifar_file(3, &[0, 1])).contains("2 labels for the 3 samples"));
    assert!(refusal("test", &cifar_file(3, &[0, 3, 1])).contains("the label 3 has no name"));
    assert!(refusal("train", &train.1[..train.1.len() / 2]).contains("cifar/train"));
    assert!(refusal("meta", &pickle(&dict(&[]))).contains("no field `fine_label_names`"));
}

#[test]
fn fractions_that_leave_a_split_empty_name_their_key() {
    let place = Place::new();
    place.put("s2_cifar100.gz", &spherical_file(sphere(2, &[3, 0])));
    for fraction in [0.01, 0.99] {
        let wanted = dataset(&place, "spherical", json!({"validation_fraction": fraction}));
        let error = place.ingest(&wanted, Protocol::Strict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("`dataset.validation_fraction`"), "{error}");
    }
}
