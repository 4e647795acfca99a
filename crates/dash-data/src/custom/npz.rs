//! Reads arrays of numpy archives as columns; the first axis counts the samples.

use super::table::{Table, Value, Values, Visit, check_shape, rows_per_block, wrong};
use crate::Error;
use dash_formats::npy::NpzArchive;
use std::path::{Path, PathBuf};

/// An archive whose directory was read.
pub(super) struct NpzTable {
    path: PathBuf,
    archive: NpzArchive,
}

impl NpzTable {
    /// Reads the directory.
    pub(super) fn open(path: PathBuf) -> Result<NpzTable, Error> {
        let archive = NpzArchive::open(&path)?;
        Ok(NpzTable { path, archive })
    }
}

impl Table for NpzTable {
    fn path(&self) -> &Path {
        &self.path
    }

    fn rows(&mut self, name: &str) -> Result<usize, Error> {
        let array = self.archive.numbers_or_text(name)?;
        match array.shape() {
            [] | [0, ..] => Err(Error::field(&self.path, name, "has no rows")),
            [rows, ..] => Ok(*rows),
        }
    }

    fn shape(&mut self, name: &str) -> Result<Vec<usize>, Error> {
        let shape = self.archive.array(name)?.shape().get(1..).unwrap_or_default().to_vec();
        check_shape(&self.path, name, &shape)?;
        Ok(shape)
    }

    fn values(&mut self, name: &str, values: &mut Values) -> Result<Vec<u32>, Error> {
        let mut array = self.archive.numbers_or_text(name)?;
        if array.row_len() != 1 {
            let problem = format!("has shape {:?}; one value per sample is expected", array.shape());
            return Err(Error::field(&self.path, name, problem));
        }
        let (rows, block) = (array.len(), array.block_rows());
        let mut numbers = vec![];
        for first in (0..rows).step_by(block) {
            let count = block.min(rows - first);
            let found: Vec<Value> = match array.dtype().is_text() {
                true => array.texts(first, count)?.into_iter().map(Value::Text).collect(),
                false => array.ints(first, count)?.into_iter().map(Value::Integer).collect(),
            };
            for value in found {
                numbers.push(values.number(&self.path, name, value)?);
            }
        }
        Ok(numbers)
    }

    fn blocks(&mut self, names: &[&str], visit: &mut Visit<'_>) -> Result<(), Error> {
        let mut arrays = vec![];
        for &name in names {
            arrays.push((name, self.archive.array(name)?));
        }
        let rows = arrays.first().map_or(0, |(_, array)| array.len());
        let block = rows_per_block(arrays.iter().map(|(_, array)| array.row_len()).sum());
        for first in (0..rows).step_by(block) {
            let mut values = vec![];
            for (name, array) in &mut arrays {
                if array.len() != rows {
                    let problem = format!("there is no such row, other arrays have {rows}");
                    return Err(wrong(&self.path, name, array.len(), problem));
                }
                values.push(array.rows(first, block.min(rows - first))?);
            }
            visit(first, &values)?;
        }
        Ok(())
    }
}
