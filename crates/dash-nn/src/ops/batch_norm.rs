//! Batch normalisation over [B, C, ...], optionally with a ReLU at its end (Ioffe and Szegedy 2015).

use super::{
    Values,
    kernels::{self, Affine, Deviations, Factors, GradientSums, InputGradient, Normalise},
    planes, planes_per_task,
};
use crate::{Activation, activation::Gradients};
use candle_core::{Result, Tensor, bail};
use dash_conv::zeros;
use rayon::prelude::*;

const OP: &str = "batch-norm";

/// Statistics per channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f64>,
    /// Mean squared deviation (divided by the number of values).
    pub(crate) variance: Vec<f64>,
    /// Values per channel that the statistics were taken over.
    pub(crate) count: usize,
}

/// y = (x - mean) / sqrt(var + epsilon) * weight + bias with the batch's statistics, which are
/// returned besides. x is [B, C, ...]; weight and bias are [C]. Differentiable in all three.
pub(crate) fn batch_norm(
    x: &Activation,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f64,
    relu: bool,
) -> Result<(Activation, Moments)> {
    let dims = checked(x.value(), weight, bias)?;
    let statistics = moments(Values::of(OP, x.value())?.as_slice(), dims);
    let norm = BatchNorm { dims, moments: statistics.clone(), epsilon, relu };
    let input = x.value().clone();
    let y = norm.forward(&input, weight, bias)?;
    let y = x.map_with_parameters(OP, y, [weight, bias], move |grad, parameters, want_dx| {
        norm.gradients([&input, grad], parameters, want_dx)
    })?;
    Ok((y, statistics))
}

/// The same with given statistics; for evaluation, not differentiable.
pub(crate) fn normalise(
    x: &Activation,
    weight: &Tensor,
    bias: &Tensor,
    moments: Moments,
    epsilon: f64,
    relu: bool,
) -> Result<Activation> {
    let dims @ (_, c, _) = checked(x.value(), weight, bias)?;
    if moments.mean.len() != c || moments.variance.len() != c {
        bail!("{OP}: {} statistics for {c} channels", moments.mean.len())
    }
    let norm = BatchNorm { dims, moments, epsilon, relu };
    Activation::constant(norm.forward(x.value(), weight, bias)?)
}

/// (batch, channels, positions) if the operands fit.
fn checked(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<(usize, usize, usize)> {
    let dims @ (_, c, _) = planes(OP, x.dims())?;
    if weight.dims() != [c] || bias.dims() != [c] || x.elem_count() == 0 {
        bail!("{OP}: input {:?} with weights {:?} and biases {:?}", x.dims(), weight.dims(), bias.dims())
    }
    Ok(dims)
}

/// Mean and variance per channel. Deviations are taken from the channel's first value, so that a
/// large common offset costs no precision.
fn moments(x: &[f32], (b, c, n): (usize, usize, usize)) -> Moments {
    let partial: Vec<(f64, f64)> = x
        .par_chunks(n.max(1))
        .with_min_len(planes_per_task(n))
        .enumerate()
        .map(|(plane, values)| kernels::run(Deviations { x: values, shift: x[(plane % c) * n] }))
        .collect();
    let count = b * n;
    let (mean, variance) = per_channel(&partial, b, c)
        .enumerate()
        .map(|(channel, (sum, squares))| {
            let mean = sum / count as f64;
            let variance = (squares / count as f64 - mean * mean).max(0.0);
            (mean + f64::from(x[channel * n]), variance)
        })
        .unzip();
    Moments { mean, variance, count }
}

/// Sums over the samples of two quantities per plane, channel by channel.
fn per_channel(partial: &[(f64, f64)], b: usize, c: usize) -> impl Iterator<Item = (f64, f64)> {
    (0..c).map(move |channel| {
        let planes = (0..b).map(|sample| partial[sample * c + channel]);
        planes.fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1))
    })
}

