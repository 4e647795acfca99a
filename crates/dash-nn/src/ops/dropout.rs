//! Dropout with counter-based masks (Srivastava et al. 2014).

use super::operand;
use crate::Activation;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use dash_conv::zeros;
use dash_core::random::{Purpose, stream, stream_key};
use dash_cuda::Gpu;
use rand::RngCore;
use rayon::prelude::*;

/// Elements that share a random stream. Part of the definition of a mask.
const BLOCK: usize = 4096;

/// Names one mask: any part of it can be recomputed without history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mask {
    pub(crate) seed: u64,
    pub(crate) step: u64,
    pub(crate) layer: u64,
    /// Probability of dropping an element, in [0, 1).
    pub(crate) probability: f64,
}

/// Zeroes each element with the mask's probability and divides the others by 1 - probability.
pub(crate) fn dropout(x: &Activation, mask: Mask) -> Result<Activation> {
    let y = mask.apply(x.value())?;
    // Dropout is linear and symmetric: its gradient is itself, with the same mask drawn again.
    x.map("dropout", y, move |grad| mask.apply(grad))
}

impl Mask {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let Some(gpu) = Gpu::of(x.device()) else { return x.apply_op1_no_bwd(self) };
        let x = x.contiguous()?;
        let key = stream_key(self.seed, Purpose::Dropout, [self.step, self.layer]);
        let (threshold, scale) = self.rule();
        let y = dash_cuda::dropout(&gpu, gpu.operand(&x)?.read(), key, BLOCK, threshold, scale)?;
        gpu.tensor(y, x.shape())
    }

    /// Below which words elements are dropped, and what others are multiplied with.
    fn rule(&self) -> (u32, f32) {
        ((self.probability * 2f64.powi(32)) as u32, (1.0 / (1.0 - self.probability)) as f32)
    }
}

impl CustomOp1 for Mask {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = operand(self.name(), x, layout)?;
        let (threshold, scale) = self.rule();
        let mut y = zeros(x.len());
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).enumerate().for_each(|(block, (y, x))| {
            let counter = [self.step, self.layer, block as u64];
            let mut rng = stream(self.seed, Purpose::Dropout, counter);
            for (y, &x) in y.iter_mut().zip(x) {
                if rng.next_u32() >= threshold {
                    *y = x * scale;
                }
            }
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor, Var};

    const MASK: Mask = Mask { seed: 5, step: 7, layer: 2, probability: 0.25 };

    fn dropped(x: &Tensor, mask: Mask) -> Tensor {
        dropout(&Activation::from_tensor(x).unwrap(), mask).unwrap().into_tensor().unwrap()
    }

    fn values(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn keeps_three_quarters_scaled_and_gradients_see_the_same_mask() {
        let x = Var::ones((10, 2000), DType::F32, &Device::Cpu).unwrap();
        let y = dropped(&x, MASK);
        let grad = y.sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone();
        let y = values(&y);
        assert_eq!(values(&grad), y);
        assert!(y.iter().all(|&v| v == 0.0 || v == (4.0f64 / 3.0) as f32));
        let kept = y.iter().filter(|&&v| v != 0.0).count();
        // Binomial with mean 15000 and standard deviation 61.
        assert!((14_700..15_300).contains(&kept), "{kept}");
    }

    #[test]
    fn every_part_of_the_name_changes_the_mask() {
        let x = Tensor::ones(9000, DType::F32, &Device::Cpu).unwrap();
        let base = values(&dropped(&x, MASK));
        assert_eq!(base, values(&dropped(&x, MASK)));
        for other in [Mask { seed: 6, ..MASK }, Mask { step: 8, ..MASK }, Mask { layer: 3, ..MASK }] {
            assert_ne!(base, values(&dropped(&x, other)));
        }
        assert_ne!(base[..BLOCK], base[BLOCK..2 * BLOCK]);
    }

    #[test]
    fn probability_zero_changes_nothing() {
        let x = Tensor::ones(100, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(values(&dropped(&x, Mask { probability: 0.0, ..MASK })), vec![1.0; 100]);
    }
}
