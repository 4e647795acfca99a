//! Declares the settings of the recipe for satellite image time series.

use super::spec::{DatasetSpec, RecipeSettings};
use crate::{card::TargetKind, checks::Checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Satellite image time series (Tan, Webb, Petitjean 2017): numpy files that hold a dict with `data`
/// (series) and `label`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Satellite {
    /// Folder with the benchmark's files.
    pub raw: PathBuf,
    /// Name of the training file in `raw`.
    #[serde(default = "default::train")]
    pub train_file: PathBuf,
    /// Name of the test file in `raw`.
    #[serde(default = "default::test")]
    pub test_file: PathBuf,
    /// Share of the training file that is held out for validation.
    #[serde(default = "default::validation")]
    pub validation_fraction: f64,
    /// Whether each series is centred and divided by its standard deviation (the benchmark's own baselines do this,
    /// DASH does not).
    #[serde(default)]
    pub standardise: bool,
    /// Seed of the split (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

impl RecipeSettings for Satellite {
    fn spec(&self) -> DatasetSpec {
        DatasetSpec::new(TargetKind::Class, 1)
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, checks: &mut Checks) {
        checks.held_out(self.validation_fraction);
    }
}

mod default {
    use super::PathBuf;

    pub(super) fn train() -> PathBuf {
        "satellite_train.npy".into()
    }
    pub(super) fn test() -> PathBuf {
        "satellite_test.npy".into()
    }
    // 100 000 of the benchmark's 900 000.
    pub(super) fn validation() -> f64 {
        1.0 / 9.0
    }
}
