//! Lists the optimizers. One is added by a file in this folder and a line in [`OPTIMIZERS`].

mod optimizer;
mod sgd;

pub use optimizer::{LearningRates, NamedTensors, Optimizer, OptimizerOptions, OptimizerSpec};
pub use sgd::Sgd;

/// All optimizers.
pub const OPTIMIZERS: &[OptimizerSpec] = &[sgd::SPEC];

/// The optimizer of networks whose settings do not name another one.
pub const DEFAULT_OPTIMIZER: OptimizerSpec = sgd::SPEC;
