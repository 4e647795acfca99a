//! Networks and what training them takes: parameters, layers, backbones, losses, metrics,
//! optimiser, schedule. On candle, with own fused operations wherever training goes through.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use dash_core::pipeline::Backbone;
//! use dash_nn::{ParamBuilder, ForwardContext, FixedKernels, build};
//!
//! let mut params = ParamBuilder::new(0, 0, &Device::Cpu);
//! let backbone = Backbone::Resnet1d { channels: None, causal: true };
//! let net = build(&backbone, &[1, 100], 4, false, 0.0, &mut FixedKernels::default(), &mut params)?;
//! assert_eq!(params.finish().count(), 2_240);
//! let x = Tensor::zeros((2, 1, 100), candle_core::DType::F32, &Device::Cpu)?;
//! assert_eq!(net.forward(&x, &ForwardContext::evaluation())?.dims(), [2, 4]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activation;
mod backbone;
mod error;
mod gradients;
mod init;
mod layers;
mod metric;
mod objective;
mod ops;
mod optim;
mod params;
mod schedule;
mod survey;

pub use activation::Activation;
pub use backbone::{
    ConvBuilder, ConvSpec, Convolve, FixedKernels, Network, build, default_retrain_backbone,
    default_search_backbone,
};
pub use error::{Error, GPU_HINT, is_gpu_error};
pub use gradients::Gradients;
pub use init::{ConvInit, Init};
pub use metric::{Accumulator, BatchMean};
pub use objective::{Objective, Targets};
pub use ops::{mixing_coefficients, treated_gradient};
pub use optim::{
    DEFAULT_OPTIMIZER, LearningRates, NamedTensors, OPTIMIZERS, Optimizer, OptimizerOptions, OptimizerSpec,
    Sgd,
};
pub use params::{Buffer, Param, ParamBuilder, ParamKind, Params};
pub use schedule::{EpochNumber, SCHEDULES, ScheduleSpec, learning_rate};
pub use survey::Survey;

/// Names the random draws of one forward pass, and says whether it is for training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardContext {
    /// Whether batch statistics, dropout and gradients are on.
    pub training: bool,
    /// Seed of the run.
    pub seed: u64,
    /// Zero-based epoch of the stage.
    pub epoch: usize,
    /// Zero-based step of the stage, counted over all epochs.
    pub step: u64,
}

impl ForwardContext {
    /// A pass without randomness and gradients.
    pub fn evaluation() -> ForwardContext {
        ForwardContext { training: false, seed: 0, epoch: 0, step: 0 }
    }
}
