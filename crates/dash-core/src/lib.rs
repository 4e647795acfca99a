//! The types that all crates of `dash-nas` share: pipeline files, tasks, stages and runs, dataset cards, architectures,
//! results, events, error kinds, and counter-based random numbers. This crate does no I/O and knows no tensors.
//!
//! ```
//! use dash_core::pipeline::Candidate;
//! // K = {3, 5}, D = {1, 2}: the kernel size is the slow index.
//! let all = Candidate::enumerate(&[3, 5], &[1, 2]);
//! assert_eq!(all[1], Candidate { kernel_size: 3, dilation: 2 });
//! assert_eq!(all[3].extent(), 9);
//! ```

pub mod architecture;
pub mod card;
pub mod error;
pub mod event;
pub mod load;
pub mod pipeline;
pub mod provenance;
pub mod random;
pub mod results;
pub mod stage;
pub mod targets;
pub mod text;

mod checks;
