//! Computes the relative L2 error.

use super::fields::len_per_sample;
use crate::backend::cpu::values::{Values, operand};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use dash_core::card::Scaling;
use rayon::prelude::*;
use std::sync::Arc;

struct RelativeL2 {
    target: Vec<f32>,
    scaling: Option<Arc<Scaling>>,
}

/// Sum over the batch of ||output - target||_2 / ||target||_2, both decoded by `scaling` first.
/// `output` is [B, ...], `target` has as many elements in the same order.
pub(super) fn relative_l2(
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
