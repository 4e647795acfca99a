//! Sums activations and their gradients.

use super::values::{GRAIN, Values, operand};
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use dash_conv::zeros;
use rayon::prelude::*;

/// a + b of equal shapes, by all threads.
pub(super) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    const NAME: &str = "add";
    if a.dims() != b.dims() {
        bail!("{NAME}: {:?} and {:?} differ in shape", a.dims(), b.dims())
    }
    let (a_values, b_values) = (Values::of(NAME, a)?, Values::of(NAME, b)?);
    let mut out = zeros(a.elem_count());
    (out.par_chunks_mut(GRAIN), a_values.as_slice().par_chunks(GRAIN), b_values.as_slice().par_chunks(GRAIN))
        .into_par_iter()
        .for_each(|(out, a, b)| out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = a + b));
    Tensor::from_vec(out, a.shape(), a.device())
}

/// sum += term of equal shapes, by all threads.
pub(super) fn accumulate(sum: Tensor, term: &Tensor) -> Result<Tensor> {
    sum.inplace_op2(term, &AddAssign)?;
    Ok(sum)
}

struct AddAssign;

impl InplaceOp2 for AddAssign {
    fn name(&self) -> &'static str {
        "add-assign"
    }

    fn cpu_fwd(&self, a: &mut CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<()> {
        let b = operand(self.name(), b, lb)?;
        let (CpuStorage::F32(a), Some((start, end))) = (a, la.contiguous_offsets()) else {
            bail!("{}: the sum must be a contiguous f32 tensor, not {la:?}", self.name())
        };
        let Some(a) = a.get_mut(start..end).filter(|a| a.len() == b.len()) else {
            bail!("{}: {la:?} and {lb:?} do not fit", self.name())
        };
        (a.par_chunks_mut(GRAIN), b.par_chunks(GRAIN))
            .into_par_iter()
            .for_each(|(a, b)| a.iter_mut().zip(b).for_each(|(a, b)| *a += b));
        Ok(())
    }
}
