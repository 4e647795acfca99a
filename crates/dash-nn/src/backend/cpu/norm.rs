//! Computes batch normalisation over [B, C, ...], optionally with a ReLU at its end (Ioffe and Szegedy 2015).

use super::{
    simd::{self, Affine, Channel, Deviations, Factors, GradientSums, InputGradient, Normalise, Out},
    values::{GRAIN, Unwritten, Values, planes},
};
use crate::backend::operations::{
    Computed, NormOperands, Normalised, OperandGradients, ParamBackward, Statistics,
};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use std::mem::MaybeUninit;

const OP: &str = "batch-norm";

/// Statistics per channel.
#[derive(Clone, Debug, PartialEq)]
struct Moments {
    mean: Vec<f64>,
    /// Mean squared deviation (divided by the number of values).
    variance: Vec<f64>,
    /// Values per channel that the statistics were taken over.
    count: usize,
}

pub(super) fn batch_norm(x: &Tensor, operands: NormOperands<'_>) -> Result<Normalised> {
    let NormOperands { weight, bias, epsilon, relu, .. } = operands;
    let dims = checked(x, &operands)?;
    let momentum = match operands.statistics {
        Statistics::Batch { momentum } => momentum,
        Statistics::Running => {
            let given = Moments { mean: wide(operands.mean)?, variance: wide(operands.variance)?, count: 0 };
            let (value, _) = forward(x, [weight, bias], epsilon, relu, Some(&given))?;
            return Ok(Normalised { output: Computed { value, backward: None }, running: None });
        }
    };
    let (value, moments) = forward(x, [weight, bias], epsilon, relu, None)?;
    // The running variance is the unbiased one; a single value has none and counts as 0.
    let unbiased = moments.count as f64 / (moments.count.max(2) - 1) as f64;
    let running = [
        running(operands.mean, moments.mean.iter().copied(), momentum)?,
        running(operands.variance, moments.variance.iter().map(|v| v * unbiased), momentum)?,
    ];
    let (x, norm) = (x.clone(), BatchNorm { dims, moments, epsilon, relu });
    let backward: ParamBackward =
        Box::new(move |grad, parameters, want_input| norm.gradients([&x, grad], parameters, want_input));
    Ok(Normalised { output: Computed { value, backward: Some(backward) }, running: Some(running) })
}

fn wide(values: &Tensor) -> Result<Vec<f64>> {
    Ok(values.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

/// Running statistics with the share `momentum` of the new.
fn running(old: &Tensor, new: impl Iterator<Item = f64>, momentum: f64) -> Result<Tensor> {
    let values: Vec<f32> = (old.to_vec1::<f32>()?.into_iter().zip(new))
        .map(|(old, new)| ((1.0 - momentum) * f64::from(old) + momentum * new) as f32)
        .collect();
    Tensor::from_vec(values, old.shape(), old.device())
}

/// (batch, channels, positions) if the operands fit.
fn checked(x: &Tensor, operands: &NormOperands<'_>) -> Result<(usize, usize, usize)> {
    let dims @ (_, c, _) = planes(OP, x.dims())?;
    let NormOperands { weight, bias, mean, variance, .. } = operands;
    if [weight, bias, mean, variance].iter().any(|of| of.dims() != [c]) || x.elem_count() == 0 {
        bail!("{OP}: input {:?} with weights {:?} and biases {:?}", x.dims(), weight.dims(), bias.dims())
    }
    Ok(dims)
}

/// Mean and variance of a channel. Deviations are taken from its first value, so that a large common
/// offset costs no precision.
fn moments(x: Channel<'_>, count: usize) -> (f64, f64) {
    let shift = x.sample(0).first().copied().unwrap_or(0.0);
    let (sum, squares) = simd::sum(Deviations { x, shift });
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
                simd::run(Normalise { x, out: Out { samples: &mut out, place }, affine });
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
    ) -> Result<OperandGradients> {
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
                    let (sum, product) = simd::sum(GradientSums { x, grad, affine });
                    // The kernels know the mean in f32.
                    let with_x = product + (f64::from(affine.mean) - mean[channel]) * sum;
                    let factors = Factors {
                        affine,
                        shift: (sum / *count as f64) as f32,
                        slope: (inverse_std * inverse_std * with_x / *count as f64) as f32,
                    };
                    simd::run(InputGradient { x, grad, out: Out { samples: &mut out, place }, factors });
                    ((with_x * inverse_std) as f32, sum as f32)
                })
            })
            .collect();
        let (grad_weight, grad_bias): (Vec<f32>, Vec<f32>) = of_parameters.into_iter().unzip();
        let (c, device) = (dims.1, x.device());
        let parameters = [Tensor::from_vec(grad_weight, c, device)?, Tensor::from_vec(grad_bias, c, device)?];
        let grad_x = grad_x.map(all_written);
        let grad_x = grad_x.map(|grad_x| Tensor::from_vec(grad_x, x.shape(), device)).transpose()?;
        Ok(OperandGradients { input: grad_x, parameters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ramp;
    use candle_core::{DType, Device};

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let x = Tensor::from_vec(ramp(4 * 6 * 5000, 7), (4, 6, 5000), &Device::Cpu).unwrap();
        let one = Tensor::ones(6, DType::F32, &Device::Cpu).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| forward(&x, [&one, &one], 1e-5, true, None).unwrap().1)
        };
        assert_eq!(run(1), run(5));
    }

    #[test]
    fn a_large_offset_costs_no_precision() {
        let x: Vec<f32> = (0..64).map(|i| 1e6 + (i % 8) as f32).collect();
        assert_eq!(moments(Channel::of(&x, (2, 1, 32), 0), 64), (1e6 + 3.5, 5.25));
    }
}
