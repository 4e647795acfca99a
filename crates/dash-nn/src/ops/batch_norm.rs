//! Batch normalisation over [B, C, ...], optionally with a ReLU at its end (Ioffe and Szegedy 2015).

use super::{
    GRAIN, Unwritten, Values,
    kernels::{self, Affine, Channel, Deviations, Factors, GradientSums, InputGradient, Normalise, Out},
    planes,
};
use crate::{Activation, activation::Gradients};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use std::mem::MaybeUninit;

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
    let input = x.value().clone();
    let (y, statistics) = forward(&input, [weight, bias], epsilon, relu, None)?;
    let norm = BatchNorm { dims, moments: statistics.clone(), epsilon, relu };
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
    let (_, c, _) = checked(x.value(), weight, bias)?;
    if moments.mean.len() != c || moments.variance.len() != c {
        bail!("{OP}: {} statistics for {c} channels", moments.mean.len())
    }
    Activation::constant(forward(x.value(), [weight, bias], epsilon, relu, Some(&moments))?.0)
}

/// (batch, channels, positions) if the operands fit.
fn checked(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<(usize, usize, usize)> {
    let dims @ (_, c, _) = planes(OP, x.dims())?;
    if weight.dims() != [c] || bias.dims() != [c] || x.elem_count() == 0 {
        bail!("{OP}: input {:?} with weights {:?} and biases {:?}", x.dims(), weight.dims(), bias.dims())
    }
    Ok(dims)
}

/// Mean and variance of a channel. Deviations are taken from its first value, so that a large common
/// offset costs no precision.
fn moments(x: Channel<'_>, count: usize) -> (f64, f64) {
    let shift = x.sample(0).first().copied().unwrap_or(0.0);
    let (sum, squares) = kernels::sum(Deviations { x, shift });
    let mean = sum / count as f64;
    (mean + f64::from(shift), (squares / count as f64 - mean * mean).max(0.0))
}

/// Some neighbouring channels of [B, C, ...], which are one task's: from the sums of a channel to its
/// results all is done while it is in the cache.
struct Part<'a> {
    first: usize,
    channels: usize,
    /// Where the results of these channels go, per sample; empty if there are none.
    out: Vec<&'a mut [MaybeUninit<f32>]>,
}

/// Divides the channels among tasks. Each channel is summed by one of them, so that their number
/// changes no bit.
fn parts(out: Option<&mut [MaybeUninit<f32>]>, (b, c, n): (usize, usize, usize)) -> Vec<Part<'_>> {
    let tasks = (b * c * n / GRAIN).clamp(1, c.min(4 * rayon::current_num_threads()));
    let per_task = c.div_ceil(tasks);
    let mut parts: Vec<Part<'_>> = (0..c)
        .step_by(per_task)
        .map(|first| Part { first, channels: per_task.min(c - first), out: Vec::new() })
        .collect();
    for sample in out.into_iter().flat_map(|out| out.chunks_mut(c * n)) {
        for (part, out) in parts.iter_mut().zip(sample.chunks_mut(per_task * n)) {
            part.out.push(out);
        }
    }
    parts
}

/// What all parts together have written.
fn all_written(out: Unwritten) -> Vec<f32> {
    // SAFETY: the parts cover all channels, and a kernel that maps a channel writes all of its numbers.
    #[allow(unsafe_code)]
    unsafe {
        out.written()
    }
}

fn inverse_std(variance: f64, epsilon: f64) -> f64 {
    1.0 / (variance + epsilon).sqrt()
}

