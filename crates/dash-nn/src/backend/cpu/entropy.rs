//! Losses over class and label probabilities with fused gradients. Exponentials and logarithms are those of the crate `libm`,
//! and not of the system: what the system's library computes depends on the CPU and on its version.

use super::values::{Values, operand};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use libm::{exp, log, log1p, pow};

struct CrossEntropy {
    classes: Vec<u32>,
}

/// Mean over the batch of -log softmax(logits)[class]; logits [B, K], one class below K per row.
pub(super) fn cross_entropy(logits: &Tensor, classes: Vec<u32>) -> Result<Tensor> {
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
pub(super) fn focal(logits: &Tensor, classes: Vec<u32>, gamma: f64) -> Result<Tensor> {
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
pub(super) fn binary_cross_entropy(logits: &Tensor, labels: Vec<u8>, positive_weight: f64) -> Result<Tensor> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn focal_is_bounded_where_the_network_is_certain() {
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
}
