//! Declares the operations that a backend computes.

use super::scalar::PendingScalar;
use crate::targets::Targets;
use candle_core::{Device, Result, Shape, Tensor, Var};
use dash_conv::{ConvGradients, ConvProblem, GradientsOf, MixedResults, Mixture, TapConv};
use dash_core::{card::Scaling, pipeline::Loss};
use dash_cuda::Gpu;
use std::{fmt, ops::Deref, sync::Arc};

/// A handle to what computes the operations of a network. Clones are the same backend.
///
/// ```
/// use dash_nn::Backend;
///
/// let cpu = Backend::cpu();
/// let loss = cpu.upload(vec![0.5], ().into())?;
/// assert_eq!(cpu.read_scalar(&loss)?.ready(), Some(0.5));
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Backend(Arc<dyn Operations>);

impl Backend {
    /// A handle to `operations`.
    pub fn new(operations: impl Operations + 'static) -> Backend {
        Backend(Arc::new(operations))
    }
}

impl Deref for Backend {
    type Target = dyn Operations;

    fn deref(&self) -> &(dyn Operations + 'static) {
        self.0.as_ref()
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({})", self.name())
    }
}

/// Turns the gradient of an operation's result into that of its operand.
pub type Backward = Box<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

/// Turns the gradient of an operation's result, and its two parameters, into the gradients of its operands. The flag says
/// whether the gradient of the input is wanted besides those of the parameters.
pub type ParamBackward = Box<dyn Fn(&Tensor, [&Tensor; 2], bool) -> Result<OperandGradients> + Send + Sync>;

/// Gradients of an operation that has an input and two parameters.
pub struct OperandGradients {
    /// Gradient of the input, if it was wanted.
    pub input: Option<Tensor>,
    /// Gradients of the parameters.
    pub parameters: [Tensor; 2],
}

/// A result, and its gradient rule `B` unless the operation is not differentiable.
pub struct Computed<B> {
    /// The result.
    pub value: Tensor,
    /// Its gradient rule.
    pub backward: Option<B>,
}

/// Which statistics a batch normalisation uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistics {
    /// Those of the batch; the running statistics take this share of them.
    Batch {
        /// Share of the new statistics in the running ones.
        momentum: f64,
    },
    /// The running statistics, as in evaluation. Not differentiable.
    Running,
}

/// Operands of a batch normalisation: y = (x - mean) / sqrt(variance + epsilon) * weight + bias, then a ReLU if asked for.
#[derive(Clone, Copy)]
pub struct NormOperands<'a> {
    /// `[channels]`
    pub weight: &'a Tensor,
    /// `[channels]`
    pub bias: &'a Tensor,
    /// Running mean, `[channels]`.
    pub mean: &'a Tensor,
    /// Running variance, `[channels]`.
    pub variance: &'a Tensor,
    /// Added to variances.
    pub epsilon: f64,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// Which statistics are used.
    pub statistics: Statistics,
}

/// What a batch normalisation computes.
pub struct Normalised {
    /// The normalised input.
    pub output: Computed<ParamBackward>,
    /// New running mean and variance, where they change.
    pub running: Option<[Tensor; 2]>,
}

/// Identifies one dropout mask: any part of it can be recomputed without history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutMask {
    /// Seed of the run.
    pub seed: u64,
    /// Step of the stage.
    pub step: u64,
    /// Dropout layer of the network.
    pub layer: u64,
    /// Probability of dropping an element, in [0, 1).
    pub probability: f64,
}

impl DropoutMask {
    /// Elements that share a random stream. Part of the definition of a mask.
    pub(crate) const BLOCK: usize = 4096;

    /// The random word below which an element is dropped, and the scale of the others.
    pub(crate) fn threshold_and_scale(&self) -> (u32, f32) {
        ((self.probability * 2f64.powi(32)) as u32, (1.0 / (1.0 - self.probability)) as f32)
    }
}

/// What gradients are multiplied with before an optimiser uses them.
#[derive(Clone, Debug)]
pub enum GradientScale {
    /// A known number.
    Known(f64),
    /// A tensor of one element on the device, which may not be computed yet.
    OnDevice(Tensor),
}

/// Constants of stochastic gradient descent with Nesterov momentum, in PyTorch's convention:
/// g' = scale g + decay p; buffer = momentum buffer + g'; p -= rate (g' + momentum buffer).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdRule {
    /// Momentum.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// One parameter of a step of stochastic gradient descent.
pub struct SgdOperands<'a> {
    /// The parameter.
    pub values: &'a Var,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// Its momentum buffer.
    pub buffer: &'a mut Tensor,
    /// Its learning rate.
    pub rate: f64,
}

/// What a device has to offer for networks to be trained on it. Tensors are f32 and contiguous unless said otherwise.
///
/// # Errors
/// All operations fail if shapes do not fit each other, if a tensor is on another device, or if the device fails.
pub trait Operations: Send + Sync {
    /// `cpu`, `cuda:0`, `emulator`, `shapes`.
    fn name(&self) -> String;

