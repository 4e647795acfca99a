//! Datasets: Parquet files with a dataset card, their memory-mapped cache, splits and batches; custom data.
//! Knows no network and no recipe.
//!
//! ```
//! use dash_core::{
//!     card::{ElementType, Split, Target, TensorField},
//!     event::Silent,
//!     pipeline::Protocol,
//!     targets::Targets,
//! };
//! use dash_data::{CardDetails, DatasetFolder, DatasetRow, Error, Ingest, RowLayout, RowTarget};
//! use dash_store::Staging;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let here = std::env::temp_dir().join(format!("dash-data-doc-{}", std::process::id()));
//! // Series of four numbers in two classes.
//! let input = TensorField { column: "input".into(), shape: vec![1, 4], element: ElementType::F32 };
//! let target = Target::Class { column: "target".into(), labels: vec!["rising".into(), "falling".into()] };
//! let mut staging = Staging::begin(&here.join("dataset"))?;
//! let (protocol, listener) = (Protocol::Strict, &Silent);
//! let mut ingest = Ingest { recipe: "series", staging: &mut staging, protocol, listener };
//! let mut writer = ingest.writer(RowLayout::new(input, target, vec!["sample"]));
//! for split in Split::ALL {
//!     writer.split(split, |push| {
//!         for (class, input) in [[0., 1., 2., 3.], [3., 2., 1., 0.]].iter().enumerate() {
//!             let target = RowTarget::Class(class);
//!             push(DatasetRow { input, target, background: 0.0, ids: &[class as i64], tuning: true })?;
//!         }
//!         Ok::<(), Error>(())
//!     })?;
//! }
//! writer.finish(CardDetails { sources: vec![], target_scaling: None, notes: [].into(), licence: "CC0" })?;
//! staging.publish()?;
//!
//! let folder = DatasetFolder::open(&here.join("dataset"))?;
//! let batch = folder.split(Split::Train)?.gather(&[1, 0])?;
//! assert_eq!(batch.input, [3., 2., 1., 0., 0., 1., 2., 3.]);
//! assert_eq!(batch.target, Targets::Class(vec![1, 0]));
//! # dash_store::remove(&here)?;
//! # Ok(())
//! # }
//! ```

pub mod custom;
pub mod raw;

mod batch;
mod cache;
mod check_task;
mod content;
mod error;
mod folder;
mod inspect;
mod noise;
mod pairs;
mod split;
mod table;
mod verify;
mod writer;

pub use batch::Batch;
pub use content::reduce_settings;
pub use error::{Error, Subject};
pub use folder::{DatasetFolder, dataset_content, read_card};
pub use inspect::{Histogram, LabelCount, Moments, SplitSummary, TensorSummary};
pub use noise::Noise;
pub use pairs::{PairRow, PairWindow};
pub use split::SplitData;
pub use table::{DatasetRow, RowLayout, RowTarget};
pub use verify::{Checked, verify, verify_sources};
pub use writer::{CardDetails, DatasetWriter, Ingest};
