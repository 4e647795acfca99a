//! Makes the convolution on the CPU an operation of candle's autograd graph.

use crate::{
    ConvProblem,
    algorithm::CpuConvolution,
    bias::bias_gradient,
    parallel::zeros,
    values::{contiguous, with_values},
};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use std::sync::Arc;

/// Which gradients [`crate::TapConv::backward`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GradientsOf {
    /// Those of the input, the weights and the bias.
    All,
    /// Those of the weights and the bias: enough for the first layer of a network.
    Parameters,
}

impl GradientsOf {
    /// All gradients if `input` is part of an autograd graph, or else those of the parameters.
    pub(crate) fn graph_of(input: &Tensor) -> GradientsOf {
        if input.track_op() { GradientsOf::All } else { GradientsOf::Parameters }
    }
}

/// The gradients of a convolution.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConvGradients {
    /// Gradient of the input, in its shape; `None` if it was not asked for.
    pub input: Option<Tensor>,
    /// Gradient of the weights, `[c_out, c_in / groups, taps]`.
    pub weights: Tensor,
    /// Gradient of the bias, `[c_out]`.
    pub bias: Tensor,
}

/// A convolution of contiguous tensors: input, weights, bias.
pub(crate) struct ConvOp {
    pub(crate) convolution: Arc<dyn CpuConvolution>,
    pub(crate) problem: ConvProblem,
    /// Shape of the output.
    pub(crate) shape: Shape,
}

impl CustomOp3 for ConvOp {
    fn name(&self) -> &'static str {
        "tap-conv"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut y = zeros(self.problem.lens()[2]);
        self.convolution.forward(
            contiguous(x, x_layout)?,
            contiguous(weights, weights_layout)?,
            contiguous(bias, bias_layout)?,
            &mut y,
        );
        Ok((CpuStorage::F32(y), self.shape.clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weights: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        // The gradient of the data is not needed: the first layer saves a third.
        let gradients = self.gradients(x, weights, &grad.contiguous()?, GradientsOf::graph_of(x))?;
        Ok((gradients.input, Some(gradients.weights), Some(gradients.bias)))
    }
}

impl ConvOp {
    /// The gradients; all operands contiguous.
    pub(crate) fn gradients(
        &self,
        x: &Tensor,
        weights: &Tensor,
        grad: &Tensor,
        of: GradientsOf,
    ) -> Result<ConvGradients> {
        let p = &self.problem;
        let [x_len, weights_len, _] = p.lens();
        let mut dx = (of == GradientsOf::All).then(|| zeros(x_len));
        let mut dw = vec![0.0; weights_len];
        let db = with_values([x, weights, grad], |[x, weights, grad]| {
            self.convolution.backward(x, weights, grad, dx.as_deref_mut(), &mut dw);
            bias_gradient(p, grad)
        })?;
        let device = x.device();
        Ok(ConvGradients {
            input: dx.map(|dx| Tensor::from_vec(dx, x.shape(), device)).transpose()?,
            weights: Tensor::from_vec(dw, weights.shape(), device)?,
            bias: Tensor::from_vec(db, p.c_out, device)?,
        })
    }
}
