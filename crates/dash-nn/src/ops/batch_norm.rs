//! Batch normalisation over [B, C, ...], optionally with a ReLU at its end (Ioffe and Szegedy 2015).

use super::{
    Values,
    kernels::{self, Affine, Deviations, Factors, GradientSums, InputGradient, Normalise},
    operand, planes, planes_per_task,
};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

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

enum Statistics {
    /// Taken from the batch in the forward pass.
    Batch(Arc<OnceLock<Moments>>),
    Given(Moments),
}

struct BatchNorm {
    statistics: Statistics,
    epsilon: f64,
    relu: bool,
}

/// y = (x - mean) / sqrt(var + epsilon) * weight + bias with the batch's statistics, which are
/// returned besides. x is [B, C, ...]; weight and bias are [C]. Differentiable in all three.
pub(crate) fn batch_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f64,
    relu: bool,
) -> Result<(Tensor, Moments)> {
    let cell = Arc::new(OnceLock::new());
    let op = BatchNorm { statistics: Statistics::Batch(cell.clone()), epsilon, relu };
    let y = x.contiguous()?.apply_op3(weight, bias, op)?;
    match cell.get() {
        Some(moments) => Ok((y, moments.clone())),
        None => bail!("{OP}: the forward pass left no statistics"),
    }
}

/// The same with given statistics; for evaluation, not differentiable.
pub(crate) fn normalise(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    moments: Moments,
    epsilon: f64,
    relu: bool,
) -> Result<Tensor> {
    let op = BatchNorm { statistics: Statistics::Given(moments), epsilon, relu };
    x.contiguous()?.apply_op3_no_bwd(weight, bias, &op)
}

/// Mean and variance per channel. Deviations are taken from the channel's first value, so that a
/// large common offset costs no precision.
fn moments(x: &[f32], (b, c, n): (usize, usize, usize)) -> Moments {
    let partial: Vec<(f64, f64)> = x
        .par_chunks(n.max(1))
        .with_min_len(planes_per_task(n))
        .enumerate()
        .map(|(plane, values)| {
            kernels::run(Deviations { x: values, shift: x[(plane % c) * n] })
        })
        .collect();
    let count = b * n;
    let (mean, variance) = (0..c)
        .map(|channel| {
            let (sum, squares) = (0..b)
                .map(|sample| partial[sample * c + channel])
                .fold((0.0, 0.0), |acc, p| (acc.0 + p.0, acc.1 + p.1));
            let mean = sum / count as f64;
            let variance = (squares / count as f64 - mean * mean).max(0.0);
            (mean + f64::from(x[channel * n]), variance)
        })
        .unzip();
    Moments { mean, variance, count }
}

