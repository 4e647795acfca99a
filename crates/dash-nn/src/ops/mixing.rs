//! The coefficients of a mixture, and what is done to the gradients of architecture parameters (DASH, section 5).

use super::{Values, operand};
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use dash_cuda::{
    Gpu, mixing_coefficients as coefficients_on, mixing_gradient, treated_gradient as treated_on,
};

/// softmax(alpha + noise), `[candidates]`, differentiable in alpha.
///
/// # Errors
/// If there is not as much noise as there are parameters.
pub fn mixing_coefficients(alpha: &Tensor, noise: Vec<f32>) -> Result<Tensor> {
    let Some(gpu) = Gpu::of(alpha.device()) else {
        if alpha.device().is_cpu() {
            return alpha.contiguous()?.apply_op1(MixingCoefficients { noise });
        }
        // A device without kernels of this project.
        let noise = Tensor::from_vec(noise, alpha.elem_count(), alpha.device())?;
        return candle_nn::ops::softmax(&(alpha + noise)?, D::Minus1);
    };
    let value = coefficients_on(&gpu, gpu.operand(&alpha.contiguous()?)?.read(), &noise)?;
    let value = gpu.tensor(value, alpha.shape())?;
    let (on, found) = (gpu.clone(), value.clone());
    let rule = move |grad: &Tensor| -> Result<Tensor> {
        let dalpha = mixing_gradient(&on, on.operand(&found)?.read(), on.operand(grad)?.read())?;
        on.tensor(dalpha, grad.shape())
    };
    gpu.node_of_one("mixing-coefficients", alpha, &value, rule)
}

struct MixingCoefficients {
    noise: Vec<f32>,
}

impl CustomOp1 for MixingCoefficients {
    fn name(&self) -> &'static str {
        "mixing-coefficients"
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

/// A gradient of architecture parameters on a GPU divided by `scale` and its norm, or as it is if `scale` is zero, with
/// a pull added, without waiting for it; `None` elsewhere.
///
/// # Errors
/// If there is no pull for each parameter.
pub fn treated_gradient(gradient: &Tensor, pull: &[f32], scale: f64) -> Result<Option<Tensor>> {
    let Some(gpu) = Gpu::of(gradient.device()) else { return Ok(None) };
    let treated = treated_on(&gpu, gpu.operand(&gradient.contiguous()?)?.read(), pull, scale)?;
    gpu.tensor(treated, gradient.shape()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, ramp};
    use candle_core::{Device, Var};
    use dash_cuda::Emulator;

    #[test]
    fn a_gpu_has_the_coefficients_of_the_cpu() {
        let (noise, grad) = (ramp(15, 2), ramp(15, 3));
        let alpha = Var::from_vec(ramp(15, 1).iter().map(|v| 5.0 * v).collect(), 15, &Device::Cpu).unwrap();
        let out = Tensor::from_slice(&grad, 15, &Device::Cpu).unwrap();
        let here = mixing_coefficients(&alpha, noise.clone()).unwrap();
        let gradient = (&here * &out).unwrap().sum_all().unwrap().backward().unwrap();
        let dalpha = gradient.get(&alpha).unwrap().to_vec1::<f32>().unwrap();
        let gpu = Gpu::Emulator(Emulator::default());
        let there = coefficients_on(&gpu, gpu.operand(&alpha).unwrap().read(), &noise).unwrap();
        let dalpha_there =
            mixing_gradient(&gpu, gpu.read(&there), gpu.operand(&out).unwrap().read()).unwrap();
        for (found, expected) in [(there, here.to_vec1::<f32>().unwrap()), (dalpha_there, dalpha)] {
            for (found, expected) in gpu.download(&found).unwrap().iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
        assert!(coefficients_on(&gpu, gpu.operand(&alpha).unwrap().read(), &noise[1..]).is_err());
    }

    #[test]
    fn coefficients_are_a_softmax_with_its_gradient() {
        let noise = ramp(7, 2);
        let inputs = [(vec![7], ramp(7, 1).iter().map(|v| 3.0 * v).collect())];
        check_gradients(
            &inputs,
            |t| mixing_coefficients(&t[0], noise.clone()),
            |v| {
                let terms: Vec<f64> =
                    v[0].iter().zip(&noise).map(|(a, &n)| (a + f64::from(n)).exp()).collect();
                terms.iter().map(|term| term / terms.iter().sum::<f64>()).collect()
            },
        );
        // candle's own softmax is another definition of it.
        let alpha = Tensor::from_vec(ramp(7, 1), 7, &Device::Cpu).unwrap();
        let ours = mixing_coefficients(&alpha, vec![0.0; 7]).unwrap().to_vec1::<f32>().unwrap();
        let theirs = candle_nn::ops::softmax(&alpha, D::Minus1).unwrap().to_vec1::<f32>().unwrap();
        assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-6));
        let alpha = Tensor::new(&[1f32, f32::NAN], &Device::Cpu).unwrap();
        let found = mixing_coefficients(&alpha, vec![0.0; 2]).unwrap().to_vec1::<f32>().unwrap();
        assert!(found.iter().all(|c| c.is_nan()));
        assert!(mixing_coefficients(&alpha, vec![0.0; 3]).is_err());
    }

    #[test]
    fn gradients_are_normed_and_pulled() {
        let (grad, pull) = ([3.0f32, -4.0, 0.0], [0.5f32, 0.0, -0.25]);
        let gpu = Gpu::Emulator(Emulator::default());
        let of = |scale| {
            let grad = Tensor::new(&grad, &Device::Cpu).unwrap();
            let treated = treated_on(&gpu, gpu.operand(&grad).unwrap().read(), &pull, scale).unwrap();
            gpu.download(&treated).unwrap()
        };
        assert_eq!(of(0.0), [3.5, -4.0, -0.25]);
        for (found, expected) in of(2.0).iter().zip([0.8f32, -0.4, -0.25]) {
            assert!((found - expected).abs() < 1e-6);
        }
    }
}
