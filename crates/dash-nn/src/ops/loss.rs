//! Losses with fused gradients. Exponentials and logarithms are those of the crate `libm`, and not of the system: what the
//! system's library computes depends on the CPU and on its version.

use super::{Values, operand, planes};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use dash_core::card::Scaling;
use libm::{exp, log, log1p, pow};
use rayon::prelude::*;
use std::sync::Arc;

struct CrossEntropy {
    classes: Vec<u32>,
}

/// Mean over the batch of -log softmax(logits)[class]; logits [B, K], one class below K per row.
pub(crate) fn cross_entropy(logits: &Tensor, classes: Vec<u32>) -> Result<Tensor> {
    logits.contiguous()?.apply_op1(CrossEntropy { classes })
}

/// Largest logit and the sum of exponentials relative to it.
fn normaliser(row: &[f32]) -> (f64, f64) {
    let max = row.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(f64::from(v)));
    (max, row.iter().map(|&v| exp(f64::from(v) - max)).sum())
}

/// (B, K) of logits, if there is one class below K for each of their rows.
fn checked(op: &str, layout: &Layout, classes: &[u32]) -> Result<(usize, usize)> {
    let &[b, k] = layout.dims() else { bail!("{op}: expected [B, K], got {:?}", layout.dims()) };
    if b == 0 || classes.len() != b || classes.iter().any(|&c| c as usize >= k) {
        bail!("{op}: {} classes do not fit logits {:?}", classes.len(), layout.dims())
    }
    Ok((b, k))
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, k) = checked(self.name(), layout, &self.classes)?;
        let logits = operand(self.name(), x, layout)?;
        let total: f64 = logits
            .chunks(k)
            .zip(&self.classes)
            .map(|(row, &class)| {
                let (max, sum) = normaliser(row);
                // The difference first: huge logits would swallow the logarithm.
                (max - f64::from(row[class as usize])) + log(sum)
            })
            .sum();
        Ok((CpuStorage::F32(vec![(total / b as f64) as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (b, k) = logits.dims2()?;
        let scale = f64::from(grad.to_scalar::<f32>()?) / b as f64;
        let values = Values::of(self.name(), logits)?;
        let mut out = Vec::with_capacity(b * k);
        for (row, &class) in values.as_slice().chunks(k).zip(&self.classes) {
            let (max, sum) = normaliser(row);
            out.extend(row.iter().enumerate().map(|(i, &v)| {
                let p = exp(f64::from(v) - max) / sum;
                (scale * (p - if i == class as usize { 1.0 } else { 0.0 })) as f32
            }));
        }
        Ok(Some(Tensor::from_vec(out, (b, k), logits.device())?))
    }
}

/// Added to probabilities before their logarithm.
const FOCAL_EPSILON: f64 = 1e-9;

struct Focal {
    classes: Vec<u32>,
    gamma: f64,
}

/// Mean over the batch of -(1 - p)^gamma log(p + 1e-9), p = softmax(logits)[class]; logits [B, K], one class
/// below K per row.
pub(crate) fn focal(logits: &Tensor, classes: Vec<u32>, gamma: f64) -> Result<Tensor> {
    logits.contiguous()?.apply_op1(Focal { classes, gamma })
}

impl Focal {
    /// Probability of the class, that of all others, and the loss of a row.
    fn row(&self, row: &[f32], class: u32) -> (f64, f64, f64) {
        let (max, sum) = normaliser(row);
        let term = |v: f32| exp(f64::from(v) - max);
        let others = row.iter().enumerate().filter(|&(i, _)| i != class as usize);
        // Summed, and not 1 - p, which would lose all digits of a sure network.
        let q = others.map(|(_, &v)| term(v)).sum::<f64>() / sum;
        let p = term(row[class as usize]) / sum;
        (p, q, -pow(q, self.gamma) * log(p + FOCAL_EPSILON))
    }
}

impl CustomOp1 for Focal {
    fn name(&self) -> &'static str {
        "focal"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, k) = checked(self.name(), layout, &self.classes)?;
        let logits = operand(self.name(), x, layout)?;
        let total: f64 =
            logits.chunks(k).zip(&self.classes).map(|(row, &class)| self.row(row, class).2).sum();
        Ok((CpuStorage::F32(vec![(total / b as f64) as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (b, k) = logits.dims2()?;
        let scale = f64::from(grad.to_scalar::<f32>()?) / b as f64;
        let values = Values::of(self.name(), logits)?;
        let mut out = Vec::with_capacity(b * k);
        for (row, &class) in values.as_slice().chunks(k).zip(&self.classes) {
            let (max, sum) = normaliser(row);
            let (p, q, _) = self.row(row, class);
            // p times the derivative with respect to p; at q = 0 the first term has the limit 0 for all
            // gamma, as the logarithm vanishes faster than q^(gamma - 1) grows.
            let pull = if self.gamma > 0.0 && q > 0.0 {
                self.gamma * pow(q, self.gamma - 1.0) * log(p + FOCAL_EPSILON)
            } else {
                0.0
            };
            let slope = p * (pull - pow(q, self.gamma) / (p + FOCAL_EPSILON));
            out.extend(row.iter().enumerate().map(|(i, &v)| {
                let other = exp(f64::from(v) - max) / sum;
                (scale * slope * (if i == class as usize { q } else { -other })) as f32
            }));
        }
        Ok(Some(Tensor::from_vec(out, (b, k), logits.device())?))
    }
}

struct BinaryCrossEntropy {
    labels: Vec<u8>,
    positive_weight: f64,
}

/// Mean over all elements of -w t ln s(x) - (1 - t) ln(1 - s(x)), with s the sigmoid and w the weight of
/// positive labels; logits [B, L], one label t, 0 or 1, for each.
pub(crate) fn binary_cross_entropy(logits: &Tensor, labels: Vec<u8>, positive_weight: f64) -> Result<Tensor> {
    logits.contiguous()?.apply_op1(BinaryCrossEntropy { labels, positive_weight })
}

/// 1 / (1 + e^-x).
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x))
}

/// ln(1 + e^x), for any x.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + log1p(exp(-x.abs()))
}