impl BatchNorm {
    fn inverse_std(&self, variance: f64) -> f64 {
        1.0 / (variance + self.epsilon).sqrt()
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let _g = dash_conv::prof::g("BN fwd");
        let dims @ (b, c, n) = planes(OP, x_layout.dims())?;
        let x = operand(OP, x, x_layout)?;
        let weight = operand(OP, weight, weight_layout)?;
        let bias = operand(OP, bias, bias_layout)?;
        if weight.len() != c || bias.len() != c || b * c * n == 0 {
            bail!("{OP}: input {:?} with {} weights and {} biases", x_layout.dims(), weight.len(), bias.len())
        }
        let moments = match &self.statistics {
            Statistics::Given(moments) if moments.mean.len() == c && moments.variance.len() == c => moments,
            Statistics::Given(moments) => bail!("{OP}: {} statistics for {c} channels", moments.mean.len()),
            Statistics::Batch(cell) => cell.get_or_init(|| moments(x, dims)),
        };
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(n).zip(x.par_chunks(n)).with_min_len(planes_per_task(n)).enumerate().for_each(
            |(plane, (y, x))| {
                let channel = plane % c;
                let scale = f64::from(weight[channel]) * self.inverse_std(moments.variance[channel]);
                let affine = Affine {
                    mean: moments.mean[channel] as f32,
                    scale: scale as f32,
                    bias: bias[channel],
                    floor: if self.relu { 0.0 } else { f32::NEG_INFINITY },
                };
                kernels::run(Normalise { x, out: y, affine });
            },
        );
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Statistics::Batch(cell) = &self.statistics else {
            bail!("{OP}: not differentiable with given statistics")
        };
        let _g = dash_conv::prof::g("BN bwd");
        let Some(moments) = cell.get() else { bail!("{OP}: backward before forward") };
        let (b, c, n) = planes(OP, x.dims())?;
        let grad = grad.contiguous()?;
        let (x_values, y_values) = (Values::of(OP, x)?, Values::of(OP, y)?);
        let (grad_values, weight_values) = (Values::of(OP, &grad)?, Values::of(OP, weight)?);
        let (x_, y_, g_) = (x_values.as_slice(), y_values.as_slice(), grad_values.as_slice());
        let relu = self.relu;
        let partial: Vec<(f64, f64)> = (x_.par_chunks(n), y_.par_chunks(n), g_.par_chunks(n))
            .into_par_iter()
            .with_min_len(planes_per_task(n))
            .enumerate()
            .map(|(plane, (x, y, g))| {
                let mean = moments.mean[plane % c];
                let near = mean as f32;
                let (sum, product) = kernels::run(GradientSums { x, y, grad: g, mean: near, relu });
                (sum, product + (f64::from(near) - mean) * sum)
            })
            .collect();
        let totals: Vec<(f64, f64)> = (0..c)
            .map(|channel| {
                (0..b)
                    .map(|sample| partial[sample * c + channel])
                    .fold((0.0, 0.0), |acc, p| (acc.0 + p.0, acc.1 + p.1))
            })
            .collect();
        let inverse_std: Vec<f64> = moments.variance.iter().map(|&v| self.inverse_std(v)).collect();
        let grad_bias: Vec<f32> = totals.iter().map(|t| t.0 as f32).collect();
        let grad_weight: Vec<f32> = totals.iter().zip(&inverse_std).map(|(t, s)| (t.1 * s) as f32).collect();

        let weights = weight_values.as_slice();
        let mut grad_x = vec![0f32; x_.len()];
        (grad_x.par_chunks_mut(n), x_.par_chunks(n), y_.par_chunks(n), g_.par_chunks(n))
            .into_par_iter()
            .with_min_len(planes_per_task(n))
            .enumerate()
            .for_each(|(plane, (out, x, y, g))| {
                let channel = plane % c;
                let (sum, with_x) = totals[channel];
                let s = inverse_std[channel];
                let factors = Factors {
                    mean: moments.mean[channel] as f32,
                    scale: (f64::from(weights[channel]) * s) as f32,
                    shift: (sum / moments.count as f64) as f32,
                    slope: (s * s * with_x / moments.count as f64) as f32,
                    relu,
                };
                kernels::run(InputGradient { planes: [x, y, g], out, factors });
            });
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(grad_x, x.shape(), device)?),
            Some(Tensor::from_vec(grad_weight, c, device)?),
            Some(Tensor::from_vec(grad_bias, c, device)?),
        ))
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
                |t| Ok(batch_norm(&t[0], &t[1], &t[2], 1e-5, relu)?.0),
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
        let x = t(vec![3.0, -3.0, f32::NAN], &[1, 1, 3]);
        let y = normalise(&x, &t(vec![2.0], &[1]), &t(vec![1.0], &[1]), moments, 0.0, true).unwrap();
        let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_close(&y[..2], &[3.0, 0.0], 1e-6);
        assert!(y[2].is_nan());
    }

    #[test]
    fn mismatched_operands_are_refused() {
        let t = |s: &[usize]| Tensor::zeros(s, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(batch_norm(&t(&[2, 3, 4]), &t(&[2]), &t(&[3]), 1e-5, false).is_err());
        assert!(batch_norm(&t(&[2]), &t(&[2]), &t(&[2]), 1e-5, false).is_err());
        assert!(batch_norm(&t(&[0, 2, 3]), &t(&[2]), &t(&[2]), 1e-5, false).is_err());
    }
}
