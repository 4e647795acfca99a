//! Sums the gradients of an activation over its consumers.

use crate::backend::Backend;
use candle_core::{Result, Tensor, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// A gradient on its way from consumers to the producer.
#[derive(Debug)]
pub(super) struct Gradient {
    /// Contiguous.
    pub(super) tensor: Tensor,
    /// Whether anything else may read the same memory, so that it must not be written to.
    pub(super) shared: bool,
}

/// Holds the gradient of one activation while candle visits its consumers.
#[derive(Clone, Debug)]
pub(super) struct GradientSlot {
    backend: Backend,
    total: Arc<Mutex<Option<Gradient>>>,
}

impl GradientSlot {
    /// An empty slot for an activation of `backend`.
    pub(super) fn new(backend: &Backend) -> GradientSlot {
        GradientSlot { backend: backend.clone(), total: Arc::default() }
    }

    /// The backend of the activation.
    pub(super) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Adds the gradient of one consumer: moved into the slot, or summed with those of other consumers.
    pub(super) fn add(&self, new: Gradient) -> Result<()> {
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = match total.take() {
            None => new,
            Some(old) => self.accumulate(old, new)?,
        };
        *total = Some(sum);
        Ok(())
    }

    /// Takes the sum over all consumers, for the operation `name` that produced the activation.
    pub(super) fn take(&self, name: &str) -> Result<Gradient> {
        match self.total.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(gradient) => Ok(gradient),
            None => bail!("{name}: no consumer added a gradient of the output"),
        }
    }

    /// The sum of two gradients, in the memory of one that nothing else reads if there is one.
    fn accumulate(&self, old: Gradient, new: Gradient) -> Result<Gradient> {
        let tensor = match (old.shared, new.shared) {
            (true, true) => self.backend.add(&old.tensor, &new.tensor)?,
            (true, false) => self.backend.accumulate(new.tensor, &old.tensor)?,
            (false, _) => self.backend.accumulate(old.tensor, &new.tensor)?,
        };
        Ok(Gradient { tensor, shared: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// More than one task of a parallel sum.
    const LEN: usize = 30_000;

    fn gradient(value: f32, shared: bool) -> (Tensor, Gradient) {
        let tensor = Tensor::full(value, LEN, &Device::Cpu).unwrap();
        (tensor.clone(), Gradient { tensor, shared })
    }

    #[test]
    fn shared_memory_is_never_written_to_and_own_memory_is_reused() {
        for (first, second) in [(false, false), (false, true), (true, false), (true, true)] {
            let ((a, old), (b, new)) = (gradient(1.0, first), gradient(2.0, second));
            let slot = GradientSlot::new(&Backend::cpu());
            slot.add(old).unwrap();
            slot.add(new).unwrap();
            let total = slot.take("test").unwrap();
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
        let error = GradientSlot::new(&Backend::cpu()).take("some-operation").unwrap_err().to_string();
        assert!(error.contains("some-operation: no consumer added a gradient"), "{error}");
    }
}
