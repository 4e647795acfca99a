//! Lets kernels read candle's tensors, and makes tensors of what kernels wrote.

use crate::{
    error::Error,
    gpu::{DeviceBuffer, Gpu},
    memory::DeviceSlice,
};
use candle_core::{
    CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Storage, StorageRef, Tensor, op::BackpropOp,
};
use std::sync::{Mutex, PoisonError};

/// Read access of kernels to a tensor of f32, for as long as this exists.
pub struct Operand<'a> {
    _storage: StorageRef<'a>,
    address: u64,
    len: usize,
}

impl Operand<'_> {
    /// The elements.
    pub fn read(&self) -> DeviceSlice<'_, f32> {
        // SAFETY: the storage is locked for as long as this is borrowed.
        #[allow(unsafe_code)]
        unsafe {
            DeviceSlice::new(self.address, self.len)
        }
    }
}

impl Gpu {
    /// The GPU behind a candle device; `None` if it is not a GPU.
    pub fn of(device: &Device) -> Option<Gpu> {
        match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => Some(Gpu::Cuda(device.clone())),
            _ => None,
        }
    }

    /// Gives kernels read access to a contiguous tensor of f32.
    ///
    /// # Errors
    /// If it has another type or layout, or is on another device.
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
            (Storage::Cuda(storage), Gpu::Cuda(device)) if storage.device.id() == device.id() => {
                use candle_core::cuda_backend::cudarc::driver::DevicePtr;
                let view = storage.as_cuda_slice::<f32>()?.slice(start..end);
                let stream = storage.device.cuda_stream();
                let (address, _recorded) = view.device_ptr(&stream);
                address
            }
            #[cfg(feature = "emulator")]
            (Storage::Cpu(CpuStorage::F32(values)), Gpu::Emulator(_)) => match values.get(start..end) {
                Some(values) => values.as_ptr() as u64,
                None => return Err(wrong(format!("exceeds its memory: {layout:?}"))),
            },
            _ => return Err(wrong(format!("is on another device: {:?}", tensor.device()))),
        };
        Ok(Operand { _storage: storage, address, len: end - start })
    }

    /// A tensor of this shape that takes over a buffer.
    ///
    /// # Errors
    /// If the buffer has another number of elements.
    pub fn tensor(&self, memory: DeviceBuffer<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        let len = self.read(&memory).len();
        if shape.elem_count() != len {
            candle_core::bail!("{len} elements do not fit the shape {shape:?}")
        }
        let storage = self.storage(memory)?;
        Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> candle_core::Error {
        match error {
            Error::Gpu { .. } => candle_core::Error::Cuda(Box::new(error)),
            Error::Operands { .. } => candle_core::Error::wrap(error),
        }
    }
}

impl Gpu {
    fn storage(&self, memory: DeviceBuffer<f32>) -> Result<Storage> {
        match (self, memory) {
            #[cfg(feature = "cuda")]
            (Gpu::Cuda(device), DeviceBuffer::Cuda(memory)) => {
                Ok(Storage::Cuda(candle_core::CudaStorage::wrap_cuda_slice(memory, device.clone())))
            }
            #[cfg(feature = "emulator")]
            (_, DeviceBuffer::Emulator(memory)) => Ok(Storage::Cpu(CpuStorage::F32(memory.values()?))),
            #[allow(unreachable_patterns, reason = "reachable with the feature cuda")]
            _ => candle_core::bail!("the memory is on another device"),
        }
    }

    /// A node of candle's graph: a function of `a` and `b` whose value was computed already. `rule` turns the gradient of
    /// the value into the gradients of `a` and `b`; `None` stands for zero.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn node(
        &self,
        name: &'static str,
        [a, b]: [&Tensor; 2],
        value: &Tensor,
        rule: impl Fn([&Tensor; 2], &Tensor) -> Result<[Option<Tensor>; 2]> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        // candle makes nodes only of operations that compute their value, so the value is copied.
        let copy = {
            let (storage, layout) = value.storage_and_layout();
            if layout.contiguous_offsets().is_none_or(|(start, _)| start != 0) {
                candle_core::bail!("{name}: its value must be contiguous, not {layout:?}")
            }
            storage.try_clone(layout)?
        };
        let (value, shape) = (Mutex::new(Some(copy)), value.shape().clone());
        a.apply_op2(b, Computed { name, value, shape, rule })
    }

    /// The same for a function of one tensor.
    ///
    /// # Errors
    /// See [`Gpu::node`].
    pub fn node_of_one(
        &self,
        name: &'static str,
        a: &Tensor,
        value: &Tensor,
        rule: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        // Nothing depends on the second operand.
        let none = Tensor::zeros(1, DType::F32, a.device())?;
        self.node(name, [a, &none], value, move |_, grad| Ok([Some(rule(grad)?), None]))
    }
}

/// See [`Gpu::node`].
struct Computed<R> {
    name: &'static str,
    value: Mutex<Option<Storage>>,
    shape: Shape,
    rule: R,
}

impl<R> Computed<R> {
    fn take(&self) -> Option<Storage> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<R: Fn([&Tensor; 2], &Tensor) -> Result<[Option<Tensor>; 2]>> CustomOp2 for Computed<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.take() {
            Some(Storage::Cpu(value)) => Ok((value, self.shape.clone())),
            _ => candle_core::bail!("{}: its value is not on the CPU", self.name),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        match self.take() {
            Some(Storage::Cuda(value)) => Ok((value, self.shape.clone())),
            _ => candle_core::bail!("{}: its value is not on the GPU", self.name),
        }
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = (self.rule)([a, b], &grad.contiguous()?)?;
        Ok((a, b))
    }
}
