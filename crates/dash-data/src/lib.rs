//! Raw files -> Parquet datasets; Parquet -> batches. The recipes. Knows no network.
//!
//! ```
//! use dash_core::{card::Split, event::Silent, pipeline::{Dataset, Protocol}};
//! use dash_data::{BatchTarget, DatasetFolder, ingest};
//! use dash_store::Staging;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let here = std::env::temp_dir().join(format!("dash-data-doc-{}", std::process::id()));
//! // A small Darcy Flow dataset, made on the spot.
//! let dataset: Dataset = serde_json::from_str(
//!     r#"{"recipe": "darcy-flow", "simulate": {"grid": 17}, "subsample": 2,
//!         "train": 6, "validation": 2, "test": 2}"#,
//! )?;
//! let mut staging = Staging::begin(&here.join("dataset"))?;
//! ingest(&dataset, Protocol::Strict, &mut staging, &Silent)?;
//! staging.publish()?;
//!
//! let folder = DatasetFolder::open(&here.join("dataset"))?;
//! assert_eq!(folder.card().input.shape, [3, 9, 9]);
//! let batch = folder.split(Split::Train)?.gather(&[5, 0])?;
//! assert_eq!(batch.input.len(), 2 * 3 * 9 * 9);
//! assert!(matches!(batch.target, BatchTarget::Field(values) if values.len() == 2 * 9 * 9));
//! # dash_store::remove(&here)?;
//! # Ok(())
//! # }
//! ```

pub mod matlab;
pub mod npy;
pub mod numpy_random;
pub mod pickle;

mod batch;
mod cache;
mod catalogue;
mod cifar;
mod content;
mod cosmic;
mod darcy;
mod deepsea;
mod ecg;
mod error;
mod fetch;
mod folder;
mod fsd50k;
mod hdf5;
mod http;
mod idx;
mod inspect;
mod mel;
mod mnist;
mod music;
mod ninapro;
mod noise;
mod own;
mod packed;
mod pairs;
mod points;
mod psicov;
mod recipe;
mod satellite;
mod sources;
mod spherical;
mod suits;
mod table;
mod verify;
mod zipped;

pub use batch::{Batch, BatchTarget, SplitData};
pub use catalogue::{Present, RawFile, RawTask, catalogue};
pub use content::{dataset_content, reduce_settings, settings_content};
pub use error::Error;
pub use fetch::{Fetched, HASHES_FILE, Mirrors, download, import};
pub use folder::{DatasetFolder, read_card};
pub use inspect::{Histogram, LabelCount, Moments, SplitSummary, TensorSummary};
pub use noise::Noise;
pub use pairs::PairWindow;
pub use recipe::ingest;
pub use sources::{raw_folder, rename_inputs, source_hashes, sources};
pub use verify::{Checked, verify, verify_sources};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
