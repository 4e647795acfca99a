//! Errors of benchmarks.

use crate::tasks::TASKS;
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
            Error::UnknownTask { .. } => {
                let names: Vec<&str> = TASKS.iter().map(|task| task.name).collect();
                Some(format!("the tasks are {}", names.join(", ")))
            }
        }
    }
}
