//! Computes mixing weights, and normalises architecture gradients (DASH, section 5).

use super::values::{Values, operand};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

pub(super) fn mixing_weights(alpha: &Tensor, noise: Vec<f32>) -> Result<Tensor> {
    alpha.contiguous()?.apply_op1(MixingWeights { noise })
}

struct MixingWeights {
    noise: Vec<f32>,
}

impl CustomOp1 for MixingWeights {
    fn name(&self) -> &'static str {
        "mixing-weights"
    }

    fn cpu_fwd(&self, alpha: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let alpha = operand(self.name(), alpha, layout)?;
        if alpha.len() != self.noise.len() || layout.dims().len() != 1 {
            bail!("{}: {} numbers of noise for {:?}", self.name(), self.noise.len(), layout.dims())
        }
        let logits: Vec<f64> = alpha.iter().zip(&self.noise).map(|(&a, &n)| f64::from(a + n)).collect();
        let most = logits.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v));
        let terms: Vec<f64> = logits.iter().map(|v| libm::exp(v - most)).collect();
        let sum: f64 = terms.iter().sum();
        let value = terms.iter().map(|term| (term / sum) as f32).collect();
        Ok((CpuStorage::F32(value), layout.shape().clone()))
    }

    /// c (g - <g, c>)
    fn bwd(&self, alpha: &Tensor, value: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let (value, grad) = (Values::of(self.name(), value)?, Values::of(self.name(), &grad)?);
        let pairs =
            || value.as_slice().iter().zip(grad.as_slice()).map(|(&c, &g)| (f64::from(c), f64::from(g)));
        let mean: f64 = pairs().map(|(c, g)| c * g).sum();
        let out: Vec<f32> = pairs().map(|(c, g)| (c * (g - mean)) as f32).collect();
        Ok(Some(Tensor::from_vec(out, alpha.shape(), alpha.device())?))
    }
}

/// The normalised gradient of one layer's architecture parameters: g / (scale (||g|| + 1e-8)) + penalty; with scale 0
/// g + penalty (DASH, section 5.3).
pub fn arch_gradient(gradient: &[f32], penalty: &[f64], scale: f64) -> Vec<f32> {
    let norm = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
    let factor = if scale == 0.0 { 1.0 } else { 1.0 / (scale * (norm + 1e-8)) };
    gradient.iter().zip(penalty).map(|(&g, penalty)| (f64::from(g) * factor + penalty) as f32).collect()
}
