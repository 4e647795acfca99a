//! Convolution over tap sets as an operation on activations.

use crate::Activation;
use candle_core::{Result, Tensor};
use dash_conv::TapConv;
use std::sync::Arc;

/// conv(x, weights) + bias; differentiable in all three.
pub(crate) fn convolve(
    x: &Activation,
    conv: &Arc<TapConv>,
    weights: &Tensor,
    bias: &Tensor,
) -> Result<Activation> {
    let y = conv.convolve(x.value(), weights, bias)?;
    let (conv, input) = (conv.clone(), x.value().clone());
    x.map_with_parameters("tap-conv", y, [weights, bias], move |grad, [weights, _], want_dx| {
        let (dx, dw, db) = conv.gradients(&input, weights, grad, want_dx)?;
        Ok((dx, [dw, db]))
    })
}
