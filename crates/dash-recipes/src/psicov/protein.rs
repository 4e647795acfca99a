//! Reads one protein: its features and the distances between its residues.

use super::files::{Tree, distances_name, features_name};
use crate::{Error, shared::pickle::field};
use dash_formats::{
    npy,
    pickle::{Pickle, PickleArray, Value},
};
use std::path::Path;

/// Features must lie between minus this and this.
const MOST_FEATURE: f32 = 100.0;
/// The largest plausible distance between two residues of a protein.
const MOST_DISTANCE: f32 = 500.0;
/// Smaller distances become this: no two atoms are nearer.
const LEAST_DISTANCE: f32 = 1.0;

/// The largest number of elements of an input: the limit of columns of tensors.
const MOST_NUMBERS: usize = i32::MAX as usize;

/// Features of residue pairs.
const MAPS: [&str; 3] = ["ccmpred", "freecon", "potential"];

/// How many features of residues there are; the same for all proteins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Widths {
    /// Classes of secondary structure.
    structure: usize,
    /// Columns of the sequence profile.
    profile: usize,
}

impl Widths {
    /// Features of residues: structure, profile, solvent accessibility and entropy.
    pub(super) fn positions(self) -> usize {
        self.structure + self.profile + 2
    }

    /// Features of residue pairs.
    pub(super) fn maps(self) -> usize {
        MAPS.len()
    }
}

/// A protein as the dataset holds it.
#[derive(Debug)]
pub(super) struct Protein {
    pub(super) length: usize,
    pub(super) widths: Widths,
    /// (features of residues, length)
    pub(super) positions: Vec<f32>,
    /// (features of pairs, length, length)
    pub(super) maps: Vec<f32>,
    /// (length, length); 0 where nothing is known.
    pub(super) distances: Vec<f32>,
    /// Numbers of its files that were not a number, and became 0.
    pub(super) unknown: usize,
}

impl Protein {
    /// Reads a protein of a list; `widths` are those of the proteins before it.
    pub(super) fn read(
        tree: &Tree,
        list: &str,
        protein: &str,
        widths: Option<Widths>,
    ) -> Result<Protein, Error> {
        let (features, distances) = (features_name(list, protein), distances_name(list, protein));
        let mut read = Protein::features(tree.read(&features)?, &tree.locate(&features), widths)?;
        read.add_distances(tree.read(&distances)?, &tree.locate(&distances))?;
        Ok(read)
    }

    fn features(bytes: Vec<u8>, path: &Path, widths: Option<Widths>) -> Result<Protein, Error> {
        let pickle = Pickle::from_bytes(bytes.into(), path)?;
        let root = pickle.root();
        let sequence = field(path, root, "seq")?;
        let length = sequence
            .as_str()
            .map(|text| text.chars().count())
            .ok_or_else(|| Error::field(path, "seq", format!("is {}; a str is expected", sequence.kind())))?;
        if length < 2 {
            let problem = format!("has {length} residues; distances need at least 2");
            return Err(Error::field(path, "seq", problem));
        }
        let mut unknown = 0;
        let mut numbers = |name: &str,
                           fits: &dyn Fn(&[usize]) -> bool,
                           expected: &str|
         -> Result<(Vec<f32>, Vec<usize>), Error> {
            let value = field(path, root, name)?;
            let array = array(path, name, value)?;
            if !fits(array.shape()) {
                let shape = array.shape();
                let problem = format!("has shape {shape:?}; {expected} with {length} residues is expected");
                return Err(Error::field(path, name, problem));
            }
            let mut values = all(path, name, array)?;
            unknown += forget_unknown(&mut values);
            if let Some(at) = values.iter().position(|value| value.abs() >= MOST_FEATURE) {
                let problem = format!("element {at} is {}, not between -100 and 100", values[at]);
                return Err(Error::field(path, name, problem));
            }
            Ok((values, array.shape().to_vec()))
        };
        let (structure, shape) = numbers(
            "ss",
            &|shape| matches!(*shape, [classes, residues] if classes > 0 && residues == length),
            "(classes, residues)",
        )?;
        let structure_width = shape.first().copied().unwrap_or(0);
        let (profile, shape) = numbers(
            "pssm",
            &|shape| matches!(*shape, [residues, columns] if columns > 0 && residues == length),
            "(residues, columns)",
        )?;
        let found = Widths { structure: structure_width, profile: shape.get(1).copied().unwrap_or(0) };
        if let Some(widths) = widths.filter(|&widths| widths != found) {
            let (name, found, before) = if widths.structure == found.structure {
                ("pssm", found.profile, widths.profile)
            } else {
                ("ss", found.structure, widths.structure)
            };
            let problem = format!("has {found} features of a residue, {before} in the proteins before");
            return Err(Error::field(path, name, problem));
        }
        let pairs = length.checked_mul(length);
        let channels = (2 * found.positions()).checked_add(found.maps());
        let total = pairs.zip(channels).and_then(|(pairs, channels)| pairs.checked_mul(channels));
        if total.is_none_or(|total| total > MOST_NUMBERS) {
            let problem = format!("{length} residues are more than {MOST_NUMBERS} numbers of an input allow");
            return Err(Error::field(path, "seq", problem));
        }
        let mut positions = structure;
        positions.reserve_exact(length * (found.profile + 2));
        for column in 0..found.profile {
            positions.extend(profile.iter().skip(column).step_by(found.profile));
        }
        for name in ["sa", "entropy"] {
            let vector = |shape: &[usize]| *shape == [length];
            positions.extend(numbers(name, &vector, "(residues)")?.0);
        }
        let mut maps = vec![];
        for name in MAPS {
            let map = |shape: &[usize]| *shape == [length, length];
            maps.extend(numbers(name, &map, "(residues, residues)")?.0);
        }
        Ok(Protein { length, widths: found, positions, maps, distances: vec![], unknown })
    }

