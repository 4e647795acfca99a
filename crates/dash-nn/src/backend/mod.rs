//! Computes the operations of a network: on the CPU, on a GPU or its emulator, or for shapes alone.
//!
//! A [`Backend`] is chosen where the device is opened, and travels with the parameters and the activations of a network.
//! Nothing outside this folder asks which device computes. `cpu` and `cuda` have the same files.

pub(crate) mod cpu;
mod cuda;
mod operations;
mod scalar;
mod shapes;
#[cfg(test)]
mod suite;

use candle_core::Device;
use cpu::CpuBackend;
use cuda::CudaBackend;
use dash_cuda::Gpu;

pub use cpu::arch_gradient;
pub use operations::{
    Backend, Backward, Computed, DropoutMask, GradientScale, NormOperands, Normalised, OperandGradients,
    Operations, ParamBackward, SgdOperands, SgdRule, Statistics,
};
pub use scalar::PendingScalar;
pub use shapes::{ShapeBackend, ShapeTrace};

impl Backend {
    /// The CPU.
    pub fn cpu() -> Backend {
        Backend::new(CpuBackend)
    }

    /// A GPU, or its emulator.
    pub fn gpu(gpu: Gpu) -> Backend {
        Backend::new(CudaBackend::new(gpu))
    }

    /// The GPU with this number.
    ///
    /// # Errors
    /// If there is none, or this program was built without the feature `cuda`.
    pub fn open_gpu(number: usize) -> candle_core::Result<Backend> {
        let device: Device = dash_cuda::open(number)?;
        match Gpu::of(&device) {
            Some(gpu) => Ok(Backend::gpu(gpu)),
            None => candle_core::bail!("this program was built without the feature `cuda`"),
        }
    }
}

impl Default for Backend {
    fn default() -> Backend {
        Backend::cpu()
    }
}
