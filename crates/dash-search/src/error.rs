//! Defines the errors of the architecture search.

use dash_core::error::{Classify, ErrorKind};
use dash_train::{Cause, TrainingStage};

/// Errors of the architecture search.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The search network cannot be trained.
    #[error(transparent)]
    Train(#[from] dash_train::Error),
    /// Architecture parameters of a layer are not finite.
    #[error("the architecture parameters of layer `{layer}` are not finite after epoch {}", .epoch + 1)]
    NotFinite {
        /// Name of the layer.
        layer: String,
        /// Zero-based epoch.
        epoch: usize,
    },
}

impl From<dash_store::Error> for Error {
    fn from(error: dash_store::Error) -> Self {
        Error::Train(error.into())
    }
}

impl From<dash_nn::Error> for Error {
    fn from(error: dash_nn::Error) -> Self {
        Error::Train(error.into())
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Error::Train(error.into())
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Train(error) => error.kind(),
            Error::NotFinite { .. } => ErrorKind::Stage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Train(error) => error.hint(),
            Error::NotFinite { layer, .. } => {
                Some(Cause::Architecture { name: layer.clone() }.hint(TrainingStage::Search))
            }
        }
    }
}
