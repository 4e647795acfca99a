//! Speed benchmarks on synthetic data: whole training steps of the ten NAS-Bench-360 tasks, and three ways to compute
//! mixed operations compared with each other.
//!
//! ```
//! use dash_bench::{TaskShape, TimedStage, survey};
//!
//! let task = TaskShape::named("satellite")?;
//! let (network, params) = survey(task, TimedStage::Search)?;
//! println!("{} convolutions, {} parameters", network.convolutions.len(), params.count());
//! # Ok::<(), dash_bench::Error>(())
//! ```

pub mod comparison;
mod error;
mod step;
mod tasks;
mod timing;

pub use error::Error;
pub use step::{StepBenchmark, StepTiming, TimedStage, survey, time_steps};
pub use tasks::{KernelPattern, TASKS, TaskShape};
