//! Computes binary cross-entropy of labels.

use super::logits::{sigmoid, softplus};
use crate::backend::cpu::values::{Values, operand};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

struct BinaryCrossEntropy {
    labels: Vec<u8>,
    positive_weight: f64,
}

/// Mean over all elements of -w t ln s(x) - (1 - t) ln(1 - s(x)), with s the sigmoid and w the weight of
/// positive labels; logits [B, L], one label t, 0 or 1, for each.
pub(super) fn binary_cross_entropy(logits: &Tensor, labels: Vec<u8>, positive_weight: f64) -> Result<Tensor> {
    logits.contiguous()?.apply_op1(BinaryCrossEntropy { labels, positive_weight })
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
