//! NVIDIA GPUs as devices for candle: buffers, typed kernel launches, module loading, pinned transfers, and an emulator.
//!
//! A kernel is a function of a file in a crate's folder `kernels`, declared by [`kernels!`]. It is compiled twice: to PTX for
//! GPUs (feature `cuda`), and as C++ for the emulator, which runs it on the CPU (feature `emulator`). Code that launches
//! kernels allocates and launches on a [`Gpu`] and does not know which of the two it is, so that the emulator tests all of it.
//! The operations of this crate are those that training needs beside convolutions.
//!
//! ```
//! # #[cfg(feature = "emulator")] {
//! use dash_cuda::{Gpu, add};
//! let gpu = Gpu::emulated();
//! let (a, b) = (gpu.upload(&[1.0f32, 2.0]).unwrap(), gpu.upload(&[10.0f32, 20.0]).unwrap());
//! let sum = add(&gpu, gpu.read(&a), gpu.read(&b)).unwrap();
//! assert_eq!(gpu.download(&sum).unwrap(), [11.0, 22.0]);
//! # }
//! ```

#![cfg_attr(
    not(any(feature = "cuda", feature = "emulator")),
    allow(
        unused_variables,
        unreachable_code,
        dead_code,
        reason = "a program without GPUs never gets that far"
    )
)]

mod async_scalar;
mod elementwise;
#[cfg(feature = "emulator")]
mod emulator;
mod error;
#[cfg(feature = "cuda")]
mod functions;
mod gpu;
mod kernel;
mod kernels;
mod launch;
mod loss;
mod memory;
mod mixing;
mod norm;
mod optimiser;
mod tensor;
#[cfg(feature = "emulator")]
mod testing;
#[cfg(feature = "cuda")]
mod transfer;

pub use async_scalar::AsyncScalar;
pub use elementwise::{add, dropout, mean_backward, mean_forward};
#[cfg(feature = "emulator")]
pub use emulator::Emulator;
pub use error::{Error, expect};
pub use gpu::{DeviceBuffer, Gpu, open};
pub use kernel::{EmulatedKernel, In, Int, Kernel, Long, Out, Parameter, signature_errors};
pub use launch::{KernelArg, LaunchDims, MOST_THREADS, SHARED, THREADS};
pub use loss::{LossAndGradient, class_loss, field_loss, label_loss, scale_by};
pub use memory::{DeviceSlice, DeviceSliceMut, Element};
pub use mixing::{arch_gradient, mixing_gradient, mixing_weights};
pub use norm::{Norm, NormGradients};
pub use optimiser::{SgdStep, clip_scale};
pub use tensor::Operand;
#[cfg(feature = "emulator")]
pub use testing::{gpu_for_test, run_on_gpus};