/// The normalised input, and the statistics: those given, or those of the batch.
fn forward(
    x: &Tensor,
    [weight, bias]: [&Tensor; 2],
    epsilon: f64,
    relu: bool,
    given: Option<&Moments>,
) -> Result<(Tensor, Moments)> {
    let dims @ (b, _, n) = planes(OP, x.dims())?;
    let (values, weight, bias) = (Values::of(OP, x)?, Values::of(OP, weight)?, Values::of(OP, bias)?);
    let (values, weight, bias) = (values.as_slice(), weight.as_slice(), bias.as_slice());
    let mut y = Unwritten::new(values.len());
    let found: Vec<(f64, f64)> = parts(Some(y.values()), dims)
        .into_par_iter()
        .flat_map_iter(|Part { first, channels, mut out }| {
            (0..channels).map(move |place| {
                let channel = first + place;
                let x = Channel::of(values, dims, channel);
                let (mean, variance) = match given {
                    Some(given) => (given.mean[channel], given.variance[channel]),
                    None => moments(x, b * n),
                };
                let scale = (f64::from(weight[channel]) * inverse_std(variance, epsilon)) as f32;
                let affine = Affine { mean: mean as f32, scale, bias: bias[channel], relu };
                kernels::run(Normalise { x, out: Out { samples: &mut out, place }, affine });
                (mean, variance)
            })
        })
        .collect();
    let (mean, variance) = found.into_iter().unzip();
    let count = given.map_or(b * n, |given| given.count);
    let y = all_written(y);
    Ok((Tensor::from_vec(y, x.shape(), x.device())?, Moments { mean, variance, count }))
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
    /// Gradients in x (if wanted), weight and bias, given the input and the gradient of the output.
    fn gradients(
        &self,
        [x, grad]: [&Tensor; 2],
        [weight, bias]: [&Tensor; 2],
        want_dx: bool,
    ) -> Result<Gradients> {
        let (dims, Moments { mean, variance, count }) = (self.dims, &self.moments);
        let (x_values, grad_values) = (Values::of(OP, x)?, Values::of(OP, grad)?);
        let (weights, biases) = (Values::of(OP, weight)?, Values::of(OP, bias)?);
        let (x_, g_) = (x_values.as_slice(), grad_values.as_slice());
        let (weights, biases) = (weights.as_slice(), biases.as_slice());
        let mut grad_x = want_dx.then(|| Unwritten::new(x_.len()));
        let of_parameters: Vec<(f32, f32)> = parts(grad_x.as_mut().map(Unwritten::values), dims)
            .into_par_iter()
            .flat_map_iter(|Part { first, channels, mut out }| {
                (0..channels).map(move |place| {
                    let channel = first + place;
                    let (x, grad) = (Channel::of(x_, dims, channel), Channel::of(g_, dims, channel));
                    let inverse_std = inverse_std(variance[channel], self.epsilon);
                    let affine = Affine {
                        mean: mean[channel] as f32,
                        scale: (f64::from(weights[channel]) * inverse_std) as f32,
                        bias: biases[channel],
                        relu: self.relu,
                    };
                    let (sum, product) = kernels::sum(GradientSums { x, grad, affine });
                    // The kernels know the mean in f32.
                    let with_x = product + (f64::from(affine.mean) - mean[channel]) * sum;
                    let factors = Factors {
                        affine,
                        shift: (sum / *count as f64) as f32,
                        slope: (inverse_std * inverse_std * with_x / *count as f64) as f32,
                    };
                    kernels::run(InputGradient { x, grad, out: Out { samples: &mut out, place }, factors });
                    ((with_x * inverse_std) as f32, sum as f32)
                })
            })
            .collect();
        let (grad_weight, grad_bias): (Vec<f32>, Vec<f32>) = of_parameters.into_iter().unzip();
        let (c, device) = (dims.1, x.device());
        let parameters = [Tensor::from_vec(grad_weight, c, device)?, Tensor::from_vec(grad_bias, c, device)?];
        let grad_x = grad_x.map(all_written);
        let grad_x = grad_x.map(|grad_x| Tensor::from_vec(grad_x, x.shape(), device)).transpose()?;
        Ok((grad_x, parameters))
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
        assert_eq!(moments(Channel::of(&x, (2, 1, 32), 0), 64), (1e6 + 3.5, 5.25));
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
