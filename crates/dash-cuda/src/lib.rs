//! Kernels for NVIDIA GPUs, and what launches them.
//!
//! A kernel is a function of a file in `kernels/`. It is compiled twice: to PTX, for GPUs (feature `cuda`), and as
//! C++ with a header that turns blocks and threads into loops, for the emulator on the CPU (feature `emulator`). The
//! operations of this crate know nothing of either: they reserve memory and launch kernels on a [`Gpu`], so that the
//! emulator tests them whole, and not only the kernels.
//!
//! ```
//! # #[cfg(feature = "emulator")] {
//! use dash_cuda::{Gpu, Emulator, add};
//! let emulator = Gpu::Emulator(Emulator::default());
//! let (a, b) = (emulator.upload(&[1.0f32, 2.0]).unwrap(), emulator.upload(&[10.0f32, 20.0]).unwrap());
//! let sum = add(&emulator, emulator.read(&a), emulator.read(&b)).unwrap();
//! assert_eq!(emulator.download(&sum).unwrap(), [11.0, 22.0]);
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
mod dense;
mod elementwise;
#[cfg(feature = "emulator")]
mod emulator;
mod fft;
#[cfg(feature = "cuda")]
mod functions;
mod gpu;
mod kernel;
mod loss;
mod mixture;
mod norm;
mod optimiser;
mod taps;
mod tensor;
mod tiling;
#[cfg(feature = "cuda")]
mod transfer;
mod transform;

pub use async_scalar::AsyncScalar;
pub use dense::{Dense, DenseMethod, DenseSizes};
pub use elementwise::{add, dropout, mean_backward, mean_forward};
#[cfg(feature = "emulator")]
pub use emulator::{Emulator, gpu_for_test};
pub use gpu::{DeviceBuffer, DeviceSlice, Element, Error, Gpu, KernelArg, LaunchDims, open};
pub use kernel::Kernel;
pub use loss::{LossAndGradient, class_loss, field_loss, label_loss, scale_by};
pub use mixture::{MixtureTable, mixing_coefficients, mixing_gradient, treated_gradient};
pub use norm::{Norm, NormGradients};
pub use optimiser::{SgdStep, clip_scale};
pub use taps::{Convolution, Depthwise, MOST_TAPS, TapMethod, channel_sums};
pub use tensor::Operand;
pub use tiling::{Segment, Segments, Tiling};