impl BinaryCrossEntropy {
    fn check(&self, dims: &[usize]) -> Result<()> {
        let fits = dims.len() == 2 && self.labels.len() == dims.iter().product::<usize>();
        if !fits || self.labels.is_empty() || self.labels.iter().any(|&label| label > 1) {
            bail!("{}: {} labels do not fit logits {dims:?}", self.name(), self.labels.len())
        }
        Ok(())
    }
}

impl CustomOp1 for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "binary-cross-entropy"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.check(layout.dims())?;
        let logits = operand(self.name(), x, layout)?;
        // -ln s(x) = softplus(-x), -ln(1 - s(x)) = softplus(x).
        let term = |(&x, &label): (&f32, &u8)| match label {
            0 => softplus(f64::from(x)),
            _ => self.positive_weight * softplus(-f64::from(x)),
        };
        let total: f64 = logits.iter().zip(&self.labels).map(term).sum();
        Ok((CpuStorage::F32(vec![(total / logits.len() as f64) as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let values = Values::of(self.name(), logits)?;
        let scale = f64::from(grad.to_scalar::<f32>()?) / self.labels.len() as f64;
        let slope = |(&x, &label): (&f32, &u8)| {
            let slope = match label {
                0 => sigmoid(f64::from(x)),
                _ => -self.positive_weight * sigmoid(-f64::from(x)),
            };
            (scale * slope) as f32
        };
        let out: Vec<f32> = values.as_slice().iter().zip(&self.labels).map(slope).collect();
        Ok(Some(Tensor::from_vec(out, logits.shape(), logits.device())?))
    }
}

struct RelativeL2 {
    target: Vec<f32>,
    scaling: Option<Arc<Scaling>>,
}

/// Sum over the batch of ||output - target||_2 / ||target||_2, both decoded by `scaling` first.
/// `output` is [B, ...], `target` has as many elements in the same order.
pub(crate) fn relative_l2(
    output: &Tensor,
    target: Vec<f32>,
    scaling: Option<Arc<Scaling>>,
) -> Result<Tensor> {
    output.contiguous()?.apply_op1(RelativeL2 { target, scaling })
}

/// ||output - target||_2 and ||target||_2 of one sample, decoded.
fn norms(output: &[f32], target: &[f32], scaling: Option<&Scaling>) -> (f64, f64) {
    let (mut difference, mut reference) = (0f64, 0f64);
    match scaling {
        // The means cancel in the difference.
        Some(Scaling { mean, scale }) => {
            for (((&o, &t), &m), &s) in output.iter().zip(target).zip(mean).zip(scale) {
                let (t, s) = (f64::from(t), f64::from(s));
                let (d, r) = ((f64::from(o) - t) * s, t * s + f64::from(m));
                difference += d * d;
                reference += r * r;
            }
        }
        None => {
            for (&o, &t) in output.iter().zip(target) {
                let (d, r) = (f64::from(o) - f64::from(t), f64::from(t));
                difference += d * d;
                reference += r * r;
            }
        }
    }
    (difference.sqrt(), reference.sqrt())
}

/// ||output - target||_2 / ||target||_2 per sample; `len` elements each.
pub(crate) fn relative_l2_errors(
    output: &[f32],
    target: &[f32],
    len: usize,
    scaling: Option<&Scaling>,
) -> Vec<f64> {
    (output.par_chunks(len.max(1)), target.par_chunks(len.max(1)))
        .into_par_iter()
        .map(|(o, t)| {
            let (difference, reference) = norms(o, t, scaling);
            difference / reference
        })
        .collect()
}

/// Elements per sample, if output, target and scaling agree.
fn len_per_sample(op: &str, dims: &[usize], target: &[f32], scaling: Option<&Scaling>) -> Result<usize> {
    let (b, c, n) = planes(op, dims)?;
    let len = c * n;
    let scaled = |s: &Scaling| s.mean.len() == len && s.scale.len() == len;
    if b * len == 0 || target.len() != b * len || !scaling.is_none_or(scaled) {
        bail!("{op}: output {dims:?}, {} target values, or scaling disagree", target.len())
    }
    Ok(len)
}

impl CustomOp1 for RelativeL2 {
    fn name(&self) -> &'static str {
        "relative-l2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let len = len_per_sample(self.name(), layout.dims(), &self.target, self.scaling.as_deref())?;
        let output = operand(self.name(), x, layout)?;
        let errors = relative_l2_errors(output, &self.target, len, self.scaling.as_deref());
        Ok((CpuStorage::F32(vec![errors.iter().sum::<f64>() as f32]), Shape::from(())))
    }

    fn bwd(&self, output: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let len = len_per_sample(self.name(), output.dims(), &self.target, self.scaling.as_deref())?;
        let grad = f64::from(grad.to_scalar::<f32>()?);
        let values = Values::of(self.name(), output)?;
        let mut out = vec![0f32; output.elem_count()];
        (out.par_chunks_mut(len), values.as_slice().par_chunks(len), self.target.par_chunks(len))
            .into_par_iter()
            .for_each(|(out, o, t)| {
                let (difference, reference) = norms(o, t, self.scaling.as_deref());
                // At the minimum every direction is a subgradient; zero is the one that stays.
                let factor = if difference > 0.0 { grad / (difference * reference) } else { 0.0 };
                let scale = self.scaling.as_ref().map(|s| s.scale.as_slice());
                for (i, (out, (&o, &t))) in out.iter_mut().zip(o.iter().zip(t)).enumerate() {
                    let s = scale.map_or(1.0, |s| f64::from(s[i]));
                    *out = (factor * s * s * (f64::from(o) - f64::from(t))) as f32;
                }
            });
        Ok(Some(Tensor::from_vec(out, output.shape(), output.device())?))
    }
}

struct MeanSquaredError {
    target: Vec<f32>,
    scaling: Option<Arc<Scaling>>,
}

/// Mean over all elements of (output - target)^2, both decoded by `scaling` first. `output` is
/// [B, ...], `target` has as many elements in the same order.
pub(crate) fn mean_squared_error(
    output: &Tensor,
    target: Vec<f32>,
    scaling: Option<Arc<Scaling>>,
) -> Result<Tensor> {
    output.contiguous()?.apply_op1(MeanSquaredError { target, scaling })
}

impl MeanSquaredError {
    /// Divisor per element of a sample; the means cancel in the difference.
    fn scale(&self, element: usize) -> f64 {
        let scale = self.scaling.as_ref().and_then(|s| s.scale.get(element));
        scale.map_or(1.0, |&s| f64::from(s))
    }
}

impl CustomOp1 for MeanSquaredError {
    fn name(&self) -> &'static str {
        "mean-squared-error"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let len = len_per_sample(self.name(), layout.dims(), &self.target, self.scaling.as_deref())?;
        let output = operand(self.name(), x, layout)?;
        let sums: Vec<f64> = (output.par_chunks(len), self.target.par_chunks(len))
            .into_par_iter()
            .map(|(output, target)| {
                let square = |(i, (&o, &t)): (usize, (&f32, &f32))| {
                    ((f64::from(o) - f64::from(t)) * self.scale(i)).powi(2)
                };
                output.iter().zip(target).enumerate().map(square).sum()
            })
            .collect();
        let mean = sums.iter().sum::<f64>() / output.len() as f64;
        Ok((CpuStorage::F32(vec![mean as f32]), Shape::from(())))
    }

    fn bwd(&self, output: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let len = len_per_sample(self.name(), output.dims(), &self.target, self.scaling.as_deref())?;
        let factor = 2.0 * f64::from(grad.to_scalar::<f32>()?) / output.elem_count() as f64;
        let values = Values::of(self.name(), output)?;
        let mut out = vec![0f32; output.elem_count()];
        (out.par_chunks_mut(len), values.as_slice().par_chunks(len), self.target.par_chunks(len))
            .into_par_iter()
            .for_each(|(out, o, t)| {
                for (i, (out, (&o, &t))) in out.iter_mut().zip(o.iter().zip(t)).enumerate() {
                    *out = (factor * self.scale(i).powi(2) * (f64::from(o) - f64::from(t))) as f32;
                }
            });
        Ok(Some(Tensor::from_vec(out, output.shape(), output.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, ramp};

    #[test]
    fn cross_entropy_follows_the_definition() {
        let classes = [2u32, 0, 1, 2];
        let logits: Vec<f32> = ramp(12, 1).iter().map(|v| 5.0 * v).collect();
        check_gradients(
            &[(vec![4, 3], logits)],
            |t| cross_entropy(&t[0], classes.to_vec()),
            |v| {
                let nll = |(row, &c): (&[f64], &u32)| {
                    row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[c as usize]
                };
                vec![v[0].chunks(3).zip(&classes).map(nll).sum::<f64>() / 4.0]
            },
        );
    }

    #[test]
    fn cross_entropy_stays_finite_for_huge_logits_and_nan_passes() {
        let loss = |v: Vec<f32>| {
            let t = Tensor::from_vec(v, (1, 2), &candle_core::Device::Cpu).unwrap();
            cross_entropy(&t, vec![1]).unwrap().to_scalar::<f32>().unwrap()
        };
        assert_eq!(loss(vec![1e30, 1e30]), 2f32.ln());
        assert!(loss(vec![f32::NAN, 1.0]).is_nan());
    }

    #[test]
    fn focal_follows_the_definition() {
        let classes = [2u32, 0, 1, 2];
        let logits: Vec<f32> = ramp(12, 1).iter().map(|v| 5.0 * v).collect();
        for gamma in [0.0, 0.5, 2.0] {
            check_gradients(
                &[(vec![4, 3], logits.clone())],
                |t| focal(&t[0], classes.to_vec(), gamma),
                |v| {
                    let loss = |(row, &c): (&[f64], &u32)| {
                        let p = row[c as usize].exp() / row.iter().map(|x| x.exp()).sum::<f64>();
                        -(1.0 - p).powf(gamma) * (p + 1e-9).ln()
                    };
                    vec![v[0].chunks(3).zip(&classes).map(loss).sum::<f64>() / 4.0]
                },
            );
        }
    }

    #[test]
    fn binary_cross_entropy_follows_the_definition() {
        let labels = [1u8, 0, 0, 1, 1, 0, 1, 0];
        let logits: Vec<f32> = ramp(8, 1).iter().map(|v| 4.0 * v).collect();
        for weight in [1.0, 4.0] {
            check_gradients(
                &[(vec![2, 4], logits.clone())],
                |t| binary_cross_entropy(&t[0], labels.to_vec(), weight),
                |v| {
                    let term = |(&x, &t): (&f64, &u8)| {
                        let (p, t) = (1.0 / (1.0 + (-x).exp()), f64::from(t));
                        -(weight * t * p.ln() + (1.0 - t) * (1.0 - p).ln())
                    };
                    vec![v[0].iter().zip(&labels).map(term).sum::<f64>() / 8.0]
                },
            );
        }
    }

    #[test]
    fn focal_is_bounded_where_the_network_is_sure() {
        let device = candle_core::Device::Cpu;
        let loss = |logits: &[f32; 2], gamma| {
            let logits = candle_core::Var::new(&[*logits], &device).unwrap();
            let loss = focal(&logits, vec![0], gamma).unwrap();
            let gradient = loss.backward().unwrap().get(&logits).unwrap().to_vec2::<f32>().unwrap();
            (loss.to_scalar::<f32>().unwrap(), gradient[0].clone())
        };
        // The epsilon bounds the loss of a class without probability, which then has no gradient.
        let (value, gradient) = loss(&[-1e4, 1e4], 0.0);
        assert!((f64::from(value) + 1e-9f64.ln()).abs() < 1e-4);
        assert_eq!(gradient, [0.0, 0.0]);
        for gamma in [0.0, 0.5, 2.0] {
            let (value, gradient) = loss(&[1e4, -1e4], gamma);
            assert!(value.abs() < 1e-6 && gradient.iter().all(|g| g.abs() < 1e-6), "{value} {gradient:?}");
        }
    }

    #[test]
    fn binary_cross_entropy_stays_finite_for_huge_logits_and_nan_passes() {
        let loss = |logit: f32, label: u8| {
            let t = candle_core::Var::from_vec(vec![logit], (1, 1), &candle_core::Device::Cpu).unwrap();
            let loss = binary_cross_entropy(t.as_tensor(), vec![label], 4.0).unwrap();
            let gradient = loss.backward().unwrap().get(&t).unwrap().to_vec2::<f32>().unwrap()[0][0];
            (loss.to_scalar::<f32>().unwrap(), gradient)
        };
        assert_eq!(loss(1e4, 0), (1e4, 1.0));
        assert_eq!(loss(1e4, 1), (0.0, 0.0));
        assert_eq!(loss(-1e4, 1), (4e4, -4.0));
        assert_eq!(loss(-1e4, 0), (0.0, 0.0));
        assert!(loss(f32::NAN, 0).0.is_nan() && loss(f32::NAN, 1).1.is_nan());
    }

    #[test]
    fn mean_squared_error_follows_the_definition_with_and_without_decoding() {
        let (target, len) = (ramp(24, 2), 12);
        let scaling = Scaling { mean: ramp(len, 3), scale: ramp(len, 4).iter().map(|v| 1.5 + v).collect() };
        for scaling in [None, Some(Arc::new(scaling))] {
            check_gradients(
                &[(vec![2, 1, 3, 4], ramp(24, 1))],
                |t| mean_squared_error(&t[0], target.clone(), scaling.clone()),
                |v| {
                    let decode = |i: usize, x: f64| match &scaling {
                        Some(s) => x * f64::from(s.scale[i % len]) + f64::from(s.mean[i % len]),
                        None => x,
                    };
                    let square = |(i, (&o, &t)): (usize, (&f64, &f32))| {
                        (decode(i, o) - decode(i, f64::from(t))).powi(2)
                    };
                    vec![v[0].iter().zip(&target).enumerate().map(square).sum::<f64>() / 24.0]
                },
            );
        }
    }

    #[test]
    fn relative_l2_follows_the_definition_with_and_without_decoding() {
        let (target, len) = (ramp(24, 2), 12);
        let scaling = Scaling { mean: ramp(len, 3), scale: ramp(len, 4).iter().map(|v| 1.5 + v).collect() };
        for scaling in [None, Some(Arc::new(scaling))] {
            check_gradients(
                &[(vec![2, 1, 3, 4], ramp(24, 1))],
                |t| relative_l2(&t[0], target.clone(), scaling.clone()),
                |v| {
                    let decode = |i: usize, x: f64| match &scaling {
                        Some(s) => x * f64::from(s.scale[i]) + f64::from(s.mean[i]),
                        None => x,
                    };
                    let error = |(o, t): (&[f64], &[f32])| {
                        let t: Vec<f64> =
                            t.iter().enumerate().map(|(i, &x)| decode(i, f64::from(x))).collect();
                        let d: f64 = o.iter().enumerate().map(|(i, &x)| (decode(i, x) - t[i]).powi(2)).sum();
                        (d / t.iter().map(|x| x * x).sum::<f64>()).sqrt()
                    };
                    vec![v[0].chunks(len).zip(target.chunks(len)).map(error).sum()]
                },
            );
        }
    }

    #[test]
    fn targets_that_do_not_fit_are_refused() {
        let t = Tensor::zeros((2, 3), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        assert!(cross_entropy(&t, vec![0]).is_err());
        assert!(cross_entropy(&t, vec![0, 3]).is_err());
        assert!(binary_cross_entropy(&t, vec![0; 5], 1.0).is_err());
        assert!(binary_cross_entropy(&t, vec![2; 6], 1.0).is_err());
        assert!(relative_l2(&t, vec![0.0; 5], None).is_err());
        assert!(mean_squared_error(&t, vec![0.0; 5], None).is_err());
        let short = Arc::new(Scaling { mean: vec![0.0; 2], scale: vec![1.0; 2] });
        assert!(relative_l2(&t, vec![0.0; 6], Some(short)).is_err());
    }
}
