//! Networks and what training them takes: parameters, layers, backbones, losses, metrics,
//! optimiser, schedule. On candle, with own fused operations wherever training goes through.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use dash_core::pipeline::Backbone;
//! use dash_nn::{Backend, FixedKernels, ForwardContext, ParamBuilder, build};
//!
//! let mut params = ParamBuilder::new(0, 0, &Backend::cpu());
//! let backbone = Backbone::Resnet1d { channels: None, causal: true };
//! let net = build(&backbone, &[1, 100], 4, false, 0.0, &mut FixedKernels::default(), &mut params)?;
//! assert_eq!(params.finish().count(), 2_240);
//! let x = Tensor::zeros((2, 1, 100), candle_core::DType::F32, &Device::Cpu)?;
//! assert_eq!(net.forward(&x, &ForwardContext::evaluation())?.dims(), [2, 4]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activation;
mod backbone;
mod backend;
mod context;
mod error;
mod gradients;
mod init;
mod layers;
mod metric;
mod objective;
mod optim;
mod params;
mod schedule;
mod targets;
#[cfg(test)]
mod testing;

pub use activation::Activation;
pub use backbone::{
    ConvBuilder, ConvSpec, Convolve, FixedKernels, Network, build, default_retrain_backbone,
    default_search_backbone,
};
pub use backend::{
    Backend, Backward, Computed, DropoutMask, GradientScale, NormOperands, Normalised, OperandGradients,
    Operations, ParamBackward, PendingScalar, SgdOperands, SgdRule, ShapeBackend, ShapeTrace, Statistics,
    arch_gradient,
};
pub use context::ForwardContext;
pub use error::{Error, GPU_HINT, Result, is_gpu_error};
pub use gradients::Gradients;
pub use init::{ConvInit, Init};
pub use metric::{Accumulator, BatchMean};
pub use objective::Objective;
pub use optim::{
    DEFAULT_OPTIMIZER, LearningRates, NamedTensors, OPTIMIZERS, Optimizer, OptimizerOptions, OptimizerSpec,
    Sgd,
};
pub use params::{Buffer, Param, ParamBuilder, ParamKind, Params};
pub use schedule::{EpochNumber, SCHEDULES, ScheduleSpec, learning_rate};
pub use targets::Targets;
