//! Re-exports the targets of a batch, which the data crates share.

pub use dash_core::targets::Targets;
