//! Reads the values of tensors on the CPU.

use candle_core::{CpuStorage, Layout, Result, Storage, StorageRef, Tensor, bail};
use std::{mem::MaybeUninit, ops::Range};

/// Elements that are worth a task of their own.
pub(crate) const GRAIN: usize = 8192;

/// Planes of `len` elements per task.
pub(super) fn planes_per_task(len: usize) -> usize {
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

/// Uninitialised memory for an output, which saves a pass over memory that fills it with zeros.
pub(super) struct Unwritten {
    values: Vec<f32>,
    len: usize,
}

impl Unwritten {
    pub(super) fn new(len: usize) -> Unwritten {
        Unwritten { values: Vec::with_capacity(len), len }
    }

    /// The elements to write.
    pub(super) fn values(&mut self) -> &mut [MaybeUninit<f32>] {
        &mut self.values.spare_capacity_mut()[..self.len]
    }

    /// The written elements.
    ///
    /// # Safety
    /// All of [`Unwritten::values`] must have been written.
    #[allow(unsafe_code)]
    pub(super) unsafe fn written(mut self) -> Vec<f32> {
        // SAFETY: there is room for `len` numbers, and they were written by the caller's promise.
        unsafe { self.values.set_len(self.len) };
        self.values
    }
}

/// (batch, channels, positions) of a tensor [B, C, ...].
pub(crate) fn planes(op: &str, dims: &[usize]) -> Result<(usize, usize, usize)> {
    match dims {
        [b, c, spatial @ ..] => Ok((*b, *c, spatial.iter().product())),
        _ => bail!("{op}: expected [B, C, ...], got {dims:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn operands_that_are_not_contiguous_are_refused() {
        let t = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(Values::of("test", &t.t().unwrap()).is_err());
        let part = t.narrow(0, 1, 1).unwrap();
        assert_eq!(Values::of("test", &part).unwrap().as_slice().len(), 3);
        assert!(Values::of("test", &t.to_dtype(DType::F64).unwrap()).is_err());
    }
}
