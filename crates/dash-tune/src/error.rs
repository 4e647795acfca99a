//! Defines the errors of hyperparameter tuning.

use dash_core::error::{Classify, ErrorKind};

/// Errors of tuning. A diverged trial is not an error: it is recorded and ranked last.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A trial could not be run.
    #[error(transparent)]
    Train(#[from] dash_train::Error),
    /// No trial has a finite validation metric.
    #[error("none of {trials} trials has a finite validation metric; of the last one, {last}")]
    AllDiverged {
        /// The number of trials that were run.
        trials: usize,
        /// Why the last trial has none.
        last: Box<dash_train::Error>,
    },
    /// The grid is empty.
    #[error("`tune` has no combination of values to try")]
    NoTrials,
}

impl From<dash_store::Error> for Error {
    fn from(error: dash_store::Error) -> Self {
        Error::Train(error.into())
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Train(error) => error.kind(),
            Error::AllDiverged { .. } => ErrorKind::Stage,
            Error::NoTrials => ErrorKind::Configuration,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Train(error) => error.hint(),
            Error::AllDiverged { last, .. } => last.hint(),
            Error::NoTrials => Some("give each list of `[tune]` at least one value".to_owned()),
        }
    }
}
