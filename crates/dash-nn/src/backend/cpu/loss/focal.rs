//! Computes the focal loss (Lin et al. 2017).

use super::logits::{checked, normaliser};
use crate::backend::cpu::values::{Values, operand};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use libm::{exp, log, pow};

/// Added to probabilities before their logarithm.
const EPSILON: f64 = 1e-9;

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
        (p, q, -pow(q, self.gamma) * log(p + EPSILON))
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
                self.gamma * pow(q, self.gamma - 1.0) * log(p + EPSILON)
            } else {
                0.0
            };
            let slope = p * (pull - pow(q, self.gamma) / (p + EPSILON));
            out.extend(row.iter().enumerate().map(|(i, &v)| {
                let other = exp(f64::from(v) - max) / sum;
                (scale * slope * (if i == class as usize { q } else { -other })) as f32
            }));
        }
        Ok(Some(Tensor::from_vec(out, (b, k), logits.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
