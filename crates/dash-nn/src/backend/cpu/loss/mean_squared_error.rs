//! Computes the mean squared error.

use super::fields::len_per_sample;
use crate::backend::cpu::values::{Values, operand};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use dash_core::card::Scaling;
use rayon::prelude::*;
use std::sync::Arc;

struct MeanSquaredError {
    target: Vec<f32>,
    scaling: Option<Arc<Scaling>>,
}

/// Mean over all elements of (output - target)^2, both decoded by `scaling` first. `output` is
/// [B, ...], `target` has as many elements in the same order.
pub(super) fn mean_squared_error(
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
