//! Settings of the recipe for Darcy Flow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Darcy Flow from the benchmark's MATLAB files, or simulated on this machine.
/// Exactly one of `raw` and `simulate` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DarcyFlow {
    /// Folder with the benchmark's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<PathBuf>,
    /// Name of the training file in `raw`; by default the one named like
    /// `piececonst_r421_N1024_smooth1.mat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_file: Option<PathBuf>,
    /// Name of the test file in `raw`; by default the one named like
    /// `piececonst_r421_N1024_smooth2.mat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_file: Option<PathBuf>,
    /// Make the data with the built-in solver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulate: Option<DarcySimulation>,
    /// Every how many grid points one is kept, on both axes.
    #[serde(default = "default::subsample")]
    pub subsample: usize,
    /// Training samples: the first of the training source.
    #[serde(default = "default::train")]
    pub train: usize,
    /// Validation samples: those that follow the training samples in the training source.
    #[serde(default = "default::validation")]
    pub validation: usize,
    /// Test samples: the first of the test source.
    #[serde(default = "default::test")]
    pub test: usize,
}

/// The built-in Darcy solver: a log-free piecewise-constant field and -div(a grad u) = 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DarcySimulation {
    /// Grid points per axis, boundary included.
    pub grid: usize,
    /// Seed of the training and validation fields.
    #[serde(default = "default::train_seed")]
    pub train_seed: u64,
    /// Seed of the test fields; must differ from `train_seed`.
    #[serde(default = "default::test_seed")]
    pub test_seed: u64,
    /// Inverse length scale of the Gaussian field.
    #[serde(default = "default::tau")]
    pub tau: f64,
    /// Smoothness exponent of the Gaussian field's covariance.
    #[serde(default = "default::alpha")]
    pub alpha: f64,
    /// Permeability where the Gaussian field is not negative.
    #[serde(default = "default::high")]
    pub high: f64,
    /// Permeability where the Gaussian field is negative.
    #[serde(default = "default::low")]
    pub low: f64,
    /// The solver stops at this residual, relative to the right-hand side.
    #[serde(default = "default::tolerance")]
    pub tolerance: f64,
}

mod default {
    pub(super) fn subsample() -> usize {
        5
    }
    pub(super) fn train() -> usize {
        900
    }
    pub(super) fn validation() -> usize {
        100
    }
    pub(super) fn test() -> usize {
        100
    }
    pub(super) fn train_seed() -> u64 {
        1
    }
    pub(super) fn test_seed() -> u64 {
        2
    }
    pub(super) fn tau() -> f64 {
        3.0
    }
    pub(super) fn alpha() -> f64 {
        2.0
    }
    pub(super) fn high() -> f64 {
        12.0
    }
    pub(super) fn low() -> f64 {
        3.0
    }
    pub(super) fn tolerance() -> f64 {
        1e-10
    }
}
