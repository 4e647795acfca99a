//! Allocates memory on a GPU or the emulator, copies to and from it, and launches kernels.

#[cfg(feature = "emulator")]
use crate::emulator::{Emulator, GuardedBuffer};
use crate::{
    error::Error,
    kernel::Kernel,
    launch::{KernelArg, LaunchDims},
    memory::{DeviceSlice, DeviceSliceMut, Element},
};
#[cfg(feature = "cuda")]
use crate::{error::failed, launch::SHARED};
use candle_core::Device;
#[cfg(feature = "cuda")]
use candle_core::cuda_backend::{
    CudaDevice,
    cudarc::driver::{
        CudaSlice, DevicePtr, DevicePtrMut, LaunchConfig, PushKernelArg, sys::CUdevice_attribute,
    },
};
use std::{convert::Infallible, marker::PhantomData};

/// Memory of a GPU. It is freed in the order of the device's stream, after the kernels that use it.
#[derive(Debug)]
pub enum DeviceBuffer<T: Element> {
    /// On an NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(CudaSlice<T>),
    /// On the emulator.
    #[cfg(feature = "emulator")]
    Emulator(GuardedBuffer<T>),
    /// Does not exist: it makes the type complete without the features.
    #[doc(hidden)]
    None(NoDevice, PhantomData<T>),
}

/// A type without values.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct NoDevice(Infallible);

impl NoDevice {
    pub(crate) fn none(self) -> ! {
        match self.0 {}
    }
}

/// A GPU, or its emulator.
#[derive(Clone, Debug)]
pub enum Gpu {
    /// An NVIDIA GPU, opened by [`open`]. Everything runs on one stream, in order: a kernel sees what those before it wrote,
    /// and memory is freed after the kernels that use it.
    #[cfg(feature = "cuda")]
    Cuda(CudaDevice),
    /// The emulator on the CPU.
    #[cfg(feature = "emulator")]
    Emulator(Emulator),
    /// Does not exist: it makes the type complete without the features.
    #[doc(hidden)]
    None(NoDevice),
}

/// Opens the GPU with this number.
///
/// # Errors
/// If it does not exist, or this program was built without the feature `cuda`.
pub fn open(number: usize) -> candle_core::Result<Device> {
    #[cfg(feature = "cuda")]
    return crate::functions::open(number);
    #[cfg(not(feature = "cuda"))]
    Device::new_cuda(number)
}

impl Gpu {
    /// The emulator.
    #[cfg(feature = "emulator")]
    pub fn emulated() -> Gpu {
        Gpu::Emulator(Emulator::default())
    }

    /// The device that tensors for this GPU are on: the CPU for the emulator.
    pub fn device(&self) -> Device {
        match self {
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => Device::Cuda(device.clone()),
            #[cfg(feature = "emulator")]
            Gpu::Emulator(_) => Device::Cpu,
            Gpu::None(never) => match never.0 {},
        }
    }

    /// The most bytes of shared memory that a block may have.
    pub fn shared_limit(&self) -> usize {
        match self {
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => {
                let stream = device.cuda_stream();
                let limit = stream
                    .context()
                    .attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
                limit.ok().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(SHARED)
            }
            // As much as an H100's.
            #[cfg(feature = "emulator")]
            Gpu::Emulator(_) => 227 << 10,
            Gpu::None(never) => match never.0 {},
        }
    }

    /// Model name of the device, if the driver reports it.
    pub fn name(&self) -> Option<String> {
        match self {
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => device.cuda_stream().context().name().ok(),
            #[cfg(feature = "emulator")]
            Gpu::Emulator(_) => Some("emulator".to_owned()),
            Gpu::None(never) => match never.0 {},
        }
    }

    /// Free bytes of the GPU's memory; `None` if the driver does not report them, and on the emulator.
    pub fn free_memory(&self) -> Option<u64> {
        match self {
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => crate::functions::free_memory(device),
            #[cfg(feature = "emulator")]
            Gpu::Emulator(_) => None,
            Gpu::None(never) => match never.0 {},
        }
    }

