//! Convolutions over tap sets on candle tensors: plain dilated convolutions and DASH's mixtures of kernels, planned and
//! computed as one differentiable operation.
//!
//! A *tap* is an offset at which a kernel has a weight; a [`TapSet`] is the sorted list of its distinct offsets. A k x k
//! kernel with dilation d is k^2 taps, and the mixture of all (k, d) candidates of DASH is the union of their taps. Weights
//! are stored as `[c_out, c_in / groups, taps]`, so that an aggregated kernel never exists in dense form.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use dash_conv::{ConvOptions, TapConv, TapSet};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // y[t] = x[t - 2] + 10 x[t] + 100 x[t + 2], with zeros outside.
//! let conv = TapConv::new(TapSet::centred(1, 3, 2)?, ConvOptions::default())?;
//! let x = Tensor::new(&[[[1f32, 2., 3., 4.]]], &Device::Cpu)?;
//! let weights = Tensor::new(&[[[1f32, 10., 100.]]], &Device::Cpu)?;
//! let y = conv.forward(&x, &weights, None)?;
//! for (y, expected) in y.flatten_all()?.to_vec1::<f32>()?.iter().zip([310., 420., 31., 42.]) {
//!     assert!((y - expected).abs() < 1e-3);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! A [`ConvProblem`] is one convolution with all its sizes. Each [`Algorithm`] lists the recipes that suit a problem, with
//! their estimated [`Cost`] on a [`Machine`]; a [`Plan`] is one of them. A [`Planner`] chooses plans, and [`TapConv`] builds
//! engines from them and keeps them.
//!
//! ```text
//! TapConv -- problem --> Planner -- Plan::candidates --> fft/cost, winograd/cost, gemm/cost, direct/cost, dft/cost, cuda/cost
//!    |                      '---- Policy::Measure -----> times candidates
//!    '------- plan --------> engine (built once) -------> forward, backward
//! ```

mod algorithm;
mod autotune;
mod bias;
mod buffer;
mod conv;
mod cuda;
mod dft;
mod direct;
mod engine;
mod error;
mod gemm;
mod grid;
mod machine;
mod mixed_results;
mod mixture;
mod op;
pub mod oracle;
mod parallel;
mod planes;
mod planner;
mod problem;
mod product;
mod recipe;
mod side;
pub mod simd;
mod spectral;
mod taps;
#[cfg(test)]
mod testing;
mod transpose;
mod values;
mod winograd;

pub use algorithm::{Algorithm, Cost};
pub use autotune::measure;
pub use conv::TapConv;
pub use error::Error;
pub use machine::{CpuModel, GpuModel, Machine};
pub use mixed_results::MixedResults;
pub use mixture::Mixture;
pub use op::{ConvGradients, GradientsOf};
pub use parallel::zeros;
pub use planner::{Choice, PlanTiming, Planner, Policy};
pub use problem::{ConvOptions, ConvProblem};
pub use recipe::Plan;
pub use simd::{InstructionSet, check_instruction_set, instruction_set};
pub use taps::TapSet;

/// The example of the README is tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
