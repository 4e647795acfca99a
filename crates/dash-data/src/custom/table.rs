//! Defines what Parquet files and numpy archives have in common: named columns with the same number of rows.

use crate::Error;
use std::{collections::BTreeMap, path::Path};

/// The largest number of classes.
const MOST_VALUES: usize = 1 << 16;

/// Blocks of rows hold about this many numbers.
const BLOCK_ELEMENTS: usize = 1 << 20;

/// One sample has at most this many numbers, 256 MiB: a limit for files that announce more than they
/// hold.
pub(super) const MOST_ELEMENTS: usize = 1 << 26;

/// Takes the first row of a block, and of each column the numbers of the block.
pub(super) type Visit<'a> = dyn FnMut(usize, &[Vec<f32>]) -> Result<(), Error> + 'a;

/// A file of samples.
pub(super) trait Table {
    /// The file.
    fn path(&self) -> &Path;

    /// Rows of a column.
    fn rows(&mut self, name: &str) -> Result<usize, Error>;

    /// Shape of one row of a column of numbers.
    fn shape(&mut self, name: &str) -> Result<Vec<usize>, Error>;

    /// One value per row, as the number that `values` gives it.
    fn values(&mut self, name: &str, values: &mut Values) -> Result<Vec<u32>, Error>;

    /// Hands out the rows of columns of numbers in order, block by block. Every row must have the shape
    /// of the first.
    fn blocks(&mut self, names: &[&str], visit: &mut Visit<'_>) -> Result<(), Error>;
}

/// The error about `row` of a column.
pub(super) fn wrong(path: &Path, name: &str, row: usize, problem: impl Into<String>) -> Error {
    Error::field(path, format!("{name}[{row}]"), problem)
}

/// Rows of `elements` numbers that make a block.
pub(super) fn rows_per_block(elements: usize) -> usize {
    (BLOCK_ELEMENTS / elements.max(1)).clamp(1, 1 << 13)
}

/// Refuses a shape without elements, or with more than a sample can have.
pub(super) fn check_shape(path: &Path, name: &str, shape: &[usize]) -> Result<(), Error> {
    let elements = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
    match elements {
        Some(1..=MOST_ELEMENTS) => Ok(()),
        Some(0) => Err(Error::field(path, name, format!("rows of shape {shape:?} hold nothing"))),
        _ => {
            let problem = format!("a row of shape {shape:?} has more than {MOST_ELEMENTS} numbers");
            Err(Error::field(path, name, problem))
        }
    }
}

/// A value of a column of classes or splits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Integer(i64),
    Text(String),
}

impl Value {
    pub(super) fn name(&self) -> String {
        match self {
            Value::Integer(value) => value.to_string(),
            Value::Text(text) => text.clone(),
        }
    }
}

/// Distinct values, numbered in the order in which they are met.
#[derive(Debug, Default)]
pub(super) struct Values {
    numbers: BTreeMap<Value, u32>,
}

impl Values {
    /// The number of a value.
    pub(super) fn number(&mut self, path: &Path, name: &str, value: Value) -> Result<u32, Error> {
        if let Some(&number) = self.numbers.get(&value) {
            return Ok(number);
        }
        let is_text = matches!(value, Value::Text(_));
        if self.numbers.keys().next().is_some_and(|first| matches!(first, Value::Text(_)) != is_text) {
            return Err(Error::field(path, name, "is text in one file and numbers in another"));
        }
        if self.numbers.len() == MOST_VALUES {
            let problem = format!("has more than {MOST_VALUES} distinct values, which are not classes");
            return Err(Error::field(path, name, problem));
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(value, number);
        Ok(number)
    }

    /// The number of values.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The values in ascending order, each with its number.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (&Value, u32)> {
        self.numbers.iter().map(|(value, &number)| (value, number))
    }
}
