//! Custom data: the reader is that of `dash_data`.

use crate::{DatasetRecipe, Error};
use dash_core::{
    card::DatasetCard,
    pipeline::{NpzData, ParquetData},
};
use dash_data::{
    Ingest,
    custom::{self, CustomFormat},
};
use std::path::PathBuf;

impl DatasetRecipe for NpzData {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(custom::sources(&self.0)?)
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        Ok(custom::ingest(&self.0, CustomFormat::Npz, cx)?)
    }
}

impl DatasetRecipe for ParquetData {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(custom::sources(&self.0)?)
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        Ok(custom::ingest(&self.0, CustomFormat::Parquet, cx)?)
    }
}

#[cfg(test)]
mod tests;
