//! Declares the settings of the recipe for Darcy Flow.

use super::spec::{DatasetSpec, RecipeSettings};
use crate::{card::TargetKind, checks::Checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

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
    /// Simulate the data with the built-in solver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulate: Option<DarcySimulation>,
    /// Subsampling factor of the grid, on both axes.
    #[serde(default = "default::subsample")]
    pub subsample: usize,
    /// The number of training samples: the first ones of the training source.
    #[serde(default = "default::train")]
    pub train: usize,
    /// The number of validation samples: those that follow the training samples in the training source.
    #[serde(default = "default::validation")]
    pub validation: usize,
    /// The number of test samples: the first ones of the test source.
    #[serde(default = "default::test")]
    pub test: usize,
}

/// The built-in Darcy solver: a piecewise-constant permeability a and -div(a grad u) = 1.
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

impl RecipeSettings for DarcyFlow {
    fn spec(&self) -> DatasetSpec {
        DatasetSpec::new(TargetKind::Field, 2)
    }

    fn raw_folder(&self) -> Option<&Path> {
        self.raw.as_deref()
    }

    fn check(&self, checks: &mut Checks) {
        checks.require(self.raw.is_some() != self.simulate.is_some(), "dataset", || match self.raw {
            Some(_) => "`raw` and `simulate` cannot be given together: remove one".into(),
            None => "either `raw` (a folder with files) or `simulate` must be given".into(),
        });
        for (key, file) in [("train_file", &self.train_file), ("test_file", &self.test_file)] {
            checks.require(file.is_none() || self.raw.is_some(), &format!("dataset.{key}"), || {
                "is only valid with `raw`".into()
            });
        }
        checks.count("dataset.subsample", self.subsample);
        checks.require(self.train >= 2, "dataset.train", || {
            format!("must be at least 2 for a standard deviation, found {}", self.train)
        });
        for (key, value) in
            [("train", self.train.max(1)), ("validation", self.validation), ("test", self.test)]
        {
            checks.count(&format!("dataset.{key}"), value);
        }
        let Some(s) = &self.simulate else { return };
        checks.require((3..=4097).contains(&s.grid), "dataset.simulate.grid", || {
            format!("must be from 3 to 4097, found {}", s.grid)
        });
        let steps = s.grid.saturating_sub(1);
        checks.require(
            self.subsample == 0 || steps.is_multiple_of(self.subsample),
            "dataset.subsample",
            || format!("must divide grid - 1 = {steps}, found {}", self.subsample),
        );
        checks.require(self.subsample == 0 || steps / self.subsample >= 2, "dataset.subsample", || {
            format!("leaves fewer than 3 of {} grid points per axis", s.grid)
        });
        checks.require(s.train_seed != s.test_seed, "dataset.simulate.test_seed", || {
            format!("must differ from train_seed, both are {}", s.test_seed)
        });
        checks.not_negative("dataset.simulate.tau", s.tau);
        checks.positive("dataset.simulate.alpha", s.alpha);
        checks.positive("dataset.simulate.high", s.high);
        checks.positive("dataset.simulate.low", s.low);
        checks.require(s.tolerance > 0.0 && s.tolerance < 1.0, "dataset.simulate.tolerance", || {
            format!("must be between 0 and 1, found {}", s.tolerance)
        });
    }
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
