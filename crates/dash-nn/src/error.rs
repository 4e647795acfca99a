//! Says what can go wrong when networks are built, trained or restored.

use dash_core::{
    card::TargetKind,
    error::{Classify, ErrorKind},
    pipeline::{Loss, Metric},
};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A convolution cannot be built.
    #[error("convolution: {0}")]
    Convolution(#[from] dash_conv::Error),
    /// The backbone does not exist with these settings or does not fit the data.
    #[error("backbone `{backbone}`: {reason}")]
    Backbone {
        /// Kind of the backbone, as in pipeline files.
        backbone: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A pattern has the wrong number of entries.
    #[error("the pattern has {found} kernels, the backbone has {expected} convolutions that take one")]
    PatternLength {
        /// Searched convolutions of the backbone.
        expected: usize,
        /// Entries of the pattern.
        found: usize,
    },
    /// Two parameters or buffers have one name.
    #[error("two parameters or buffers are named `{name}`")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A saved state does not belong to this network.
    #[error("saved state does not fit the network: `{name}` {reason}")]
    State {
        /// Name of the tensor.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A parameter has no gradient.
    #[error("parameter `{name}` has no influence on the loss")]
    NoGradient {
        /// Name of the parameter.
        name: String,
    },
    /// Targets do not fit the output or the loss.
    #[error("targets: {0}")]
    Target(String),
    /// The loss or the metric is for targets of another kind.
    #[error("{what} `{name}` needs {needs}, the dataset has {has}")]
    Unsuitable {
        /// `loss` or `metric`, as the key of `[task]`.
        what: &'static str,
        /// Its kind, as in pipeline files.
        name: &'static str,
        /// The kind of targets that it is for.
        needs: TargetKind,
        /// The kind of targets of the dataset.
        has: TargetKind,
    },
    /// A loss is implemented on the CPU only.
    #[error("loss `{loss}` is not implemented on GPUs")]
    NoGpuKernel {
        /// Its kind, as in pipeline files.
        loss: &'static str,
    },
    /// A hyperparameter is out of range.
    #[error("{name} = {value}: must be {must}")]
    Range {
        /// Name of the hyperparameter.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        must: &'static str,
    },
}

impl Error {
    pub(crate) fn unsuitable_loss(loss: Loss, has: TargetKind) -> Error {
        Error::Unsuitable { what: "loss", name: loss.name(), needs: loss.spec().target, has }
    }

    pub(crate) fn unsuitable_metric(metric: Metric, has: TargetKind) -> Error {
        Error::Unsuitable { what: "metric", name: metric.name(), needs: metric.spec().target, has }
    }
}

/// Whether a GPU, or its driver, failed or had too little memory.
pub fn is_gpu_error(error: &candle_core::Error) -> bool {
    use candle_core::Error as Tensor;
    match error {
        Tensor::Cuda(_) => true,
        Tensor::WithBacktrace { inner, .. }
        | Tensor::Context { inner, .. }
        | Tensor::WithPath { inner, .. } => is_gpu_error(inner),
        _ => false,
    }
}

/// What to do where a GPU failed.
pub const GPU_HINT: &str = "smaller batches need less of its memory; another program may be using the GPU";

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Tensor(error) if is_gpu_error(error) => ErrorKind::Device,
            Error::Tensor(_) | Error::DuplicateName { .. } | Error::NoGradient { .. } => ErrorKind::Internal,
            Error::Convolution(_)
            | Error::Backbone { .. }
            | Error::PatternLength { .. }
            | Error::Unsuitable { .. }
            | Error::NoGpuKernel { .. }
            | Error::Range { .. } => ErrorKind::Configuration,
            Error::State { .. } | Error::Target(_) => ErrorKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Tensor(error) if is_gpu_error(error) => Some(GPU_HINT.to_owned()),
            Error::Backbone { .. } => Some("change `backbone` in the pipeline file".to_owned()),
            Error::PatternLength { .. } => {
                Some("search again with this backbone, or retrain the backbone that was searched".to_owned())
            }
            Error::State { .. } => Some(
                "the file was written by another network: build the network from its model.json".to_owned(),
            ),
            Error::Unsuitable { what, has, .. } => {
                Some(format!("choose a `{what}` in [task] that is for {has}"))
            }
            Error::NoGpuKernel { .. } => Some("use --device cpu, or another loss".to_owned()),
            Error::Target(_) => Some("check `[task] loss` against the targets of the dataset".to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_a_gpu_are_those_of_a_device() {
        let failed = || dash_cuda::Error::Gpu { what: "a kernel".into(), reason: "no memory".into() };
        let wrong = || dash_cuda::Error::Operands { operation: "add", what: "1 is not 2".into() };
        let kind = |error: candle_core::Error| Error::from(error).kind();
        assert_eq!(kind(candle_core::Error::from(failed()).bt()), ErrorKind::Device);
        assert_eq!(kind(candle_core::Error::from(failed()).context("a layer")), ErrorKind::Device);
        assert_eq!(kind(candle_core::Error::from(wrong())), ErrorKind::Internal);
        assert_eq!(candle_core::Error::from(failed()).to_string(), "the GPU failed at a kernel: no memory");
    }
}
