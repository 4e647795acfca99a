//! Gradients of activations between consumers and producers.

use crate::ops::{GRAIN, Values, operand};
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use dash_conv::zeros;
use dash_cuda::{Gpu, add};
use rayon::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// A gradient on its way from consumers to the producer.
#[derive(Debug)]
pub(super) struct Gradient {
    /// Contiguous.
    pub(super) tensor: Tensor,
    /// Whether anything else may read the same memory, so that it must not be written to.
    pub(super) shared: bool,
}

/// Where the gradient of one activation is left.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell(Arc<Mutex<Option<Gradient>>>);

impl Cell {
    /// Leaves a gradient: moved, or added to what other consumers left.
    pub(super) fn leave(&self, new: Gradient) -> Result<()> {
        let mut cell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total = match cell.take() {
            None => new,
            Some(old) => accumulate(old, new)?,
        };
        *cell = Some(total);
        Ok(())
    }

    /// Takes what all consumers left, for the operation `name` that produced the activation.
    pub(super) fn take(&self, name: &str) -> Result<Gradient> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(gradient) => Ok(gradient),
            None => bail!("{name}: no consumer left a gradient of the output"),
        }
    }
}

/// The sum of two gradients, in the memory of one that nothing else reads if there is one.
fn accumulate(old: Gradient, new: Gradient) -> Result<Gradient> {
    let (target, term) = match (old.shared, new.shared) {
        (true, true) => return Ok(Gradient { tensor: sum(&old.tensor, &new.tensor)?, shared: false }),
        (true, false) => (new, old),
        (false, _) => (old, new),
    };
    if Gpu::of(target.tensor.device()).is_some() {
        return Ok(Gradient { tensor: sum(&target.tensor, &term.tensor)?, shared: false });
    }
    target.tensor.inplace_op2(&term.tensor, &AddAssign)?;
    Ok(target)
}

/// a + b of equal shapes, by all threads.
pub(super) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    const NAME: &str = "add";
    if a.dims() != b.dims() {
        bail!("{NAME}: {:?} and {:?} differ in shape", a.dims(), b.dims())
    }
    if let Some(gpu) = Gpu::of(a.device()) {
        let out = add(&gpu, gpu.operand(a)?.read(), gpu.operand(b)?.read())?;
        return gpu.tensor(out, a.shape());
    }
    let (a_values, b_values) = (Values::of(NAME, a)?, Values::of(NAME, b)?);
    let mut out = zeros(a.elem_count());
    (out.par_chunks_mut(GRAIN), a_values.as_slice().par_chunks(GRAIN), b_values.as_slice().par_chunks(GRAIN))
        .into_par_iter()
        .for_each(|(out, a, b)| out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = a + b));
    Tensor::from_vec(out, a.shape(), a.device())
}

/// a += b of equal shapes, by all threads.
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn gradient(value: f32, shared: bool) -> (Tensor, Gradient) {
        let tensor = Tensor::full(value, 3 * GRAIN + 1, &Device::Cpu).unwrap();
        (tensor.clone(), Gradient { tensor, shared })
    }

    #[test]
    fn shared_memory_is_never_written_to_and_own_memory_is_reused() {
        for (first, second) in [(false, false), (false, true), (true, false), (true, true)] {
            let ((a, old), (b, new)) = (gradient(1.0, first), gradient(2.0, second));
            let cell = Cell::default();
            cell.leave(old).unwrap();
            cell.leave(new).unwrap();
            let total = cell.take("test").unwrap();
            assert!(!total.shared);
            let value = |t: &Tensor| {
                let values = t.to_vec1::<f32>().unwrap();
                assert!(values.iter().all(|v| *v == values[0]));
                values[0]
            };
            assert_eq!(value(&total.tensor), 3.0);
            assert_eq!(value(&a), if first { 1.0 } else { 3.0 });
            assert_eq!(value(&b), if first && !second { 3.0 } else { 2.0 });
        }
    }

    #[test]
    fn a_missing_gradient_is_an_error_that_names_the_operation() {
        let error = Cell::default().take("some-operation").unwrap_err().to_string();
        assert!(error.contains("some-operation: no consumer left a gradient"), "{error}");
    }
}
