//! Defines the errors of training and evaluation.

use crate::{cause::Cause, stage::TrainingStage};
use dash_core::error::{Classify, ErrorKind};
use dash_nn::{GPU_HINT, is_gpu_error};
use std::path::PathBuf;

/// Errors of training, evaluation and retraining.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The dataset cannot be read.
    #[error(transparent)]
    Data(#[from] dash_data::Error),
    /// The network cannot be built or computed.
    #[error(transparent)]
    Network(#[from] dash_nn::Error),
    /// Outputs cannot be written.
    #[error(transparent)]
    Store(#[from] dash_store::Error),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The training loss is not finite.
    #[error(
        "the training loss is {loss} in epoch {}, step {step} \
         (learning rate {learning_rate}, gradient norm {gradient_norm}): {cause}", .epoch + 1
    )]
    Diverged {
        /// The stage that trains.
        stage: TrainingStage,
        /// Zero-based epoch.
        epoch: usize,
        /// One-based step in the epoch.
        step: usize,
        /// Learning rate of the weights.
        learning_rate: f64,
        /// The loss.
        loss: f64,
        /// Norm of all gradients of the step, before clipping.
        gradient_norm: f64,
        /// Why, as far as the parameters show.
        cause: Cause,
    },
    /// The metric of the trained network is not finite.
    #[error("the trained network's {metric} on the {split} split is {value}: {cause}")]
    NoScore {
        /// The stage that trained it.
        stage: TrainingStage,
        /// Name of the metric.
        metric: String,
        /// The split.
        split: String,
        /// The value: infinite or not a number.
        value: f64,
        /// Why, as far as the parameters show.
        cause: Cause,
    },
    /// Training samples are not finite numbers.
    #[error(
        "{what} of training samples of epoch {}, step {step} are not finite numbers{}", .epoch + 1,
        if *.augmented { " after `task.augment`" } else { "" }
    )]
    NotFinite {
        /// `inputs` or `targets`.
        what: &'static str,
        /// Zero-based epoch.
        epoch: usize,
        /// One-based step in the epoch.
        step: usize,
        /// Whether they are finite numbers in the dataset.
        augmented: bool,
    },
    /// An architecture has more kernels than the network has convolutions for.
    #[error("architecture.json has {found} kernels, but the network has {expected} searchable convolutions")]
    SurplusKernels {
        /// Searchable convolutions of the network.
        expected: usize,
        /// Kernels in the file.
        found: usize,
    },
    /// A result file of an earlier stage cannot be used.
    #[error("{path} {reason}", path = path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no default backbone for the shape of the data.
    #[error(
        "there is no default backbone for samples of shape {shape:?}: channels and 1 or 2 spatial axes are needed"
    )]
    Shape {
        /// Shape of one sample.
        shape: Vec<usize>,
    },
    /// Augmentation scales the background, but the dataset has no background levels.
    #[error("`task.augment`: the samples of the dataset have no background level")]
    NoBackground,
    /// Augmentation mixes in noise, but the dataset has no recordings of noise.
    #[error("`task.augment`: the dataset has no recordings of noise")]
    NoNoise,
    /// A split that is needed has no rows.
    #[error("the {split} split of the dataset has no rows")]
    EmptySplit {
        /// Name of the split.
        split: &'static str,
    },
    /// The stage was asked to stop. `fit` returns it after it took a checkpoint.
    #[error("stopped at a checkpoint")]
    Stopped,
    /// A file cannot be encoded, or is not in its format.
    #[error("{path}: {reason}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Data(error) => error.kind(),
            Error::Network(error) => error.kind(),
            Error::Store(error) => error.kind(),
            Error::Tensor(error) if is_gpu_error(error) => ErrorKind::Device,
            Error::Tensor(_) => ErrorKind::Internal,
            Error::Stopped => ErrorKind::Stopped,
            Error::NoBackground | Error::NoNoise => ErrorKind::Configuration,
            Error::Diverged { .. } | Error::NoScore { .. } => ErrorKind::Stage,
            Error::Shape { .. }
            | Error::EmptySplit { .. }
            | Error::Format { .. }
            | Error::NotFinite { .. }
            | Error::SurplusKernels { .. }
            | Error::Input { .. } => ErrorKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Data(error) => error.hint(),
            Error::Network(error) => error.hint(),
            Error::Store(error) => error.hint(),
            Error::Tensor(error) if is_gpu_error(error) => Some(GPU_HINT.to_owned()),
            Error::Tensor(_) | Error::Format { .. } => None,
            Error::Stopped => Some("run the same command to resume".to_owned()),
            Error::Diverged { stage, cause, .. } | Error::NoScore { stage, cause, .. } => {
                Some(cause.hint(*stage))
            }
            Error::NotFinite { augmented: true, .. } => {
                Some("check the settings of `task.augment`".to_owned())
            }
            Error::NotFinite { .. } => Some(
                "`dash-nas data verify` checks whether the dataset is intact; if it is, repair the raw files"
                    .to_owned(),
            ),
            Error::SurplusKernels { .. } => {
                Some("search again with this backbone, or retrain the backbone that was searched".to_owned())
            }
            Error::Input { path, .. } => {
                Some(format!("delete {} and run again", path.parent().unwrap_or(path).display()))
            }
            Error::NoBackground => Some("remove the kind `background` from `task.augment`".to_owned()),
            Error::NoNoise => Some("remove the kind `noise` from `task.augment`".to_owned()),
            Error::Shape { .. } => Some("name a backbone in [search] and [retrain]".to_owned()),
            Error::EmptySplit { .. } => Some("give the dataset more samples, or another split".to_owned()),
        }
    }
}
