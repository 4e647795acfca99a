//! The layers that backbones are made of.

use crate::{
    Activation, Buffer, ConvInit, ConvSpec, Error, ForwardContext, Init, Param, ParamBuilder, Survey, ops,
};
use candle_core::{Result, Tensor};
use dash_conv::{ConvOptions, TapConv, TapSet};
use dash_cuda::Gpu;
use std::sync::Arc;

/// A plain convolution with its own weights [C_out, C_in, taps] and bias [C_out].
pub(crate) struct Conv {
    conv: Arc<TapConv>,
    weight: Param,
    bias: Param,
}

impl Conv {
    fn new(
        name: &str,
        taps: TapSet,
        stride: usize,
        (c_in, c_out): (usize, usize),
        init: ConvInit,
        params: &mut ParamBuilder,
    ) -> std::result::Result<Conv, Error> {
        let count = taps.len();
        let shape = (c_out, c_in, count);
        let weight = params.weight(&format!("{name}.weight"), shape, init.weight(c_in, c_out, count))?;
        let bias = params.weight(&format!("{name}.bias"), c_out, init.bias(c_in, count))?;
        let conv = TapConv::new(taps, ConvOptions { stride: [stride; 2], ..ConvOptions::default() })?
            .with_planner(params.planner());
        Ok(Conv { conv: Arc::new(conv), weight, bias })
    }

    /// The convolution that `spec` describes, with the given kernel.
    pub(crate) fn of_spec(
        spec: &ConvSpec,
        kernel_size: usize,
        dilation: usize,
        params: &mut ParamBuilder,
    ) -> std::result::Result<Conv, Error> {
        let taps = if spec.causal {
            TapSet::causal(kernel_size, dilation)?
        } else {
            TapSet::centred(spec.dims, kernel_size, dilation)?
        };
        Conv::new(&spec.name, taps, spec.stride, (spec.c_in, spec.c_out), spec.init, params)
    }

    /// The same linear map at every (stride-th) position.
    pub(crate) fn pointwise(
        name: &str,
        dims: usize,
        stride: usize,
        channels: (usize, usize),
        init: ConvInit,
        params: &mut ParamBuilder,
    ) -> std::result::Result<Conv, Error> {
        Conv::new(name, TapSet::centred(dims, 1, 1)?, stride, channels, init, params)
    }

    pub(crate) fn forward(&self, x: &Activation, pass: &ForwardContext) -> Result<Activation> {
        x.convolve(&self.conv, &self.weight.tensor(pass), &self.bias.tensor(pass))
    }

    /// The shape of the result for an input of shape `x`.
    pub(crate) fn survey(&self, x: &[usize], survey: &mut Survey) -> std::result::Result<Vec<usize>, Error> {
        survey.convolution(&self.conv, x, self.weight.var().dims())
    }

    /// The same where another operation keeps the input as well.
    pub(crate) fn survey_of_kept(
        &self,
        x: &[usize],
        survey: &mut Survey,
    ) -> std::result::Result<Vec<usize>, Error> {
        survey.convolution_of_kept(&self.conv, x, self.weight.var().dims())
    }
}

/// Batch normalisation with running statistics, optionally with a ReLU at its end.
pub(crate) struct BatchNorm {
    weight: Param,
    bias: Param,
    mean: Buffer,
    variance: Buffer,
    /// Share of the new statistics in the running ones.
    factor: f64,
    relu: bool,
}

impl BatchNorm {
    const EPSILON: f64 = 1e-5;

    pub(crate) fn new(
        name: &str,
        channels: usize,
        factor: f64,
        relu: bool,
        params: &mut ParamBuilder,
    ) -> std::result::Result<BatchNorm, Error> {
        Ok(BatchNorm {
            weight: params.weight(&format!("{name}.weight"), channels, Init::Constant(1.0))?,
            bias: params.weight(&format!("{name}.bias"), channels, Init::Constant(0.0))?,
            mean: params.buffer(&format!("{name}.running_mean"), channels, 0.0)?,
            variance: params.buffer(&format!("{name}.running_var"), channels, 1.0)?,
            factor,
            relu,
        })
    }

