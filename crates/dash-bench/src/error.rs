//! Defines the errors of benchmarks.

use dash_core::error::{Classify, ErrorKind};

/// Failures of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A network that is to be timed cannot be built or computed.
    #[error(transparent)]
    Network(#[from] dash_nn::Error),
    /// The benchmark has no such task.
    #[error("unknown benchmark task {name:?}")]
    UnknownTask {
        /// The requested name.
        name: String,
        /// The names of all tasks.
        known: Vec<&'static str>,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Network(e) => e.kind(),
            Error::UnknownTask { .. } => ErrorKind::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Network(e) => e.hint(),
            Error::UnknownTask { known, .. } => Some(format!("the tasks are {}", known.join(", "))),
        }
    }
}
