//! What operations need of a GPU.

use crate::Kernel;
#[cfg(feature = "emulator")]
use crate::emulator::{Emulator, GuardedBuffer};
use candle_core::Device;
#[cfg(feature = "cuda")]
use candle_core::cuda_backend::{
    CudaDevice,
    cudarc::driver::{
        CudaSlice, DevicePtr, DevicePtrMut, LaunchConfig, PushKernelArg, sys::CUdevice_attribute,
    },
};
use std::{convert::Infallible, marker::PhantomData};

/// Why an operation cannot be computed on a GPU.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Operands do not fit each other.
    #[error("{operation}: {what}")]
    Operands {
        /// The operation.
        operation: &'static str,
        /// What does not fit.
        what: String,
    },
    /// The GPU or its driver failed.
    #[error("the GPU failed at {what}: {reason}")]
    Gpu {
        /// The kernel, or what else was tried.
        what: String,
        /// What the driver says.
        reason: String,
    },
}

/// A type of numbers that kernels read and write.
pub trait Element: Copy + Send + Sync + 'static + Sealed {
    /// What memory is filled with where nothing was written yet, if it is filled at all.
    const UNWRITTEN: Self;
}

/// Keeps the numbers to those below, which the driver knows.
#[cfg(feature = "cuda")]
pub trait Sealed: candle_core::cuda_backend::cudarc::driver::DeviceRepr {}

/// Keeps the numbers to those below.
#[cfg(not(feature = "cuda"))]
pub trait Sealed {}

macro_rules! numbers {
    ($($number:ty = $unwritten:expr),*) => {$(
        impl Sealed for $number {}
        impl Element for $number {
            const UNWRITTEN: $number = $unwritten;
        }
    )*};
}
numbers!(f32 = f32::NAN, f64 = f64::NAN, i32 = i32::MIN);

/// Numbers in a GPU's memory that a kernel may read.
#[derive(Clone, Copy, Debug)]
pub struct DeviceSlice<'a, T> {
    address: u64,
    len: usize,
    lent: PhantomData<&'a T>,
}

impl<'a, T: Element> DeviceSlice<'a, T> {
    /// `len` numbers at an address.
    ///
    /// # Safety
    /// They must be in the memory of the GPU that they are used on, for as long as the value may be used.
    #[allow(unsafe_code)]
    pub unsafe fn new(address: u64, len: usize) -> DeviceSlice<'a, T> {
        DeviceSlice { address, len, lent: PhantomData }
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn argument(&self) -> KernelArg {
        KernelArg::Address(self.address)
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KernelArg {
    /// Of numbers in the GPU's memory.
    Address(u64),
    /// `int`
    I32(i32),
    /// `long long`
    I64(i64),
    /// `double`
    F64(f64),
}

/// How a kernel is started.
#[derive(Clone, Copy, Debug)]
pub struct LaunchDims {
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Bytes of shared memory of a block.
    pub shared: u32,
}

/// Threads of a block where nothing speaks for another number.
pub(crate) const THREADS: u32 = 256;

/// Blocks that keep any GPU busy; more only take turns.
const BLOCKS: u32 = 4096;

/// Shared memory that every block may have without asking, in bytes.
pub(crate) const SHARED: usize = 48 << 10;

/// Threads of a block at most, by `LARGE_KERNEL` of `dash.h`.
pub(crate) const MOST_THREADS: usize = 512;

/// Blocks along each axis at most, of any GPU.
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];

impl LaunchDims {
    /// An error unless every GPU can start this, given the shared memory.
    fn check(&self, kernel: &'static str) -> Result<(), Error> {
        let threads = self.block.iter().try_fold(1_usize, |all, &n| all.checked_mul(n as usize));
        let blocks = self.grid.iter().zip(MOST_BLOCKS).all(|(&n, most)| n > 0 && n <= most);
        if blocks && threads.is_some_and(|threads| (1..=MOST_THREADS).contains(&threads)) {
            return Ok(());
        }
        Err(Error::Operands { operation: kernel, what: format!("no GPU has blocks like these: {self:?}") })
    }

    /// For kernels that go over `count` items with all threads of the grid.
    pub(crate) fn over(count: usize) -> LaunchDims {
        let blocks = u32::try_from(count.div_ceil(THREADS as usize)).unwrap_or(BLOCKS).clamp(1, BLOCKS);
        LaunchDims { grid: [blocks, 1, 1], block: [THREADS, 1, 1], shared: 0 }
    }

