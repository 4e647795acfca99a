//! Durable files: everything that a run writes appears completely or not at all, is identified by its hash, and is
//! written by one process at a time.
//!
//! ```
//! use dash_store::{Staging, sha256, sha256_file};
//! # fn main() -> Result<(), dash_store::Error> {
//! # let here = std::env::temp_dir().join(format!("dash-store-doc-{}", std::process::id()));
//! let target = here.join("search");
//! let mut staging = Staging::begin(&target)?;
//! staging.write("architecture.json", b"{}")?;
//! assert!(!target.exists()); // an unfinished folder is not visible
//! staging.publish()?;
//! assert_eq!(sha256_file(&target.join("architecture.json"))?, sha256(b"{}"));
//! # dash_store::remove(&here)
//! # }
//! ```
//!
//! Limits: durability is that of `fsync` and `rename` of the underlying file system, and locks are those of its `flock`.
//! A file system without `flock` is refused. Where `flock` works only within a machine, as on Lustre mounted with
//! `localflock`, processes of different machines do not exclude each other.

mod clock;
mod descriptors;
mod disk;
mod error;
mod failing;
mod fingerprint;
mod holder;
mod lock;
mod memo;
mod partial;
mod plain;
mod publish;
mod record;
mod runs;
mod seal;
mod staging;
mod tidy;

pub use clock::now_utc;
pub use descriptors::{raise_descriptor_limit, require_descriptors};
pub use disk::{Disk, DiskFile, LocalDisk, write_through};
pub use error::Error;
pub use failing::{FailingDisk, Fault};
pub use fingerprint::{canonical, fingerprint, sha256, sha256_file};
pub use holder::Holder;
pub use lock::{Lock, Patience};
pub use memo::HashMemo;
pub use partial::Partial;
pub use plain::{STATE_LIMIT, open_plain, read_small};
pub use publish::{append, publish_file, publish_with, remove};
pub use record::{ConvolutionPlan, RECORD_FILE, StageRecord};
pub use runs::RunsRoot;
pub use seal::{Unsealed, seal, unseal};
pub use staging::{StagedFile, Staging, exchange};
pub use tidy::{last_change, recover, recover_shared};
