//! Convolution over tap sets as an operation on activations.

use crate::Activation;
use candle_core::{Result, Tensor};
use dash_conv::{GradientsOf, TapConv};
use std::sync::Arc;

/// conv(x, weights) + bias; differentiable in all three.
pub(crate) fn convolve(
    x: &Activation,
    conv: &Arc<TapConv>,
    weights: &Tensor,
    bias: &Tensor,
) -> Result<Activation> {
    let y = conv.forward_detached(x.value(), weights, Some(bias))?;
    let (conv, input) = (conv.clone(), x.value().clone());
    x.map_with_parameters("tap-conv", y, [weights, bias], move |grad, [weights, _], want_dx| {
        let of = if want_dx { GradientsOf::All } else { GradientsOf::Parameters };
        let gradients = conv.backward(&input, weights, grad, of)?;
        Ok((gradients.input, [gradients.weights, gradients.bias]))
    })
}