/// The normalisation of one batch.
struct BatchNorm {
    /// Batch, channels, positions.
    dims: (usize, usize, usize),
    moments: Moments,
    epsilon: f64,
    relu: bool,
}

impl BatchNorm {
    fn inverse_std(&self, variance: f64) -> f64 {
        1.0 / (variance + self.epsilon).sqrt()
    }

    /// What is done to a channel.
    fn affine(&self, channel: usize, weight: &[f32], bias: &[f32]) -> Affine {
        let scale = f64::from(weight[channel]) * self.inverse_std(self.moments.variance[channel]);
        Affine {
            mean: self.moments.mean[channel] as f32,
            scale: scale as f32,
            bias: bias[channel],
            relu: self.relu,
        }
    }

    fn forward(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (_, c, n) = self.dims;
        let (values, weight, bias) = (Values::of(OP, x)?, Values::of(OP, weight)?, Values::of(OP, bias)?);
        let (values, weight, bias) = (values.as_slice(), weight.as_slice(), bias.as_slice());
        let mut y = zeros(values.len());
        y.par_chunks_mut(n).zip(values.par_chunks(n)).with_min_len(planes_per_task(n)).enumerate().for_each(
            |(plane, (y, x))| {
                let affine = self.affine(plane % c, weight, bias);
                kernels::run(Normalise { x, out: y, affine });
            },
        );
        Tensor::from_vec(y, x.shape(), x.device())
    }

