//! Provides the layers that backbones are made of.

use crate::{
    activation::Activation,
    backend::{DropoutMask, NormOperands, Statistics},
    context::ForwardContext,
    error::{Error, Result},
    init::{ConvInit, Init},
    params::{Buffer, Param, ParamBuilder},
};
use dash_conv::{ConvOptions, TapConv, TapSet};
use std::sync::Arc;

/// A plain convolution with its own weights [C_out, C_in, taps] and bias [C_out].
pub(crate) struct Conv {
    conv: Arc<TapConv>,
    weight: Param,
    bias: Param,
}

impl Conv {
    pub(crate) fn new(
        name: &str,
        taps: TapSet,
        stride: usize,
        (c_in, c_out): (usize, usize),
        init: ConvInit,
        params: &mut ParamBuilder,
    ) -> Result<Conv> {
        let count = taps.len();
        let shape = (c_out, c_in, count);
        let weight = params.weight(&format!("{name}.weight"), shape, init.weight(c_in, c_out, count))?;
        let bias = params.weight(&format!("{name}.bias"), c_out, init.bias(c_in, count))?;
        let conv = TapConv::new(taps, ConvOptions { stride: [stride; 2], ..ConvOptions::default() })?
            .with_planner(params.planner());
        Ok(Conv { conv: Arc::new(conv), weight, bias })
    }

    /// The same linear map at every (stride-th) position.
    pub(crate) fn pointwise(
        name: &str,
        dims: usize,
        stride: usize,
        channels: (usize, usize),
        init: ConvInit,
        params: &mut ParamBuilder,
    ) -> Result<Conv> {
        Conv::new(name, TapSet::centred(dims, 1, 1)?, stride, channels, init, params)
    }

    pub(crate) fn forward(&self, x: &Activation, pass: &ForwardContext) -> candle_core::Result<Activation> {
        x.convolve(&self.conv, &self.weight.tensor(pass), &self.bias.tensor(pass))
    }
}

/// Batch normalisation with running statistics, optionally with a ReLU at its end.
pub(crate) struct BatchNorm {
    weight: Param,
    bias: Param,
    mean: Buffer,
    variance: Buffer,
    /// Share of the new statistics in the running ones.
    momentum: f64,
    relu: bool,
}

impl BatchNorm {
    const EPSILON: f64 = 1e-5;

    pub(crate) fn new(
        name: &str,
        channels: usize,
        momentum: f64,
        relu: bool,
        params: &mut ParamBuilder,
    ) -> Result<BatchNorm> {
        Ok(BatchNorm {
            weight: params.weight(&format!("{name}.weight"), channels, Init::Constant(1.0))?,
            bias: params.weight(&format!("{name}.bias"), channels, Init::Constant(0.0))?,
            mean: params.buffer(&format!("{name}.running_mean"), channels, 0.0)?,
            variance: params.buffer(&format!("{name}.running_var"), channels, 1.0)?,
            momentum,
            relu,
        })
    }

    pub(crate) fn forward(&self, x: &Activation, pass: &ForwardContext) -> candle_core::Result<Activation> {
        let (y, running) = x.batch_norm(NormOperands {
            weight: &self.weight.tensor(pass),
            bias: &self.bias.tensor(pass),
            mean: &self.mean.tensor(),
            variance: &self.variance.tensor(),
            epsilon: Self::EPSILON,
            relu: self.relu,
            statistics: match pass.training {
                true => Statistics::Batch { momentum: self.momentum },
                false => Statistics::Running,
            },
        })?;
        if let Some([mean, variance]) = running {
            self.mean.set(&mean)?;
            self.variance.set(&variance)?;
        }
        Ok(y)
    }
}

/// Dropout; does nothing in evaluation or with probability 0.
pub(crate) struct Dropout {
    probability: f64,
    /// Which dropout layer of the network this is.
    layer: u64,
}

impl Dropout {
    pub(crate) fn new(probability: f64, layer: usize) -> Result<Dropout> {
        if !(0.0..1.0).contains(&probability) {
            return Err(Error::Range { name: "dropout", value: probability, must: "in [0, 1)" });
        }
        Ok(Dropout { probability, layer: layer as u64 })
    }

    pub(crate) fn forward(&self, x: Activation, pass: &ForwardContext) -> candle_core::Result<Activation> {
        if !pass.training || self.probability == 0.0 {
            return Ok(x);
        }
        x.dropout(DropoutMask {
            seed: pass.seed,
            step: pass.step,
            layer: self.layer,
            probability: self.probability,
        })
    }
}

/// The end of a network: a linear map of the mean over positions, or of every position.
pub(crate) struct Head {
    linear: Conv,
    dense: bool,
}

impl Head {
    pub(crate) fn new(
        dims: usize,
        channels: (usize, usize),
        dense: bool,
        params: &mut ParamBuilder,
    ) -> Result<Head> {
        let dims = if dense { dims } else { 1 };
        Ok(Head { linear: Conv::pointwise("head", dims, 1, channels, ConvInit::FanIn, params)?, dense })
    }

    /// [B, C, ...] -> [B, K], or [B, K, ...] for dense prediction.
    pub(crate) fn forward(&self, x: &Activation, pass: &ForwardContext) -> candle_core::Result<Activation> {
        if self.dense {
            return self.linear.forward(x, pass);
        }
        let y = self.linear.forward(&x.mean_over_positions()?, pass)?;
        let shape = y.value().squeeze(2)?.shape().clone();
        y.reshape(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use candle_core::{Device, Tensor};

    #[test]
    fn running_statistics_take_the_unbiased_variance_by_the_momentum() {
        let mut b = ParamBuilder::new(0, 0, &Backend::cpu());
        let norm = BatchNorm::new("bn", 1, 0.9, false, &mut b).unwrap();
        let params = b.finish();
        let x = Tensor::from_vec(vec![1f32, 2.0, 3.0, 6.0], (2, 1, 2), &Device::Cpu).unwrap();
        let x = Activation::from_tensor(&Backend::cpu(), &x).unwrap();
        norm.forward(&x, &ForwardContext { training: true, ..ForwardContext::evaluation() }).unwrap();
        let value = |i: usize| params.buffers()[i].tensor().to_vec1::<f32>().unwrap()[0];
        // Mean 3, squared deviations 4 + 1 + 0 + 9 over n - 1 = 3.
        assert!((value(0) - 0.9 * 3.0).abs() < 1e-6);
        assert!((value(1) - (0.1 + 0.9 * 14.0 / 3.0)).abs() < 1e-6);
        let before = value(1);
        norm.forward(&x, &ForwardContext::evaluation()).unwrap();
        assert_eq!(value(1), before);
    }

    #[test]
    fn dropout_probabilities_are_checked() {
        for p in [-0.1, 1.0, f64::NAN] {
            assert!(Dropout::new(p, 0).is_err());
        }
    }
}
