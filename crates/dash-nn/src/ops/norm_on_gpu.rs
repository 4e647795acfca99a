//! Batch normalisation on a GPU; see [`super::batch_norm`].

use super::planes;
use crate::Activation;
use candle_core::{Result, Tensor, bail};
use dash_cuda::{DeviceBuffer, Gpu, Norm};
use std::sync::Arc;

const OP: &str = "batch-norm";

fn norm(x: &Tensor, epsilon: f64, relu: bool) -> Result<Norm> {
    let (batch, channels, positions) = planes(OP, x.dims())?;
    if x.elem_count() == 0 {
        bail!("{OP}: no values in {:?}", x.dims())
    }
    Ok(Norm { batch, channels, positions, epsilon, relu })
}

/// The normalised activation, with the batch's statistics; and the running mean and variance with `factor` of them.
pub(crate) fn batch_norm_on(
    gpu: &Gpu,
    x: &Activation,
    [weight, bias]: [&Tensor; 2],
    [mean, variance]: [&Tensor; 2],
    (epsilon, factor, relu): (f64, f64, bool),
) -> Result<(Activation, [Tensor; 2])> {
    let input = x.value().clone();
    let norm = norm(&input, epsilon, relu)?;
    let (moments, running) = {
        let [x, m, v] = [gpu.operand(&input)?, gpu.operand(mean)?, gpu.operand(variance)?];
        norm.moments(gpu, x.read(), [m.read(), v.read()], factor)?
    };
    let [new_mean, new_variance] = running;
    let running = [gpu.tensor(new_mean, mean.shape())?, gpu.tensor(new_variance, variance.shape())?];
    let y = apply(gpu, &norm, &input, &moments, [weight, bias])?;
    let (gpu, moments) = (gpu.clone(), Arc::new(moments));
    let y = x.map_with_parameters(OP, y, [weight, bias], move |grad, [weight, bias], want_dx| {
        let grad = grad.contiguous()?;
        let gradients = {
            let [x, g] = [gpu.operand(&input)?, gpu.operand(&grad)?];
            let [w, b] = [gpu.operand(weight)?, gpu.operand(bias)?];
            let of = [w.read(), b.read()];
            norm.gradients(&gpu, [x.read(), g.read()], gpu.read(&moments), of, want_dx)?
        };
        Ok((
            gradients.x.map(|dx| gpu.tensor(dx, input.shape())).transpose()?,
            [gpu.tensor(gradients.weight, weight.shape())?, gpu.tensor(gradients.bias, bias.shape())?],
        ))
    })?;
    Ok((y, running))
}

/// The same with given statistics; for evaluation, not differentiable.
pub(crate) fn normalise_on(
    gpu: &Gpu,
    x: &Activation,
    parameters: [&Tensor; 2],
    [mean, variance]: [&Tensor; 2],
    (epsilon, relu): (f64, bool),
) -> Result<Activation> {
    let norm = norm(x.value(), epsilon, relu)?;
    let moments = norm.given(gpu, gpu.operand(mean)?.read(), gpu.operand(variance)?.read())?;
    Activation::constant(apply(gpu, &norm, x.value(), &moments, parameters)?)
}

fn apply(
    gpu: &Gpu,
    norm: &Norm,
    x: &Tensor,
    moments: &DeviceBuffer<f64>,
    [weight, bias]: [&Tensor; 2],
) -> Result<Tensor> {
    let y = {
        let [x, w, b] = [gpu.operand(x)?, gpu.operand(weight)?, gpu.operand(bias)?];
        norm.apply(gpu, x.read(), gpu.read(moments), [w.read(), b.read()])?
    };
    gpu.tensor(y, x.shape())
}
