//! Declares the settings of the recipes for CIFAR-10 and CIFAR-100.

use super::spec::{DatasetSpec, RecipeSettings};
use crate::{card::TargetKind, checks::Checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// CIFAR-100 in its Python edition: pickles `train`, `test` and `meta`, unpacked or in the published
/// `cifar-100-python.tar.gz`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cifar100 {
    /// Folder with the benchmark's files.
    pub raw: PathBuf,
    /// Name of the archive in `raw`. It is read in place if the unpacked files are not there.
    #[serde(default = "default::cifar100_archive")]
    pub archive: PathBuf,
    /// Share of the training file that is held out for validation.
    #[serde(default = "default::fifth")]
    pub validation_fraction: f64,
    /// Mean of each channel, which is subtracted from pixels from 0 to 1.
    #[serde(default = "default::cifar100_mean")]
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, by which the difference is divided.
    #[serde(default = "default::cifar100_deviation")]
    pub deviation: Vec<f64>,
    /// Whether rows and columns are put into bit-reversed order, so that neighbours are far apart; both counts must
    /// be powers of two. Augmentation is applied before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub permuted: bool,
    /// Seed of the split (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

/// CIFAR-10 in its Python edition: pickles `data_batch_1` to `data_batch_5`, `test_batch` and
/// `batches.meta`, unpacked or in the published `cifar-10-python.tar.gz`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cifar10 {
    /// Folder with the files.
    pub raw: PathBuf,
    /// Name of the archive in `raw`. It is read in place if the unpacked files are not there.
    #[serde(default = "default::cifar10_archive")]
    pub archive: PathBuf,
    /// Share of the training files that is held out for validation.
    #[serde(default = "default::fifth")]
    pub validation_fraction: f64,
    /// Mean of each channel, which is subtracted from pixels from 0 to 1.
    #[serde(default = "default::cifar10_mean")]
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, by which the difference is divided.
    #[serde(default = "default::cifar10_deviation")]
    pub deviation: Vec<f64>,
    /// Whether rows and columns are put into bit-reversed order, so that neighbours are far apart; both counts must
    /// be powers of two. Augmentation is applied before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub permuted: bool,
    /// Seed of the split (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

impl RecipeSettings for Cifar100 {
    fn spec(&self) -> DatasetSpec {
        DatasetSpec::new(TargetKind::Class, 2)
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, checks: &mut Checks) {
        check(checks, self.validation_fraction, &self.mean, &self.deviation);
    }
}

impl RecipeSettings for Cifar10 {
    fn spec(&self) -> DatasetSpec {
        DatasetSpec::new(TargetKind::Class, 2)
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, checks: &mut Checks) {
        check(checks, self.validation_fraction, &self.mean, &self.deviation);
    }
}

fn check(checks: &mut Checks, validation_fraction: f64, mean: &[f64], deviation: &[f64]) {
    checks.held_out(validation_fraction);
    checks.require(mean.len() == 3, "dataset.mean", || {
        format!("must have one number for each of 3 channels, found {}", mean.len())
    });
    checks.require(deviation.len() == 3, "dataset.deviation", || {
        format!("must have one number for each of 3 channels, found {}", deviation.len())
    });
    for (i, &value) in deviation.iter().enumerate() {
        checks.positive(&format!("dataset.deviation[{i}]"), value);
    }
}

/// Keys of later versions are left out where they change nothing, so that datasets keep their fingerprints.
fn is_false(value: &bool) -> bool {
    !value
}

mod default {
    use super::PathBuf;

    pub(super) fn cifar100_archive() -> PathBuf {
        "cifar-100-python.tar.gz".into()
    }
    pub(super) fn cifar100_mean() -> Vec<f64> {
        vec![0.5071, 0.4867, 0.4408]
    }
    pub(super) fn cifar100_deviation() -> Vec<f64> {
        vec![0.2675, 0.2565, 0.2761]
    }
    pub(super) fn fifth() -> f64 {
        0.2
    }
    pub(super) fn cifar10_archive() -> PathBuf {
        "cifar-10-python.tar.gz".into()
    }
    pub(super) fn cifar10_mean() -> Vec<f64> {
        vec![0.4914, 0.4822, 0.4465]
    }
    pub(super) fn cifar10_deviation() -> Vec<f64> {
        vec![0.2023, 0.1994, 0.2010]
    }
}
