//! Keeps the rows of one file, and the split of each.

use super::{npz::NpzTable, parquet::ParquetTable, table::Table};
use crate::Error;
use dash_core::{card::Split, pipeline::Protocol};
use std::path::PathBuf;

/// The formats that custom data is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustomFormat {
    /// numpy archives.
    Npz,
    /// Parquet files.
    Parquet,
}

impl CustomFormat {
    pub(super) fn open(self, path: PathBuf) -> Result<Box<dyn Table>, Error> {
        Ok(match self {
            CustomFormat::Npz => Box::new(NpzTable::open(path)?),
            CustomFormat::Parquet => Box::new(ParquetTable::open(path)?),
        })
    }
}

/// Samples of one file.
pub(super) struct Part {
    pub(super) table: Box<dyn Table>,
    /// Columns of inputs and targets.
    pub(super) input: String,
    pub(super) target: String,
    /// Of each row.
    pub(super) splits: Vec<Split>,
}

/// A row of a part, channels first.
pub(super) struct Sample<'a> {
    pub(super) row: usize,
    pub(super) split: Split,
    pub(super) input: &'a [f32],
    /// Empty for classes.
    pub(super) target: &'a [f32],
}

/// Whether a split of the dataset takes the rows that are assigned to `row`.
pub(super) fn takes(protocol: Protocol, split: Split, row: Split) -> bool {
    row == split || (protocol, split, row) == (Protocol::Paper, Split::Train, Split::Validation)
}
