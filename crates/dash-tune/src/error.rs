//! What can go wrong while hyperparameters are tuned.

use dash_core::error::{Classify, ErrorKind};

/// Failures of tuning. A diverged trial is none of them: it is recorded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A trial could not be run.
    #[error(transparent)]
    Train(#[from] dash_train::Error),
    /// No trial had a score.
    #[error("all {trials} trials diverged: their loss or score is not a finite number")]
    AllDiverged {
        /// How many trials were run.
        trials: usize,
    },
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
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Train(error) => error.hint(),
            Error::AllDiverged { .. } => Some("add smaller values to `tune.learning_rates`".to_owned()),
        }
    }
}
