//! Turns the raw files of known datasets into datasets: one folder per recipe. Fetches the raw files.
//!
//! ```
//! use dash_core::{card::Split, event::Silent, pipeline::{Dataset, Protocol}, targets::Targets};
//! use dash_data::DatasetFolder;
//! use dash_store::Staging;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let here = std::env::temp_dir().join(format!("dash-recipes-doc-{}", std::process::id()));
//! // A small Darcy Flow dataset, simulated.
//! let dataset: Dataset = serde_json::from_str(
//!     r#"{"recipe": "darcy-flow", "simulate": {"grid": 17}, "subsample": 2,
//!         "train": 6, "validation": 2, "test": 2}"#,
//! )?;
//! let mut staging = Staging::begin(&here.join("dataset"))?;
//! dash_recipes::ingest(&dataset, Protocol::Strict, &mut staging, &Silent)?;
//! staging.publish()?;
//!
//! let folder = DatasetFolder::open(&here.join("dataset"))?;
//! assert_eq!(folder.card().input.shape, [3, 9, 9]);
//! let batch = folder.split(Split::Train)?.gather(&[5, 0])?;
//! assert_eq!(batch.input.len(), 2 * 3 * 9 * 9);
//! assert!(matches!(batch.target, Targets::Field(values) if values.len() == 2 * 9 * 9));
//! # dash_store::remove(&here)?;
//! # Ok(())
//! # }
//! ```

mod cifar;
mod cosmic;
mod custom;
mod darcy;
mod deepsea;
mod ecg;
mod fsd50k;
mod mnist;
mod music;
mod ninapro;
mod psicov;
mod satellite;
mod spherical;

mod error;
mod fetch;
mod recipe;
mod shared;
mod sources;

pub use error::Error;
pub use fetch::{Fetched, HASHES_FILE, Mirrors, Present, RawFile, RawTask, catalogue, download, import};
pub use recipe::{CollectedFile, DatasetRecipe, SourceCollection, ingest, recipe};
pub use sources::{source_hashes, sources};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
