//! Reads the containers that scientific data comes in, safely for untrusted files.
//!
#![doc = include_str!("../README.md")]

pub mod archive;
pub mod idx;
pub mod matlab;
pub mod npy;
pub mod pickle;
pub mod wav;
pub mod zip;

mod error;
mod limits;

pub use error::{Error, FileFormat};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
