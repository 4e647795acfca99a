//! What a recipe is, and which recipe a dataset of a pipeline file has.

use crate::Error;
use dash_core::{
    card::DatasetCard,
    event::Listener,
    pipeline::{Dataset, Protocol},
};
use dash_data::Ingest;
use dash_store::Staging;
use std::path::PathBuf;

/// How the raw files of a dataset become samples. The settings of the recipe in the pipeline file implement it.
pub trait DatasetRecipe {
    /// The raw files that [`DatasetRecipe::ingest`] reads; none if the data is simulated.
    ///
    /// # Errors
    /// If a file does not exist.
    fn sources(&self) -> Result<Vec<PathBuf>, Error>;

    /// Raw files that are too many to be listed one by one, beside those of [`DatasetRecipe::sources`].
    ///
    /// # Errors
    /// If they cannot be listed.
    fn collection(&self) -> Result<Option<SourceCollection>, Error> {
        Ok(None)
    }

    /// Writes the splits of the dataset and its card. The settings were checked by [`Dataset::check`].
    ///
    /// # Errors
    /// If a raw file is missing, damaged, or does not hold what is expected; if the dataset cannot be written.
    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error>;
}

/// Raw files that are one input of the dataset stage.
pub struct SourceCollection {
    /// What they are called together.
    pub name: &'static str,
    /// The files in the order of their names.
    pub files: Vec<CollectedFile>,
}

/// A file of a [`SourceCollection`].
pub struct CollectedFile {
    /// Its name in the collection.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

macro_rules! dispatch {
    ($($(#[$doc:meta])* $recipe:ident($($settings:tt)*) = $name:literal,)*) => {
        /// The recipe of a dataset.
        pub fn recipe(dataset: &Dataset) -> &dyn DatasetRecipe {
            match dataset {
                $(Dataset::$recipe(settings) => settings,)*
            }
        }
    };
}
dash_core::for_each_recipe!(dispatch);

/// Writes `train.parquet`, `val.parquet`, `test.parquet` and the card `dataset.json` of a dataset into `staging`, which
/// the caller publishes. Reports progress to `listener`.
///
/// # Errors
/// If a setting is invalid; if a raw file is missing, damaged, or does not hold what is expected; if the dataset cannot
/// be written.
pub fn ingest(
    dataset: &Dataset,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<DatasetCard, Error> {
    dataset.check().map_err(|invalid| Error::configuration(invalid.key, invalid.message))?;
    recipe(dataset).ingest(&mut Ingest { recipe: dataset.recipe(), staging, protocol, listener })
}
