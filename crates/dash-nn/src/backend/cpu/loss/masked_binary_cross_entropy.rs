//! Computes binary cross-entropy of masks in which some positions are ignored.

use super::logits::{sigmoid, softplus};
use crate::backend::cpu::values::{GRAIN, Values, operand};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// The largest loss of a position.
pub(crate) const LARGEST_LOSS: f64 = 100.0;

struct MaskedBinaryCrossEntropy {
    mask: Vec<u8>,
    ignore: Vec<u8>,
}

/// Mean over all positions of -ln p if the mask is 1 there and -ln(1 - p) if it is 0, each at most 100,
/// with p the sigmoid of the logit. An ignored position adds nothing, but counts in the mean: it is as if
/// it were predicted with certainty. `logits` is [B, ...]; `mask` and `ignore` have a byte per element.
pub(super) fn masked_binary_cross_entropy(logits: &Tensor, mask: Vec<u8>, ignore: Vec<u8>) -> Result<Tensor> {
    logits.contiguous()?.apply_op1(MaskedBinaryCrossEntropy { mask, ignore })
}

/// The loss of one position.
pub(crate) fn mask_loss(logit: f32, mask: u8, ignore: u8) -> f64 {
    let loss = match (ignore, mask) {
        (0, 0) => softplus(f64::from(logit)),
        (0, _) => softplus(-f64::from(logit)),
        _ => 0.0,
    };
    // Not `min`, which would make a number of NaN.
    if loss > LARGEST_LOSS { LARGEST_LOSS } else { loss }
}

impl MaskedBinaryCrossEntropy {
    fn check(&self, elements: usize) -> Result<()> {
        if elements == 0 || self.mask.len() != elements || self.ignore.len() != elements {
            bail!(
                "{}: {elements} outputs for a mask of {} and {} ignored positions",
                self.name(),
                self.mask.len(),
                self.ignore.len()
            )
        }
        Ok(())
    }
}

impl CustomOp1 for MaskedBinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "masked-binary-cross-entropy"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let logits = operand(self.name(), x, layout)?;
        self.check(logits.len())?;
        let term = |((&x, &mask), &ignore): ((&f32, &u8), &u8)| mask_loss(x, mask, ignore);
        // Sums of pieces of a fixed length, so that the total does not depend on the number of threads.
        let sums: Vec<f64> =
            (logits.par_chunks(GRAIN), self.mask.par_chunks(GRAIN), self.ignore.par_chunks(GRAIN))
                .into_par_iter()
                .map(|(logits, mask, ignore)| logits.iter().zip(mask).zip(ignore).map(term).sum())
                .collect();
        let mean = sums.iter().sum::<f64>() / logits.len() as f64;
        Ok((CpuStorage::F32(vec![mean as f32]), Shape::from(())))
    }

    /// (p - mask) / elements where nothing is ignored, also where the loss has reached its most: a
    /// gradient of zero would leave the network there for ever.
    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let values = Values::of(self.name(), logits)?;
        let scale = f64::from(grad.to_scalar::<f32>()?) / self.mask.len() as f64;
        let mut out = vec![0f32; self.mask.len()];
        (out.par_chunks_mut(GRAIN), values.as_slice().par_chunks(GRAIN))
            .into_par_iter()
            .zip((self.mask.par_chunks(GRAIN), self.ignore.par_chunks(GRAIN)))
            .for_each(|((out, logits), (mask, ignore))| {
                for ((out, &x), (&mask, &ignore)) in out.iter_mut().zip(logits).zip(mask.iter().zip(ignore)) {
                    *out = match (ignore, mask) {
                        (0, 0) => (scale * sigmoid(f64::from(x))) as f32,
                        (0, _) => (-scale * sigmoid(-f64::from(x))) as f32,
                        _ => 0.0,
                    };
                }
            });
        Ok(Some(Tensor::from_vec(out, logits.shape(), logits.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;
    use candle_core::{Device, Var};

    /// p = torch.sigmoid(torch.tensor([2., -1., .5, 3., 0., -2.], requires_grad=True)) * (1 - z)
    /// torch.nn.functional.binary_cross_entropy(p, torch.tensor([1., 0., 1., 0., 1., 0.]) * (1 - z))
    /// with z = torch.tensor([0., 0., 1., 0., 0., 1.]), and the gradient, with torch 2.15.0 in double
    /// precision.
    #[test]
    fn agrees_with_torch() {
        let logits = Var::from_vec(vec![2f32, -1.0, 0.5, 3.0, 0.0, -2.0], (1, 1, 6), &Device::Cpu).unwrap();
        let loss =
            masked_binary_cross_entropy(logits.as_tensor(), vec![1, 0, 1, 0, 1, 0], vec![0, 0, 1, 0, 0, 1])
                .unwrap();
        assert_close(&[loss.to_scalar::<f32>().unwrap()], &[0.6969873717824809], 1e-6);
        let gradient = loss.backward().unwrap().get(&logits).unwrap().flatten_all().unwrap();
        assert_close(
            &gradient.to_vec1().unwrap(),
            &[-0.01986715367035295, 0.04482357022833252, 0.0, 0.15876235447040554, -0.08333333333333333, 0.0],
            1e-6,
        );
    }

    #[test]
    fn huge_logits_cost_at_most_a_hundred_and_still_pull_back() {
        let loss = |logit: f32, mask: u8, ignore: u8| {
            let t = Var::from_vec(vec![logit], (1, 1, 1), &Device::Cpu).unwrap();
            let loss = masked_binary_cross_entropy(t.as_tensor(), vec![mask], vec![ignore]).unwrap();
            let gradient = loss.backward().unwrap().get(&t).unwrap().flatten_all().unwrap();
            (loss.to_scalar::<f32>().unwrap(), gradient.to_vec1::<f32>().unwrap()[0])
        };
        assert_eq!(loss(1e4, 0, 0), (100.0, 1.0));
        assert_eq!(loss(-1e4, 1, 0), (100.0, -1.0));
        assert_eq!(loss(99.0, 0, 0), (99.0, 1.0));
        assert_eq!(loss(1e4, 1, 0), (0.0, 0.0));
        assert_eq!(loss(1e4, 0, 1), (0.0, 0.0));
        assert!(loss(f32::NAN, 0, 0).0.is_nan() && loss(f32::NAN, 1, 0).1.is_nan());
    }

    #[test]
    fn masks_that_do_not_fit_are_refused() {
        let t = Tensor::zeros((1, 2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(masked_binary_cross_entropy(&t, vec![0; 5], vec![0; 6]).is_err());
        assert!(masked_binary_cross_entropy(&t, vec![0; 6], vec![0; 7]).is_err());
        assert!(masked_binary_cross_entropy(&t, vec![0; 6], vec![0; 6]).is_ok());
    }
}
