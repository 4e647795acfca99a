//! Files that tests/fixtures/hdf5.py has made with the HDF5 library, and what is left of them when damaged.

use super::*;
use crate::matlab::MatFile;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/hdf5").join(name)
}

/// The values of an array, first axis fastest; each must come once.
fn read(path: &Path, field: &str) -> Result<(Vec<usize>, Vec<f64>), Error> {
    let file = MatFile::open(path)?;
    let variable = file.numeric(field)?;
    let total: usize = variable.dimensions.iter().product();
    let mut out = vec![None; total];
    let rows = variable.dimensions.first().copied().unwrap_or(1);
    file.visit::<Error>(variable, |piece| {
        assert!(piece.first + piece.values.len() <= rows);
        for (at, &value) in (piece.column * rows + piece.first..).zip(piece.values) {
            assert!(out[at].replace(value).is_none(), "value {at} comes twice");
        }
        Ok(())
    })?;
    Ok((
        variable.dimensions.clone(),
        out.into_iter().map(|value| value.expect("every value comes")).collect(),
    ))
}

/// Writes a file without the care of a published one, which would make thousands of them slow.
fn put(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    let mut file = File::options().write(true).create(true).truncate(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

fn cube(samples: usize, factor: f64) -> Vec<f64> {
    let value = |k: usize| 100 * (k % samples) + 10 * (k / samples % 5) + k / samples / 5;
    (0..25 * samples).map(|k| factor * value(k) as f64).collect()
}

#[test]
fn arrays_are_read_from_all_layouts() {
    for (name, samples) in [("chunked.mat", 7), ("contiguous.mat", 3), ("newest.mat", 3)] {
        for (field, factor) in [("coeff", 1.0), ("sol", -0.25)] {
            let (dimensions, values) = read(&fixture(name), field).unwrap();
            assert_eq!(dimensions, [samples, 5, 5], "{name} {field}");
            assert_eq!(values, cube(samples, factor), "{name} {field}");
        }
        let file = MatFile::open(&fixture(name)).unwrap();
        let names: Vec<&str> = file.variables().iter().map(|variable| variable.name.as_str()).collect();
        assert_eq!(names, ["coeff", "sol"]);
        let message = file.numeric("x").unwrap_err().to_string();
        assert!(message.contains("no field `x`; the file has `coeff`, `sol`"), "{message}");
    }
}

#[test]
fn what_is_no_array_of_numbers_in_the_file_is_refused() {
    let path = fixture("refused.mat");
    for (field, message) in [
        ("external", "field `external`: its values are in another file"),
        ("virtual", "field `virtual`: its values are in other files"),
        ("text", "field `text`: is an array of the HDF5 class VarLen"),
        ("compound", "field `compound`: is an array of the HDF5 class Compound"),
        ("linked", "field `linked`: is not an array in this file"),
        ("group", "field `group`: is not an array in this file"),
    ] {
        let error = read(&path, field).unwrap_err();
        assert!(error.is_about_content());
        assert!(error.to_string().contains(message), "{error}");
    }
    assert!(read(&path, "coeff").unwrap().1.iter().all(|value| value.is_nan()));
}

#[test]
fn hdf5_is_found_behind_blocks_of_any_legal_size() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("x.h5");
    let at = |offset: usize, length: usize| {
        let mut bytes = vec![b' '; length];
        bytes[offset..offset + 8].copy_from_slice(&SIGNATURE);
        put(&path, &bytes);
        find(&path).unwrap()
    };
    for offset in [0, 512, 1024, 2048] {
        assert_eq!(at(offset, offset + 8), Some(offset as u64));
    }
    assert_eq!(at(1536, 4096), None);
    put(&path, b"\x89HDF");
    assert_eq!(find(&path).unwrap(), None);
}

#[test]
fn every_truncation_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("cut.mat");
    for (name, samples) in [("chunked.mat", 7), ("contiguous.mat", 3), ("newest.mat", 3)] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for length in (0..whole.len()).step_by(61) {
            put(&path, &whole[..length]);
            match read(&path, "coeff") {
                Err(error) => assert!(error.is_about_content(), "{error}"),
                // Only the other array was cut.
                Ok((_, values)) => assert_eq!(values, cube(samples, 1.0), "{name} {length}"),
            }
        }
    }
}

#[test]
fn no_damaged_byte_leads_to_a_panic() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("damaged.mat");
    for name in ["chunked.mat", "contiguous.mat", "newest.mat", "refused.mat"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for at in 0..whole.len() {
            // What describes the file is at its start; fuzzing takes all of it.
            if at % if at < 1500 { 3 } else { 23 } > 0 {
                continue;
            }
            let mut damaged = whole.clone();
            damaged[at] ^= if at % 2 == 0 { 0xff } else { 1 << (at % 8) };
            put(&path, &damaged);
            for field in ["coeff", "sol"] {
                let _ = read(&path, field);
            }
        }
    }
}

#[test]
fn shuffled_bytes_come_together_again() {
    assert_eq!(unshuffle(&[1, 2, 3, 11, 12, 13], 2), [1, 11, 2, 12, 3, 13]);
    assert_eq!(unshuffle(&[], 8), [0u8; 0]);
    assert_eq!(unshuffle(&[1, 2, 3], 1), [1, 2, 3]);
}
