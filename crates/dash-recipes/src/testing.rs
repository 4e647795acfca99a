//! What the tests of recipes share: a place for files, and writers of small ones.

pub(crate) use crate::{Error, ingest, sources};
pub(crate) use dash_core::{
    card::{DatasetCard, Split},
    error::{Classify, ErrorKind},
    event::{Event, Listener, Silent},
    pipeline::{Dataset, Protocol},
    targets::Targets,
};
pub(crate) use dash_data::DatasetFolder;
pub(crate) use dash_formats::testing::{Member, npy, npy_f32, npy_i64, zip};
pub(crate) use dash_store::Staging;
use flate2::{Compression, write::GzEncoder};
pub(crate) use serde_json::{Value, json};
pub(crate) use std::path::{Path, PathBuf};
pub(crate) use std::sync::Mutex;
pub(crate) use std::{fs::File, io::Write};

/// A folder for one test.
pub(crate) struct Place(pub(crate) tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn raw(&self) -> PathBuf {
        self.0.path().join("raw")
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        dash_store::publish_file(&self.raw().join(name), bytes).unwrap();
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.0.path().join("dataset")
    }

    pub(crate) fn ingest(&self, dataset: &Dataset, protocol: Protocol) -> Result<DatasetCard, Error> {
        let mut staging = Staging::begin(&self.target())?;
        let card = ingest(dataset, protocol, &mut staging, &Silent)?;
        staging.publish()?;
        Ok(card)
    }

    /// The error of an ingestion, which must be about data, and must leave nothing behind.
    pub(crate) fn refusal(&self, dataset: &Dataset) -> String {
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
}

pub(crate) fn dataset(place: &Place, recipe: &str, more: Value) -> Dataset {
    let mut value = json!({"recipe": recipe, "raw": place.raw()});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

// Pickles of protocol 2 as Python 2 and numpy 1 wrote them.

pub(crate) fn short(out: &mut Vec<u8>, text: &str) {
    out.extend([b'U', text.len() as u8]);
    out.extend(text.as_bytes());
}

/// A numpy array; `code` like `<f8` or `|u1`.
pub(crate) fn array(code: &str, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut out = start_of_array(code, shape);
    out.push(b'T');
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
    out.extend(b"tb");
    out
}

pub(crate) fn start_of_array(code: &str, shape: &[usize]) -> Vec<u8> {
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
pub(crate) fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"}(".to_vec();
    for (name, value) in entries {
        short(&mut out, name);
        out.extend(value);
    }
    out.push(b'u');
    out
}

pub(crate) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [&b"]("[..], &items.concat(), b"e"].concat()
}

pub(crate) fn ints(values: &[i64]) -> Vec<u8> {
    array("<i8", &[values.len()], &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

pub(crate) fn small(values: &[u8]) -> Vec<u8> {
    list(&values.iter().map(|&v| vec![b'K', v]).collect::<Vec<_>>())
}

pub(crate) fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// What numpy.save makes of a dict.
pub(crate) fn object_npy(value: &[u8]) -> Vec<u8> {
    let object = [&start_of_array("|O8", &[])[..], b"](", value, b"etb"].concat();
    npy("|O", false, &[], &pickle(&object))
}

/// Splits and rows that an ingestion made: input and class by id.
pub(crate) fn rows(place: &Place, split: Split) -> Vec<(Vec<f32>, i64)> {
    let folder = DatasetFolder::open(&place.target()).unwrap();
    let data = folder.split(split).unwrap();
    let batch = data.gather(&(0..data.len()).collect::<Vec<_>>()).unwrap();
    let Targets::Class(classes) = batch.target else { panic!("classes are expected") };
    let length = batch.input.len() / batch.rows;
    batch.input.chunks(length).map(<[f32]>::to_vec).zip(classes).collect()
}

pub(crate) fn tuning(place: &Place) -> Option<Vec<usize>> {
    let folder = DatasetFolder::open(&place.target()).unwrap();
    folder.split(Split::Train).unwrap().tuning_rows().map(<[usize]>::to_vec)
}

/// Images of 2 x 2 pixels: value k of image n is n + 20 k.
pub(crate) fn cifar_file(samples: usize, labels: &[u8]) -> Vec<u8> {
    let bytes: Vec<u8> = (0..samples * 12).map(|k| (k / 12 + 20 * (k % 12)) as u8).collect();
    pickle(&dict(&[("data", array("|u1", &[samples, 12], &bytes)), ("fine_labels", small(labels))]))
}

pub(crate) fn meta() -> Vec<u8> {
    let names = ["apple", "bear", "crab"].map(|name| {
        let mut out = vec![];
        short(&mut out, name);
        out
    });
    pickle(&dict(&[("fine_label_names", list(&names))]))
}

pub(crate) fn cifar_files() -> [(&'static str, Vec<u8>); 3] {
    [
        ("train", cifar_file(10, &[0, 1, 2, 0, 1, 2, 0, 1, 2, 0])),
        ("test", cifar_file(3, &[2, 1, 0])),
        ("meta", meta()),
    ]
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
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

/// Keeps the events that it receives.
#[derive(Default)]
pub(crate) struct Recorder(pub(crate) Mutex<Vec<Event>>);

impl Listener for Recorder {
    fn on(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

pub(crate) fn simulated() -> Dataset {
    serde_json::from_str(
        r#"{"recipe": "darcy-flow", "simulate": {"grid": 17}, "subsample": 2,
            "train": 6, "validation": 2, "test": 2}"#,
    )
    .unwrap()
}

pub(crate) fn overwrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    File::options().write(true).truncate(true).open(path).unwrap().write_all(&bytes).unwrap();
}

pub(crate) fn cache_file(place: &Place) -> PathBuf {
    let mut entries = std::fs::read_dir(place.target().join("cache")).unwrap();
    let path = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    path
}
