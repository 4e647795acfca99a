//! Batch normalisation on a card; see [`super::batch_norm`].

use super::planes;
use crate::Activation;
use candle_core::{Result, Tensor, bail};
use dash_kernels::{Card, Memory, Norm};
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
    card: &Card,
    x: &Activation,
    [weight, bias]: [&Tensor; 2],
    [mean, variance]: [&Tensor; 2],
    (epsilon, factor, relu): (f64, f64, bool),
) -> Result<(Activation, [Tensor; 2])> {
    let input = x.value().clone();
    let norm = norm(&input, epsilon, relu)?;
    let (moments, running) = {
        let [x, m, v] = [card.operand(&input)?, card.operand(mean)?, card.operand(variance)?];
        norm.moments(card, x.read(), [m.read(), v.read()], factor)?
    };
    let [new_mean, new_variance] = running;
    let running = [card.tensor(new_mean, mean.shape())?, card.tensor(new_variance, variance.shape())?];
    let y = apply(card, &norm, &input, &moments, [weight, bias])?;
    let (card, moments) = (card.clone(), Arc::new(moments));
    let y = x.map_with_parameters(OP, y, [weight, bias], move |grad, [weight, bias], want_dx| {
        let grad = grad.contiguous()?;
        let gradients = {
            let [x, g] = [card.operand(&input)?, card.operand(&grad)?];
            let [w, b] = [card.operand(weight)?, card.operand(bias)?];
            let of = [w.read(), b.read()];
            norm.gradients(&card, [x.read(), g.read()], card.read(&moments), of, want_dx)?
        };
        Ok((
            gradients.x.map(|dx| card.tensor(dx, input.shape())).transpose()?,
            [card.tensor(gradients.weight, weight.shape())?, card.tensor(gradients.bias, bias.shape())?],
        ))
    })?;
    Ok((y, running))
}

/// The same with given statistics; for evaluation, not differentiable.
pub(crate) fn normalise_on(
    card: &Card,
    x: &Activation,
    parameters: [&Tensor; 2],
    [mean, variance]: [&Tensor; 2],
    (epsilon, relu): (f64, bool),
) -> Result<Activation> {
    let norm = norm(x.value(), epsilon, relu)?;
    let moments = norm.given(card, card.operand(mean)?.read(), card.operand(variance)?.read())?;
    Activation::constant(apply(card, &norm, x.value(), &moments, parameters)?)
}

fn apply(
    card: &Card,
    norm: &Norm,
    x: &Tensor,
    moments: &Memory<f64>,
    [weight, bias]: [&Tensor; 2],
) -> Result<Tensor> {
    let y = {
        let [x, w, b] = [card.operand(x)?, card.operand(weight)?, card.operand(bias)?];
        norm.apply(card, x.read(), card.read(moments), [w.read(), b.read()])?
    };
    card.tensor(y, x.shape())
}
