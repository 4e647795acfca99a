//! Gives untrusted bytes to every reader of raw files and to the loader of pipeline files. Whatever the bytes are, a
//! reader returns an error or a value; it does not panic, hang, or allocate out of proportion.
//!
//! The tests of the program run the same functions over the inputs in `tests/fixtures/fuzz`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "what fails here is the harness")]

use dash_core::{
    event::Silent,
    load,
    pipeline::{Dataset, Protocol},
};
use dash_formats::{
    Error,
    matlab::MatFile,
    npy::{self, NpyArray, NpzArchive},
    pickle::{Pickle, Value},
};
use dash_store::Staging;
use std::path::Path;

/// The number of values of a pickle that are visited: they may refer to each other in cycles.
const MOST_VALUES: usize = 10_000;

/// Blocks of an array that are read: one without elements may have any number of rows.
const MOST_BLOCKS: usize = 100;

/// Puts the bytes into a file of this name and hands its path on.
fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read(&path);
}

/// All numbers of an array, by each of the ways to read them.
fn read_all(array: &mut NpyArray) {
    let (rows, block) = (array.shape().first().copied().unwrap_or(1), array.block_rows().max(1));
    for first in (0..rows).step_by(block).take(MOST_BLOCKS) {
        let count = block.min(rows - first);
        let failed = [
            array.rows(first, count).is_err(),
            array.rows_f64(first, count).is_err(),
            array.ints(first, count).is_err(),
        ];
        if failed == [true; 3] {
            return;
        }
    }
}

fn walk(root: Value<'_>) {
    let mut pending = vec![root];
    let mut seen = 0;
    while let Some(value) = pending.pop() {
        seen += 1;
        if seen > MOST_VALUES {
            return;
        }
        let _ = (value.kind(), value.as_f64(), value.as_str(), value.as_bytes(), value.only().is_some());
        let _ = (value.numbers(), value.integers(), value.texts());
        if let Some(array) = value.as_array() {
            let _ = (array.to_f64(), array.to_i64(), array.to_texts(), array.rows_f32(0, array.rows()));
        }
        pending.extend(value.items().into_iter().flatten().take(MOST_VALUES));
        let keys = value.keys().unwrap_or_default();
        pending.extend(keys.into_iter().take(MOST_VALUES).filter_map(|key| value.get(key)));
    }
}

/// A numpy file.
pub fn npy(bytes: &[u8]) {
    with_file("a.npy", bytes, |path| {
        if let Ok(mut array) = NpyArray::open(path) {
            read_all(&mut array);
        }
        if let Ok(pickle) = npy::object(path) {
            walk(pickle.root());
        }
    });
}

/// A numpy archive.
pub fn npz(bytes: &[u8]) {
    with_file("a.npz", bytes, |path| {
        let Ok(archive) = NpzArchive::open(path) else { return };
        let names: Vec<String> = archive.names().map(str::to_owned).collect();
        for name in names {
            if let Ok(mut array) = archive.array(&name) {
                read_all(&mut array);
            }
            if let Ok(pickle) = archive.object(&name) {
                walk(pickle.root());
            }
        }
    });
}

/// A pickle.
pub fn pickle(bytes: &[u8]) {
    with_file("a.pkl", bytes, |path| {
        if let Ok(pickle) = Pickle::open(path) {
            walk(pickle.root());
        }
    });
}

/// A MATLAB file of version 5.
pub fn matlab(bytes: &[u8]) {
    with_file("a.mat", bytes, |path| {
        let Ok(file) = MatFile::open(path) else { return };
        for variable in file.variables() {
            if file.numeric(&variable.name).is_ok() {
                let mut sum = 0.0;
                let _ = file.visit(variable, |segment| {
                    sum += segment.values.iter().sum::<f64>();
                    Ok::<(), Error>(())
                });
            }
        }
    });
}

/// An HDF5 file, which MATLAB's version 7.3 is.
pub fn hdf5(bytes: &[u8]) {
    matlab(bytes);
}

/// An archive of CIFAR-100: gzip, tar and pickles.
pub fn packed(bytes: &[u8]) {
    with_file("cifar-100-python.tar.gz", bytes, |path| {
        let raw = path.parent().unwrap();
        let dataset = serde_json::json!({ "recipe": "cifar100", "raw": raw });
        let dataset: Dataset = serde_json::from_value(dataset).unwrap();
        let mut staging = Staging::begin(&raw.join("dataset")).unwrap();
        let _ = dash_recipes::ingest(&dataset, Protocol::Strict, &mut staging, &Silent);
    });
}

/// A pipeline file or a sweep file.
pub fn pipeline(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = load::kind("f.toml", text);
    let _ = load::sweep("f.toml", text);
    if let Ok(pipeline) = load::pipeline("f.toml", text, None, &[]) {
        // What was accepted is printed, and accepted again.
        let text = load::to_toml(&pipeline).unwrap();
        assert_eq!(load::pipeline("f.toml", &text, None, &[]).unwrap(), pipeline);
    }
}
