//! Fused operations with hand-written gradients. Reductions run in f64 in an order that does not
//! depend on the number of threads.

mod batch_norm;
mod convolve;
mod dropout;
mod kernels;
mod loss;
mod loss_on_gpu;
mod masked;
mod mixing;
mod norm_on_gpu;
mod pool;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use batch_norm::{Moments, batch_norm, normalise};
pub(crate) use convolve::convolve;
pub(crate) use dropout::{Mask, dropout};
pub(crate) use loss::{
    binary_cross_entropy, cross_entropy, focal, mean_squared_error, relative_l2, relative_l2_errors,
};
pub(crate) use loss_on_gpu::loss_on;
pub(crate) use masked::{mask_loss, masked_binary_cross_entropy};
pub use mixing::{mixing_coefficients, treated_gradient};
pub(crate) use norm_on_gpu::{batch_norm_on, normalise_on};
pub(crate) use pool::mean_over_positions;

use candle_core::{CpuStorage, Layout, Result, Storage, StorageRef, Tensor, bail};
use std::{mem::MaybeUninit, ops::Range};

/// Elements that are worth a task of their own.
pub(crate) const GRAIN: usize = 8192;

/// Planes of `len` elements per task.
fn planes_per_task(len: usize) -> usize {
    (GRAIN / len.max(1)).max(1)
}

/// The values of a contiguous f32 operand on the CPU.
pub(crate) fn operand<'a>(op: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
        bail!("{op}: operands must be contiguous f32 tensors, not {layout:?}")
    };
    match values.get(start..end) {
        Some(values) => Ok(values),
        None => bail!("{op}: layout {layout:?} exceeds its storage"),
    }
}

/// Read access to the values of a contiguous f32 tensor on the CPU.
pub(crate) struct Values<'a>(StorageRef<'a>, Range<usize>);

impl<'a> Values<'a> {
    pub(crate) fn of(op: &str, tensor: &'a Tensor) -> Result<Values<'a>> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(cpu) = &*storage else { bail!("{op}: not implemented on {:?}", tensor.device()) };
        let len = operand(op, cpu, layout)?.len();
        let start = layout.start_offset();
        Ok(Values(storage, start..start + len))
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        match &*self.0 {
            Storage::Cpu(CpuStorage::F32(values)) => values.get(self.1.clone()).unwrap_or_default(),
            _ => &[],
        }
    }
}

/// Memory for an output: to fill it with zeros first would be a pass over memory like any other.
struct Unwritten {
    values: Vec<f32>,
    len: usize,
}

impl Unwritten {
    fn new(len: usize) -> Unwritten {
        Unwritten { values: Vec::with_capacity(len), len }
    }

    /// What is to be written.
    fn values(&mut self) -> &mut [MaybeUninit<f32>] {
        &mut self.values.spare_capacity_mut()[..self.len]
    }

    /// What was written.
    ///
    /// # Safety
    /// All of [`Unwritten::values`] must have been written.
    #[allow(unsafe_code)]
    unsafe fn written(mut self) -> Vec<f32> {
        // SAFETY: there is room for `len` numbers, and they were written by the caller's promise.
        unsafe { self.values.set_len(self.len) };
        self.values
    }
}

/// (batch, channels, positions) of a tensor [B, C, ...].
fn planes(op: &str, dims: &[usize]) -> Result<(usize, usize, usize)> {
    match dims {
        [b, c, spatial @ ..] => Ok((*b, *c, spatial.iter().product())),
        _ => bail!("{op}: expected [B, C, ...], got {dims:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{check_gradients, ramp};
    use super::*;
    use crate::Activation;

    /// Residual sums, where an operand meets itself again, and the removal of the position axis after
    /// pooling.
    #[test]
    fn sums_and_reshapes_have_right_gradients() {
        let inputs = [(vec![2, 3, 4], ramp(24, 1)), (vec![2, 3, 4], ramp(24, 2))];
        check_gradients(
            &inputs,
            |t| {
                let (a, b) = (Activation::from_tensor(&t[0])?, Activation::from_tensor(&t[1])?);
                mean_over_positions(&a.add(&b)?)?
                    .add(&mean_over_positions(&a)?)?
                    .reshape((2, 3))?
                    .into_tensor()
            },
            |v| {
                let mean = |i: usize, v: &[f64]| v[4 * i..4 * i + 4].iter().sum::<f64>() / 4.0;
                (0..6).map(|i| 2.0 * mean(i, &v[0]) + mean(i, &v[1])).collect()
            },
        );
    }

    #[test]
    fn operands_that_are_not_contiguous_are_refused() {
        let t = Tensor::zeros((2, 3), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        assert!(Values::of("test", &t.t().unwrap()).is_err());
        let part = t.narrow(0, 1, 1).unwrap();
        assert_eq!(Values::of("test", &part).unwrap().as_slice().len(), 3);
        assert!(Values::of("test", &t.to_dtype(candle_core::DType::F64).unwrap()).is_err());
    }
}