    /// Where tensors are.
    fn device(&self) -> &Device;

    /// The GPU that computes, if one does.
    fn gpu(&self) -> Option<&Gpu> {
        None
    }

    /// Model name of the device, if it is not the CPU and has one.
    fn model_name(&self) -> Option<String> {
        self.gpu()?.name()
    }

    /// Bytes of the device's own memory that are free; `None` if it uses the host's or does not say.
    fn free_memory(&self) -> Option<u64> {
        self.gpu()?.free_memory()
    }

    /// Whether the device computes while the host goes on: batches are then prepared ahead.
    fn is_asynchronous(&self) -> bool {
        false
    }

    /// Bytes of work space that the convolution `problem` needs, by the cost model.
    fn conv_workspace(&self, problem: &ConvProblem) -> u64;

    /// `values` as a tensor of this shape.
    fn upload(&self, values: Vec<f32>, shape: Shape) -> Result<Tensor>;

    /// Starts reading a tensor of one element.
    fn read_scalar(&self, scalar: &Tensor) -> Result<PendingScalar>;

    /// `x` outside of any gradient graph, in the layout that operations need.
    fn detach(&self, x: &Tensor) -> Result<Tensor> {
        x.detach().contiguous()
    }

    /// a + b, for a residual connection.
    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor>;

    /// sum + term, in the memory of `sum` where that is possible: nothing else may read it.
    fn accumulate(&self, sum: Tensor, term: &Tensor) -> Result<Tensor>;

    /// The convolution of `x`, `[B, C_in, ...]`; see [`TapConv::forward`].
    fn convolve(
        &self,
        x: &Tensor,
        conv: &Arc<TapConv>,
        weights: &Tensor,
        bias: &Tensor,
    ) -> Result<Computed<ParamBackward>> {
        let value = conv.forward_detached(x, weights, Some(bias))?;
        let (conv, x) = (conv.clone(), x.clone());
        let backward: ParamBackward = Box::new(move |grad, [weights, _], want_input| {
            let needed = if want_input { GradientsOf::All } else { GradientsOf::Parameters };
            let ConvGradients { input, weights, bias, .. } = conv.backward(&x, weights, grad, needed)?;
            Ok(OperandGradients { input, parameters: [weights, bias] })
        });
        Ok(Computed { value, backward: Some(backward) })
    }

    /// The weights of a mixed operation; differentiable tensors of candle's graph, see [`Mixture::mix`].
    fn mix(
        &self,
        mixture: &Mixture,
        weights: &Tensor,
        mixing_weights: &Tensor,
        channels: [usize; 2],
    ) -> Result<Tensor>;

    /// A mixed operation computed candidate by candidate; see [`MixedResults::forward`].
    fn mix_results(
        &self,
        mixture: &MixedResults,
        x: &Tensor,
        weights: &Tensor,
        mixing_weights: &Tensor,
        bias: &Tensor,
    ) -> Result<Tensor> {
        mixture.forward(x, weights, mixing_weights, bias)
    }

    /// The batch normalisation of `x`, `[B, C, ...]` (Ioffe and Szegedy 2015).
    fn batch_norm(&self, x: &Tensor, operands: NormOperands<'_>) -> Result<Normalised>;

    /// The mean over all positions: `[B, C, ...]` -> `[B, C, 1]`.
    fn mean_over_positions(&self, x: &Tensor) -> Result<Computed<Backward>>;

    /// `x` with each element either zero, with the mask's probability, or divided by 1 - probability (Srivastava et al. 2014).
    fn dropout(&self, x: &Tensor, mask: DropoutMask) -> Result<Computed<Backward>>;

    /// The loss of a batch of outputs, a tensor of candle's graph; `[B, K]` for classes and labels, `[B, C, ...]` for fields
    /// and masks.
    fn loss(
        &self,
        output: &Tensor,
        loss: Loss,
        targets: Targets,
        scaling: Option<&Arc<Scaling>>,
    ) -> crate::error::Result<Tensor>;

    /// softmax(alpha + noise), `[candidates]`; a tensor of candle's graph, differentiable in alpha (DASH, section 5.2).
    fn mixing_weights(&self, alpha: &Tensor, noise: Vec<f32>) -> Result<Tensor>;

    /// The normalised gradient of one layer's architecture parameters: g / (scale (||g|| + 1e-8)) + penalty; with scale 0
    /// g + penalty (DASH, section 5.3).
    fn arch_gradient(&self, gradient: &Tensor, penalty: &[f64], scale: f64) -> Result<Tensor>;

    /// min(1, max_norm / (norm + 1e-6)), where `norm` is the L2 norm over all gradients.
    fn clip_scale(&self, gradients: &[Tensor], max_norm: f64) -> Result<GradientScale>;

    /// A step of stochastic gradient descent, in place.
    fn sgd_step(
        &self,
        operands: &mut dyn Iterator<Item = SgdOperands<'_>>,
        rule: SgdRule,
        scale: &GradientScale,
    ) -> Result<()>;
}
