//! What can go wrong while hyperparameters are tuned.

use dash_core::error::{Classify, ErrorKind};

/// Failures of tuning. A diverged trial is none of them: it is recorded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A trial could not be run.
    #[error(transparent)]
    Train(#[from] dash_train::Error),
    /// No trial had a score.
    #[error("none of {trials} trials has a score; of the last one, {last}")]
    AllDiverged {
        /// How many trials were run.
        trials: usize,
        /// Why the last trial has none.
        last: Box<dash_train::Error>,
    },
    /// There is nothing to try.
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
            Error::NoTrials => Some("give each list of `[tune]` a value".to_owned()),
        }
    }
}
