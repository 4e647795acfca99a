//! Applies dropout with counter-based masks (Srivastava et al. 2014).

use super::values::operand;
use crate::backend::operations::{Backward, Computed, DropoutMask};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use dash_conv::zeros;
use dash_core::random::{Purpose, stream};
use rand::RngCore;
use rayon::prelude::*;

pub(super) fn dropout(x: &Tensor, mask: DropoutMask) -> Result<Computed<Backward>> {
    let value = x.apply_op1_no_bwd(&Masked(mask))?;
    // Dropout is linear and symmetric: its gradient is itself, with the same mask drawn again.
    Ok(Computed { value, backward: Some(Box::new(move |grad| grad.apply_op1_no_bwd(&Masked(mask)))) })
}

struct Masked(DropoutMask);

impl CustomOp1 for Masked {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (mask, x) = (&self.0, operand(self.name(), x, layout)?);
        let (threshold, scale) = mask.threshold_and_scale();
        let mut y = zeros(x.len());
        let blocks = y.par_chunks_mut(DropoutMask::BLOCK).zip(x.par_chunks(DropoutMask::BLOCK));
        blocks.enumerate().for_each(|(block, (y, x))| {
            let counter = [mask.step, mask.layer, block as u64];
            let mut rng = stream(mask.seed, Purpose::Dropout, counter);
            for (y, &x) in y.iter_mut().zip(x) {
                if rng.next_u32() >= threshold {
                    *y = x * scale;
                }
            }
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}
