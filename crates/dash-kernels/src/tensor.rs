//! Tensors of candle as operands and results of kernels.

use crate::card::{Card, Error, Memory, Read};
use candle_core::{CpuStorage, DType, Device, Result, Shape, Storage, StorageRef, Tensor, op::BackpropOp};

/// A tensor of f32 whose numbers kernels may read while this exists.
pub struct Operand<'a> {
    _storage: StorageRef<'a>,
    address: u64,
    len: usize,
}

impl Operand<'_> {
    /// Its numbers.
    pub fn read(&self) -> Read<'_, f32> {
        // SAFETY: the storage is locked for as long as this is borrowed.
        #[allow(unsafe_code)]
        unsafe {
            Read::new(self.address, self.len)
        }
    }
}

impl Card {
    /// The card that tensors of a device are on; `None` for the processor.
    pub fn of(device: &Device) -> Option<Card> {
        match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => Some(Card::Cuda(device.clone())),
            #[cfg(feature = "twin")]
            Device::Cpu => crate::twin::instead().map(Card::Twin),
            _ => None,
        }
    }

    /// A contiguous tensor of f32 as an operand.
    ///
    /// # Errors
    /// If it is another, or on another device.
    pub fn operand<'a>(&self, tensor: &'a Tensor) -> Result<Operand<'a>> {
        let wrong = |what: String| candle_core::Error::msg(format!("an operand of a kernel {what}"));
        if tensor.dtype() != DType::F32 {
            return Err(wrong(format!("must be f32, not {:?}", tensor.dtype())));
        }
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(wrong(format!("must be contiguous, not {layout:?}")));
        };
        let address = match (&*storage, self) {
            #[cfg(feature = "cuda")]
            (Storage::Cuda(storage), Card::Cuda(_)) => {
                use candle_core::cuda_backend::cudarc::driver::DevicePtr;
                let view = storage.as_cuda_slice::<f32>()?.slice(start..end);
                let stream = storage.device.cuda_stream();
                let (address, _recorded) = view.device_ptr(&stream);
                address
            }
            (Storage::Cpu(CpuStorage::F32(values)), _) => match values.get(start..end) {
                Some(values) => values.as_ptr() as u64,
                None => return Err(wrong(format!("exceeds its memory: {layout:?}"))),
            },
            _ => return Err(wrong(format!("is on another device: {:?}", tensor.device()))),
        };
        Ok(Operand { _storage: storage, address, len: end - start })
    }

    /// What a kernel wrote as a tensor of this shape.
    ///
    /// # Errors
    /// If there are not as many numbers.
    pub fn tensor(&self, memory: Memory<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        let len = self.read(&memory).len();
        if shape.elem_count() != len {
            candle_core::bail!("{len} numbers are no tensor of shape {shape:?}")
        }
        let storage = match (self, memory) {
            #[cfg(feature = "cuda")]
            (Card::Cuda(device), Memory::Cuda(memory)) => {
                Storage::Cuda(candle_core::CudaStorage::wrap_cuda_slice(memory, device.clone()))
            }
            #[cfg(feature = "twin")]
            (_, Memory::Twin(memory)) => Storage::Cpu(CpuStorage::F32(memory.values()?)),
            #[allow(unreachable_patterns, reason = "without a card there is no other")]
            _ => candle_core::bail!("the memory is another device's"),
        };
        Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> candle_core::Error {
        candle_core::Error::wrap(error)
    }
}
