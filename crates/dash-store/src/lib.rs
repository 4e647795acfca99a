//! Durable files: everything a run leaves behind appears whole or not at all, is known by its
//! hash, and is written by one process at a time.
//!
//! ```
//! use dash_store::{Staging, sha256, sha256_file};
//! # fn main() -> Result<(), dash_store::Error> {
//! # let here = std::env::temp_dir().join(format!("dash-store-doc-{}", std::process::id()));
//! let target = here.join("search");
//! let mut staging = Staging::begin(&target)?;
//! staging.write("architecture.json", b"{}")?;
//! assert!(!target.exists()); // nobody sees a half-made folder
//! staging.publish()?;
//! assert_eq!(sha256_file(&target.join("architecture.json"))?, sha256(b"{}"));
//! # dash_store::remove(&here)
//! # }
//! ```
//!
//! Limits: durability is that of `fsync` and `rename` on the file system below, and who holds a lock is what
//! `flock` says there. A file system without `flock` is refused; one on which it has no effect beyond a
//! machine, such as Lustre mounted with `localflock`, does not keep processes of other machines apart.

mod clock;
mod descriptors;
mod disk;
mod error;
mod failing;
mod fingerprint;
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
pub use lock::{Holder, Lock, Patience};
pub use memo::HashMemo;
pub use partial::Partial;
pub use plain::{STATE_LIMIT, open_plain, read_small};
pub use publish::{append, publish_file, publish_with, remove};
pub use record::{ConvolutionPlan, RECORD_FILE, StageRecord};
pub use runs::RunsRoot;
pub use seal::{Unsealed, seal, unseal};
pub use staging::{StagedFile, Staging, exchange};
pub use tidy::{last_change, recover, recover_shared};