    /// Allocates `len` uninitialised elements.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn alloc<T: Element>(&self, len: usize) -> Result<DeviceBuffer<T>, Error> {
        match self {
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => {
                // SAFETY: kernels write all of it before anything reads it; any bits are an element.
                #[allow(unsafe_code)]
                let memory = unsafe { device.alloc(len) };
                memory.map(DeviceBuffer::Cuda).map_err(|e| failed("allocating memory", &e))
            }
            #[cfg(feature = "emulator")]
            Gpu::Emulator(_) => Ok(DeviceBuffer::Emulator(GuardedBuffer::new(&vec![T::UNWRITTEN; len]))),
            Gpu::None(never) => match never.0 {},
        }
    }

    /// Copies `values` to the GPU asynchronously: launches after the call see them, and the caller may change them at once.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn upload<T: Element>(&self, values: &[T]) -> Result<DeviceBuffer<T>, Error> {
        match self {
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => crate::transfer::upload(device, values).map(DeviceBuffer::Cuda),
            #[cfg(feature = "emulator")]
            Gpu::Emulator(_) => Ok(DeviceBuffer::Emulator(GuardedBuffer::new(values))),
            Gpu::None(never) => match never.0 {},
        }
    }

    /// Copies a buffer to the host, after everything that was launched before.
    ///
    /// # Errors
    /// If the GPU failed in the meantime.
    pub fn download<T: Element>(&self, memory: &DeviceBuffer<T>) -> Result<Vec<T>, Error> {
        match (self, memory) {
            #[cfg(feature = "cuda")]
            (Gpu::Cuda(device), DeviceBuffer::Cuda(memory)) => {
                device.clone_dtoh(memory).map_err(|e| failed("copying from the GPU", &e))
            }
            #[cfg(feature = "emulator")]
            (_, DeviceBuffer::Emulator(memory)) => memory.values(),
            _ => Err(elsewhere()),
        }
    }

    /// The elements of a buffer, for kernels to read.
    pub fn read<'a, T: Element>(&self, memory: &'a DeviceBuffer<T>) -> DeviceSlice<'a, T> {
        match memory {
            #[cfg(feature = "cuda")]
            DeviceBuffer::Cuda(memory) => {
                let stream = memory.stream();
                let (address, _recorded) = memory.device_ptr(stream);
                // SAFETY: the memory is borrowed for as long as the value lives.
                #[allow(unsafe_code)]
                unsafe {
                    DeviceSlice::new(address, memory.len())
                }
            }
            #[cfg(feature = "emulator")]
            DeviceBuffer::Emulator(memory) => memory.read(),
            DeviceBuffer::None(never, _) => match never.0 {},
        }
    }

    /// The elements of a buffer, for kernels to write.
    pub fn write<'a, T: Element>(&self, memory: &'a mut DeviceBuffer<T>) -> DeviceSliceMut<'a, T> {
        match memory {
            #[cfg(feature = "cuda")]
            DeviceBuffer::Cuda(memory) => {
                let (stream, len) = (memory.stream().clone(), memory.len());
                let (address, _recorded) = memory.device_ptr_mut(&stream);
                // SAFETY: the memory is borrowed for as long as the value lives.
                #[allow(unsafe_code)]
                unsafe {
                    DeviceSliceMut::new(address, len)
                }
            }
            #[cfg(feature = "emulator")]
            DeviceBuffer::Emulator(memory) => memory.write(),
            DeviceBuffer::None(never, _) => match never.0 {},
        }
    }

    /// Launches a kernel after those before it; [`crate::kernels!`] makes typed launches of it.
    ///
    /// # Safety
    /// The arguments must be those that the kernel takes, and their memory as large as it reads and writes.
    ///
    /// # Errors
    /// If a GPU has no such blocks, or this one refuses.
    #[allow(unsafe_code)]
    pub unsafe fn launch(
        &self,
        kernel: &Kernel,
        launch: LaunchDims,
        arguments: &[KernelArg],
    ) -> Result<(), Error> {
        launch.check(kernel.name)?;
        match self {
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => {
                let function = crate::functions::function(device, kernel, launch.shared)?;
                let stream = device.cuda_stream();
                let mut call = stream.launch_builder(&function);
                for argument in arguments {
                    match argument {
                        KernelArg::Address(value) => call.arg(value),
                        KernelArg::I32(value) => call.arg(value),
                        KernelArg::I64(value) => call.arg(value),
                        KernelArg::F64(value) => call.arg(value),
                    };
                }
                let tuple = |[x, y, z]: [u32; 3]| (x, y, z);
                let config = LaunchConfig {
                    grid_dim: tuple(launch.grid),
                    block_dim: tuple(launch.block),
                    shared_mem_bytes: launch.shared,
                };
                // SAFETY: by the caller's promise.
                unsafe { call.launch(config) }.map(|_| ()).map_err(|e| failed(kernel.name, &e))
            }
            #[cfg(feature = "emulator")]
            // SAFETY: by the caller's promise.
            Gpu::Emulator(emulator) => unsafe { emulator.launch(kernel, launch, arguments) },
            Gpu::None(never) => {
                let _ = (kernel, launch, arguments);
                match never.0 {}
            }
        }
    }
}

/// The error for memory of one device that was used on another.
fn elsewhere() -> Error {
    Error::Gpu { what: "reading".to_owned(), reason: "the memory is on another device".to_owned() }
}
