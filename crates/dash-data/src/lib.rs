//! Raw files -> Parquet datasets; Parquet -> batches. The recipes. Knows no network.
pub mod numpy_random;
pub mod pickle;
mod error;
pub use error::Error;
