//! Computes softmax cross-entropy.

use super::logits::{checked, normaliser};
use crate::backend::cpu::values::{Values, operand};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use libm::{exp, log};

struct CrossEntropy {
    classes: Vec<u32>,
}

/// Mean over the batch of -log softmax(logits)[class]; logits [B, K], one class below K per row.
pub(super) fn cross_entropy(logits: &Tensor, classes: Vec<u32>) -> Result<Tensor> {
    logits.contiguous()?.apply_op1(CrossEntropy { classes })
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
}