    pub(crate) fn forward(&self, x: &Activation, pass: &ForwardContext) -> Result<Activation> {
        let (weight, bias) = (self.weight.tensor(pass), self.bias.tensor(pass));
        if let Some(gpu) = Gpu::of(x.value().device()) {
            return self.forward_on(&gpu, x, [&weight, &bias], pass);
        }
        if !pass.training {
            let wide = |b: &Buffer| -> Result<Vec<f64>> {
                Ok(b.tensor().to_vec1::<f32>()?.into_iter().map(f64::from).collect())
            };
            let moments = ops::Moments { mean: wide(&self.mean)?, variance: wide(&self.variance)?, count: 0 };
            return ops::normalise(x, &weight, &bias, moments, Self::EPSILON, self.relu);
        }
        let (y, moments) = ops::batch_norm(x, &weight, &bias, Self::EPSILON, self.relu)?;
        // The running variance is the unbiased one; a single value has none and counts as 0.
        let unbiased = moments.count as f64 / (moments.count.max(2) - 1) as f64;
        self.update(&self.mean, moments.mean.iter().copied())?;
        self.update(&self.variance, moments.variance.iter().map(|v| v * unbiased))?;
        Ok(y)
    }

    fn forward_on(
        &self,
        gpu: &Gpu,
        x: &Activation,
        parameters: [&Tensor; 2],
        pass: &ForwardContext,
    ) -> Result<Activation> {
        let (mean, variance) = (self.mean.tensor(), self.variance.tensor());
        if !pass.training {
            let rule = (Self::EPSILON, self.relu);
            return ops::normalise_on(gpu, x, parameters, [&mean, &variance], rule);
        }
        let rule = (Self::EPSILON, self.factor, self.relu);
        let (y, [mean, variance]) = ops::batch_norm_on(gpu, x, parameters, [&mean, &variance], rule)?;
        self.mean.set(&mean)?;
        self.variance.set(&variance)?;
        Ok(y)
    }

    pub(crate) fn survey(&self, x: &[usize], survey: &mut Survey) {
        survey.keep(x);
        survey.pass(&[x, x], 0);
    }

    fn update(&self, buffer: &Buffer, new: impl Iterator<Item = f64>) -> Result<()> {
        let old = buffer.tensor();
        let values: Vec<f32> = (old.to_vec1::<f32>()?.into_iter().zip(new))
            .map(|(old, new)| ((1.0 - self.factor) * f64::from(old) + self.factor * new) as f32)
            .collect();
        buffer.set(&Tensor::from_vec(values, old.shape(), old.device())?)
    }
}

/// Dropout; does nothing in evaluation or with probability 0.
pub(crate) struct Dropout {
    probability: f64,
    /// Which dropout layer of the network this is.
    layer: u64,
}

impl Dropout {
    pub(crate) fn new(probability: f64, layer: usize) -> std::result::Result<Dropout, Error> {
        if !(0.0..1.0).contains(&probability) {
            return Err(Error::Range { name: "dropout", value: probability, must: "in [0, 1)" });
        }
        Ok(Dropout { probability, layer: layer as u64 })
    }

    pub(crate) fn forward(&self, x: Activation, pass: &ForwardContext) -> Result<Activation> {
        if !pass.training || self.probability == 0.0 {
            return Ok(x);
        }
        let mask =
            ops::Mask { seed: pass.seed, step: pass.step, layer: self.layer, probability: self.probability };
        ops::dropout(&x, mask)
    }

    pub(crate) fn survey(&self, x: &[usize], survey: &mut Survey) {
        if self.probability > 0.0 {
            survey.pass(&[x, x], 0);
        }
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
    ) -> std::result::Result<Head, Error> {
        let dims = if dense { dims } else { 1 };
        Ok(Head { linear: Conv::pointwise("head", dims, 1, channels, ConvInit::FanIn, params)?, dense })
    }

    /// [B, C, ...] -> [B, K], or [B, K, ...] for dense prediction.
    pub(crate) fn forward(&self, x: &Activation, pass: &ForwardContext) -> Result<Activation> {
        if self.dense {
            return self.linear.forward(x, pass);
        }
        let y = self.linear.forward(&ops::mean_over_positions(x)?, pass)?;
        let shape = y.value().squeeze(2)?.shape().clone();
        y.reshape(shape)
    }

    pub(crate) fn survey(&self, x: &[usize], survey: &mut Survey) -> std::result::Result<(), Error> {
        if self.dense {
            let y = self.linear.survey(x, survey)?;
            // The result becomes a tensor of its own, and the loss has a gradient.
            survey.keep(&y);
            survey.keep(&y);
            return Ok(());
        }
        survey.pass(&[x], 0);
        let mean: Vec<usize> = x.iter().take(2).copied().chain([1]).collect();
        self.linear.survey(&mean, survey)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn running_statistics_take_the_unbiased_variance_by_the_factor() {
        let mut b = ParamBuilder::new(0, 0, &Device::Cpu);
        let norm = BatchNorm::new("bn", 1, 0.9, false, &mut b).unwrap();
        let params = b.finish();
        let x = Tensor::from_vec(vec![1f32, 2.0, 3.0, 6.0], (2, 1, 2), &Device::Cpu).unwrap();
        let x = Activation::from_tensor(&x).unwrap();
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
