//! Makes the convolution on a GPU an operation of candle's autograd graph.

use super::depthwise::{Convolution, channel_sums};
use crate::{
    ConvProblem,
    op::{ConvGradients, GradientsOf},
};
use candle_core::{Result, Tensor};
use dash_cuda::Gpu;
use std::sync::Arc;

/// The convolution, `[batch, c_out, positions]`; differentiable if an operand is part of a graph.
pub(crate) fn forward(
    gpu: &Gpu,
    convolution: Arc<dyn Convolution>,
    problem: &ConvProblem,
    [x, weights, bias]: [&Tensor; 3],
) -> Result<Tensor> {
    let flat = (problem.batch, problem.c_out, problem.out_plane());
    if !(x.track_op() || weights.track_op() || bias.track_op()) {
        return convolution.forward(gpu, x, weights, bias)?.reshape(flat);
    }
    let (x, weights) = (x.contiguous()?, weights.contiguous()?);
    let no_bias = bias.detach().zeros_like()?;
    let y = convolution.forward(gpu, &x.detach(), &weights.detach(), &no_bias)?.reshape(flat)?;
    let on = gpu.clone();
    let y = gpu.node("tap-conv", [&x, &weights], &y, move |[x, weights], grad| {
        let with_input = x.track_op();
        let (dx, dw) = convolution.gradients(&on, &x.detach(), &weights.detach(), grad, with_input)?;
        Ok([dx.map(|dx| dx.reshape(x.shape())).transpose()?, Some(dw.reshape(weights.shape())?)])
    })?;
    y.broadcast_add(&bias.reshape((1, problem.c_out, 1))?)
}

/// The gradients.
pub(crate) fn gradients(
    gpu: &Gpu,
    convolution: &dyn Convolution,
    problem: &ConvProblem,
    [x, weights, grad]: [&Tensor; 3],
    of: GradientsOf,
) -> Result<ConvGradients> {
    let (dx, dw) = convolution.gradients(gpu, x, weights, grad, of == GradientsOf::All)?;
    let grad = grad.contiguous()?;
    let sizes = [problem.batch, problem.c_out, problem.out_plane()];
    let db = channel_sums(gpu, gpu.operand(&grad)?.read(), sizes)?;
    Ok(ConvGradients {
        input: dx.map(|dx| dx.reshape(x.shape())).transpose()?,
        weights: dw.reshape(weights.shape())?,
        bias: gpu.tensor(db, problem.c_out)?,
    })
}
