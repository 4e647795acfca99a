//! Gives access to the values of candle tensors as slices.

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor};

/// The values of a contiguous f32 tensor on the CPU.
///
/// # Errors
/// If the tensor is not contiguous or not f32.
pub(crate) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&values[from..to]),
        None => candle_core::bail!("a contiguous tensor is needed, got strides {:?}", layout.stride()),
    }
}

/// Calls `f` with the values of contiguous f32 tensors on the CPU.
///
/// # Errors
/// If a tensor is not contiguous, not f32 or not on the CPU.
pub(crate) fn with_values<const N: usize, T>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> T,
) -> Result<T> {
    if let Some(other) = tensors.iter().find(|t| t.dtype() != DType::F32) {
        candle_core::bail!("an f32 tensor is needed, got {:?}", other.dtype());
    }
    let guards = tensors.map(|t| t.storage_and_layout());
    let mut values = [&[] as &[f32]; N];
    for (value, (storage, layout)) in values.iter_mut().zip(&guards) {
        *value = match &**storage {
            Storage::Cpu(storage) => contiguous(storage, layout)?,
            _ => candle_core::bail!("this operation is computed on the CPU only"),
        };
    }
    Ok(f(values))
}
