//! Defines what an optimizer is: the trait, its hyperparameters, and its entry in the table.

use crate::{
    error::Result,
    gradients::Gradients,
    params::{ParamKind, Params},
};
use candle_core::Tensor;

/// Tensors by their names.
pub type NamedTensors = Vec<(String, Tensor)>;

/// Learning rates of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRates {
    /// Of the weights.
    pub weights: f64,
    /// Of the architecture parameters.
    pub architecture: f64,
}

impl LearningRates {
    /// One rate for all parameters.
    pub fn uniform(rate: f64) -> LearningRates {
        LearningRates { weights: rate, architecture: rate }
    }

    /// The rate of parameters of this kind.
    pub fn of(&self, kind: ParamKind) -> f64 {
        match kind {
            ParamKind::Weight => self.weights,
            ParamKind::Architecture => self.architecture,
        }
    }

    /// Both rates multiplied by `factor`.
    pub fn scaled(self, factor: f64) -> LearningRates {
        LearningRates { weights: factor * self.weights, architecture: factor * self.architecture }
    }
}

/// Updates the parameters of a network from their gradients.
pub trait Optimizer {
    /// Updates all parameters in place.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn step(&mut self, params: &Params, gradients: &Gradients, rates: LearningRates) -> Result<()>;

    /// The weight decay that it applies in each step.
    fn weight_decay(&self) -> f64;

    /// A copy of everything that it remembers between steps, such as momentum buffers.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    fn state(&self) -> Result<NamedTensors>;

    /// Restores what [`Optimizer::state`] returned for the same parameters, in any order.
    ///
    /// # Errors
    /// If tensors are missing, superfluous or of other shapes.
    fn load(&mut self, state: NamedTensors) -> Result<()>;
}

/// The hyperparameters that optimizers are built with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerOptions {
    /// Momentum, in [0, 1).
    pub momentum: f64,
    /// Weight decay, zero or positive.
    pub weight_decay: f64,
}

/// An entry of the table of optimizers.
pub struct OptimizerSpec {
    /// Short name in lower case.
    pub name: &'static str,
    /// Name in a sentence.
    pub title: &'static str,
    /// The number of values that it keeps per parameter between steps, for memory estimates.
    pub buffers: u64,
    /// Builds it for the parameters of a network.
    pub build: fn(&Params, &OptimizerOptions) -> Result<Box<dyn Optimizer>>,
}