    /// For kernels that sum with all threads of a block, `doubles` sums per thread.
    pub(crate) fn sums(grid: [u32; 3], doubles: u32) -> LaunchDims {
        LaunchDims { grid, block: [THREADS, 1, 1], shared: 8 * doubles * THREADS }
    }
}

/// Numbers in a GPU's memory.
#[derive(Debug)]
pub enum DeviceBuffer<T: Element> {
    /// Of an NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(CudaSlice<T>),
    /// Of the emulator.
    #[cfg(feature = "emulator")]
    Emulator(GuardedBuffer<T>),
    /// There is none without a GPU.
    #[doc(hidden)]
    None(NoDevice, PhantomData<T>),
}

/// What does not exist.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct NoDevice(Infallible);

impl NoDevice {
    pub(crate) fn none(self) -> ! {
        match self.0 {}
    }
}

/// A GPU, or the emulator.
#[derive(Clone, Debug)]
pub enum Gpu {
    /// An NVIDIA GPU, by [`open`]. All is done on the device's own stream, in order: a kernel sees what those before
    /// it wrote, and memory is given back after the kernels that use it.
    #[cfg(feature = "cuda")]
    Cuda(CudaDevice),
    /// The emulator on the CPU.
    #[cfg(feature = "emulator")]
    Emulator(Emulator),
    /// There is none in a program that was built for none.
    #[doc(hidden)]
    None(NoDevice),
}

#[cfg(feature = "cuda")]
pub(crate) fn failed(what: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::Gpu { what: what.to_owned(), reason: reason.to_string() }
}

/// The GPU with this number, ready for kernels.
///
/// # Errors
/// If there is none, or this program was built for none.
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

    /// Bytes of shared memory that a block may have at most.
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

    /// Model name of the device; `None` if it does not tell.
    pub fn name(&self) -> Option<String> {
        match self {
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => device.cuda_stream().context().name().ok(),
            #[cfg(feature = "emulator")]
            Gpu::Emulator(_) => Some("emulator".to_owned()),
            Gpu::None(never) => match never.0 {},
        }
    }

    /// Bytes of the GPU's memory that nobody uses; `None` if it does not tell, or is the emulator.
    pub fn free_memory(&self) -> Option<u64> {
        match self {
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => crate::functions::free_memory(device),
            #[cfg(feature = "emulator")]
            Gpu::Emulator(_) => None,
            Gpu::None(never) => match never.0 {},
        }
    }

    /// Memory for `len` numbers, of any value.
    ///
    /// # Errors
    /// If there is not enough.
    pub fn alloc<T: Element>(&self, len: usize) -> Result<DeviceBuffer<T>, Error> {
        match self {
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => {
                // SAFETY: kernels write all of it before anything reads it; any bits are a number.
                #[allow(unsafe_code)]
                let memory = unsafe { device.alloc(len) };
                memory.map(DeviceBuffer::Cuda).map_err(|e| failed("reserving memory", &e))
            }
            #[cfg(feature = "emulator")]
            Gpu::Emulator(_) => Ok(DeviceBuffer::Emulator(GuardedBuffer::new(&vec![T::UNWRITTEN; len]))),
            Gpu::None(never) => match never.0 {},
        }
    }

    /// A copy of `values` in the GPU's memory, which will be there for whatever is launched later. Nobody waits.
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

    /// A copy of numbers in the GPU's memory, after all that was launched before.
    ///
    /// # Errors
    /// If the GPU failed meanwhile.
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

    /// Numbers for kernels to read.
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

    /// Numbers for kernels to write.
    pub fn write<T: Element>(&self, memory: &mut DeviceBuffer<T>) -> KernelArg {
        match memory {
            #[cfg(feature = "cuda")]
            DeviceBuffer::Cuda(memory) => {
                let stream = memory.stream().clone();
                let (address, _recorded) = memory.device_ptr_mut(&stream);
                KernelArg::Address(address)
            }
            #[cfg(feature = "emulator")]
            DeviceBuffer::Emulator(memory) => memory.write(),
            DeviceBuffer::None(never, _) => match never.0 {},
        }
    }

    /// Numbers from the `first` on, for kernels to write.
    pub(crate) fn write_from<T: Element>(&self, memory: &mut DeviceBuffer<T>, first: usize) -> KernelArg {
        match self.write(memory) {
            KernelArg::Address(address) => KernelArg::Address(address + (size_of::<T>() * first) as u64),
            other => other,
        }
    }

    /// Has a kernel run after those before it.
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

/// Memory of one device was used on another.
fn elsewhere() -> Error {
    Error::Gpu { what: "reading".to_owned(), reason: "the memory is another device's".to_owned() }
}

/// A size as a kernel takes it.
pub(crate) fn int(operation: &'static str, size: usize) -> Result<KernelArg, Error> {
    i32::try_from(size)
        .map(KernelArg::I32)
        .map_err(|_| Error::Operands { operation, what: format!("{size} is more than a kernel can count") })
}

/// A count as a kernel takes it.
pub(crate) fn long(count: usize) -> KernelArg {
    KernelArg::I64(i64::try_from(count).unwrap_or(i64::MAX))
}

/// An error unless `len` numbers of `what` are `expected`.
pub(crate) fn expect(operation: &'static str, what: &str, len: usize, expected: usize) -> Result<(), Error> {
    if len == expected {
        return Ok(());
    }
    Err(Error::Operands { operation, what: format!("{what} has {len} numbers instead of {expected}") })
}