    /// A file of distances is an object array of the length, the sequence and the map.
    fn add_distances(&mut self, bytes: Vec<u8>, path: &Path) -> Result<(), Error> {
        let pickle = npy::object_from_bytes(bytes.into(), path)?;
        let items: Vec<Value<'_>> = pickle.root().items().map(Iterator::collect).unwrap_or_default();
        let &[length, sequence, map] = items.as_slice() else {
            let problem = format!("is {}; length, sequence and map are expected", pickle.root().kind());
            return Err(Error::field(path, "array", problem));
        };
        let expected = self.length;
        if length.as_f64() != Some(expected as f64) {
            let found = length.as_f64().map_or_else(|| length.kind(), |length| length.to_string());
            let problem = format!("is {found}, the features have {expected} residues");
            return Err(Error::field(path, "length", problem));
        }
        let residues = sequence.as_str().map(|text| text.chars().count());
        if residues != Some(expected) {
            let found = residues.map_or_else(|| sequence.kind(), |count| count.to_string());
            let problem = format!("is {found}, the features have {expected} residues");
            return Err(Error::field(path, "sequence", problem));
        }
        let array = array(path, "map", map)?;
        if array.shape() != [expected, expected] {
            let problem = format!("has shape {:?}; {expected} x {expected} is expected", array.shape());
            return Err(Error::field(path, "map", problem));
        }
        let mut distances = all(path, "map", array)?;
        repair(&mut distances, expected);
        if let Some(at) = distances.iter().position(|&value| value > MOST_DISTANCE) {
            let (row, column) = (at / expected, at % expected);
            let problem =
                format!("({row}, {column}) is {}, more than {MOST_DISTANCE} angstrom", distances[at]);
            return Err(Error::field(path, "map", problem));
        }
        self.unknown += forget_unknown(&mut distances);
        self.distances = distances;
        Ok(())
    }

    /// Whether two residues that are `separation` or more apart in the sequence are at a known distance of
    /// at most `distance`.
    pub(super) fn has_contacts(&self, separation: usize, distance: f32) -> bool {
        let mut rows = self.distances.chunks_exact(self.length.max(1)).enumerate();
        rows.any(|(row, line)| {
            line.iter().skip(row + separation).any(|&value| value > 0.0 && value <= distance)
        })
    }
}

/// What is not a number becomes 0; returns how many there were.
fn forget_unknown(values: &mut [f32]) -> usize {
    let mut count = 0;
    for value in values.iter_mut().filter(|value| value.is_nan()) {
        *value = 0.0;
        count += 1;
    }
    count
}

/// The least distance is 1. On the diagonal, where nothing is to be predicted, is the mean of the
/// neighbours in the row; at its ends, where there is one neighbour, that one.
fn repair(distances: &mut [f32], length: usize) {
    for value in distances.iter_mut().filter(|value| **value < LEAST_DISTANCE) {
        *value = LEAST_DISTANCE;
    }
    for (row, line) in distances.chunks_exact_mut(length).enumerate() {
        let before = row.checked_sub(1).and_then(|column| line.get(column).copied());
        let after = line.get(row + 1).copied();
        let mean = match (before, after) {
            (Some(before), Some(after)) => (before + after) / 2.0,
            (one, other) => one.or(other).unwrap_or(LEAST_DISTANCE),
        };
        if let Some(value) = line.get_mut(row) {
            *value = mean;
        }
    }
}

fn array<'a>(path: &Path, name: &str, value: Value<'a>) -> Result<&'a PickleArray, Error> {
    let wrong = || Error::field(path, name, format!("is {}; an array of numbers is expected", value.kind()));
    value.as_array().filter(|array| array.dtype().is_numeric()).ok_or_else(wrong)
}

/// All elements, last index fastest.
fn all(path: &Path, name: &str, array: &PickleArray) -> Result<Vec<f32>, Error> {
    let values = array.rows_f32(0, array.rows());
    values.ok_or_else(|| Error::field(path, name, "its elements cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_repaired_as_published() {
        let nan = f32::NAN;
        let mut map = vec![0.0, 5.0, 0.5, 5.0, 0.0, 7.0, nan, 7.0, 0.0];
        repair(&mut map, 3);
        assert_eq!(map[..6], [5.0, 5.0, 1.0, 5.0, 6.0, 7.0]);
        assert!(map[6].is_nan());
        assert_eq!(map[7..], [7.0, 7.0]);
        assert_eq!(forget_unknown(&mut map), 1);
        assert_eq!(map[6], 0.0);
        let mut pair = vec![0.0, 3.0, 4.0, 0.0];
        repair(&mut pair, 2);
        assert_eq!(pair, [3.0, 3.0, 4.0, 4.0]);
    }
}
