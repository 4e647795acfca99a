//! Convolution over tap sets: DASH's mixture and plain dilated convolutions, planned and computed
//! as one operation on candle tensors.
//!
//! A *tap* is an offset of a kernel; a [`TapSet`] is the sorted list of its distinct offsets. A
//! k x k kernel with dilation d is k^2 taps, and the mixture of all (k, d) candidates of DASH is
//! the union of their taps. Weights are stored as `[C_out, C_in / groups, taps]`, so an aggregated
//! kernel never exists in dense form.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use dash_conv::{TapConv, TapSet};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // y[t] = x[t - 2] + 10 x[t] + 100 x[t + 2], zero outside.
//! let conv = TapConv::new(TapSet::centred(1, 3, 2)?, 1, 1)?;
//! let x = Tensor::new(&[[[1f32, 2., 3., 4.]]], &Device::Cpu)?;
//! let weights = Tensor::new(&[[[1f32, 10., 100.]]], &Device::Cpu)?;
//! let bias = Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu)?;
//! let y = conv.forward(&x, &weights, &bias)?;
//! for (y, expected) in y.flatten_all()?.to_vec1::<f32>()?.iter().zip([310., 420., 31., 42.]) {
//!     assert!((y - expected).abs() < 1e-3);
//! }
//! # Ok(())
//! # }
//! ```

mod bias;
mod buffer;
mod dft;
mod direct;
mod error;
mod gemm;
mod gpu;
mod grid;
mod maps;
mod mixture;
mod op;
pub mod oracle;
mod parallel;
mod plan;
mod planner;
mod problem;
mod product;
mod results;
pub mod simd;
mod spectral;
mod taps;
#[cfg(test)]
mod testing;
mod transpose;
mod winograd;

pub use error::Error;
pub use mixture::Mixture;
pub use op::{TapConv, seconds_on_gpu};
pub use parallel::zeros;
pub use plan::{Algorithm, Plan};
pub use planner::{Choice, Planner, Policy};
pub use problem::ConvProblem;
pub use results::ResultMixture;
pub use simd::{InstructionSet, check_instruction_set, instruction_set};
pub use taps::TapSet;