    /// Gradients in x (if wanted), weight and bias, given the input and the gradient of the output.
    fn gradients(
        &self,
        [x, grad]: [&Tensor; 2],
        [weight, bias]: [&Tensor; 2],
        want_dx: bool,
    ) -> Result<Gradients> {
        let moments = &self.moments;
        let (b, c, n) = self.dims;
        let (x_values, grad_values) = (Values::of(OP, x)?, Values::of(OP, grad)?);
        let (weights, biases) = (Values::of(OP, weight)?, Values::of(OP, bias)?);
        let (x_, g_) = (x_values.as_slice(), grad_values.as_slice());
        let (weights, biases) = (weights.as_slice(), biases.as_slice());
        let partial: Vec<(f64, f64)> = (x_.par_chunks(n), g_.par_chunks(n))
            .into_par_iter()
            .with_min_len(planes_per_task(n))
            .enumerate()
            .map(|(plane, (x, grad))| {
                let mean = moments.mean[plane % c];
                let affine = self.affine(plane % c, weights, biases);
                let (sum, product) = kernels::run(GradientSums { x, grad, affine });
                (sum, product + (f64::from(affine.mean) - mean) * sum)
            })
            .collect();
        let totals: Vec<(f64, f64)> = per_channel(&partial, b, c).collect();
        let inverse_std: Vec<f64> = moments.variance.iter().map(|&v| self.inverse_std(v)).collect();
        let grad_bias: Vec<f32> = totals.iter().map(|t| t.0 as f32).collect();
        let grad_weight: Vec<f32> = totals.iter().zip(&inverse_std).map(|(t, s)| (t.1 * s) as f32).collect();

        let device = x.device();
        let parameters = [Tensor::from_vec(grad_weight, c, device)?, Tensor::from_vec(grad_bias, c, device)?];
        if !want_dx {
            return Ok((None, parameters));
        }
        let mut grad_x = zeros(x_.len());
        (grad_x.par_chunks_mut(n), x_.par_chunks(n), g_.par_chunks(n))
            .into_par_iter()
            .with_min_len(planes_per_task(n))
            .enumerate()
            .for_each(|(plane, (out, x, g))| {
                let channel = plane % c;
                let (sum, with_x) = totals[channel];
                let s = inverse_std[channel];
                let factors = Factors {
                    affine: self.affine(channel, weights, biases),
                    shift: (sum / moments.count as f64) as f32,
                    slope: (s * s * with_x / moments.count as f64) as f32,
                };
                kernels::run(InputGradient { planes: [x, g], out, factors });
            });
        Ok((Some(Tensor::from_vec(grad_x, x.shape(), device)?), parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, check_gradients, ramp};
    use candle_core::Device;

    /// The definition, in f64, one channel at a time.
    fn oracle(dims: &[usize], x: &[f64], w: &[f64], b: &[f64], relu: bool) -> Vec<f64> {
        let (batch, c, n) = (dims[0], dims[1], dims[2..].iter().product::<usize>());
        let mut y = vec![0.0; x.len()];
        for channel in 0..c {
            let at = |s: usize, i: usize| (s * c + channel) * n + i;
            let all: Vec<usize> = (0..batch).flat_map(|s| (0..n).map(move |i| at(s, i))).collect();
            let mean = all.iter().map(|&i| x[i]).sum::<f64>() / all.len() as f64;
            let var = all.iter().map(|&i| (x[i] - mean).powi(2)).sum::<f64>() / all.len() as f64;
            for &i in &all {
                y[i] = (x[i] - mean) / (var + 1e-5).sqrt() * w[channel] + b[channel];
                if relu {
                    y[i] = y[i].max(0.0);
                }
            }
        }
        y
    }

    #[test]
    fn values_and_gradients_follow_the_definition() {
        for (dims, relu) in [(vec![3, 2, 11], false), (vec![2, 3, 4, 5], true), (vec![5, 4, 1], true)] {
            let c = dims[1];
            let inputs = [
                (dims.clone(), ramp(dims.iter().product(), 1)),
                (vec![c], ramp(c, 2)),
                (vec![c], ramp(c, 3)),
            ];
            check_gradients(
                &inputs,
                |t| batch_norm(&Activation::from_tensor(&t[0])?, &t[1], &t[2], 1e-5, relu)?.0.into_tensor(),
                |v| oracle(&dims, &v[0], &v[1], &v[2], relu),
            );
        }
    }

    #[test]
    fn a_large_offset_costs_no_precision() {
        let x: Vec<f32> = (0..64).map(|i| 1e6 + (i % 8) as f32).collect();
        let m = moments(&x, (2, 1, 32));
        assert_eq!((m.mean[0], m.variance[0], m.count), (1e6 + 3.5, 5.25, 64));
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let x = Tensor::from_vec(ramp(4 * 6 * 5000, 7), (4, 6, 5000), &Device::Cpu).unwrap();
        let x = Activation::from_tensor(&x).unwrap();
        let one = Tensor::ones(6, candle_core::DType::F32, &Device::Cpu).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| batch_norm(&x, &one, &one, 1e-5, true).unwrap().1)
        };
        assert_eq!(run(1), run(5));
    }

    #[test]
    fn given_statistics_are_used_as_they_are_and_nan_passes() {
        let t = |v: Vec<f32>, s: &[usize]| Tensor::from_vec(v, s, &Device::Cpu).unwrap();
        let moments = Moments { mean: vec![1.0], variance: vec![4.0], count: 0 };
        let x = Activation::from_tensor(&t(vec![3.0, -3.0, f32::NAN], &[1, 1, 3])).unwrap();
        let y = normalise(&x, &t(vec![2.0], &[1]), &t(vec![1.0], &[1]), moments, 0.0, true).unwrap();
        let y = y.value().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_close(&y[..2], &[3.0, 0.0], 1e-6);
        assert!(y[2].is_nan());
    }

    #[test]
    fn mismatched_operands_are_refused() {
        let t = |s: &[usize]| Tensor::zeros(s, candle_core::DType::F32, &Device::Cpu).unwrap();
        let refused = |x: &[usize], weight: &[usize], bias: &[usize]| {
            let x = Activation::from_tensor(&t(x)).unwrap();
            batch_norm(&x, &t(weight), &t(bias), 1e-5, false).is_err()
        };
        assert!(refused(&[2, 3, 4], &[2], &[3]));
        assert!(refused(&[2], &[2], &[2]));
        assert!(refused(&[0, 2, 3], &[2], &[2]));
    }
}
