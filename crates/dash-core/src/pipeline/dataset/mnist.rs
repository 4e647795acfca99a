//! Declares the settings of the recipe for MNIST.

use super::spec::{DatasetSpec, RecipeSettings};
use crate::{card::TargetKind, checks::Checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Handwritten digits (MNIST) in the published IDX files, gzipped or not: at the root of a folder, in one
/// of its folders, or in `MNIST/raw`. An image is one series of pixels, row after row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mnist {
    /// Folder with the files.
    pub raw: PathBuf,
    /// Name of the file with training images in `raw`, with or without `.gz`.
    #[serde(default = "default::train")]
    pub train_file: PathBuf,
    /// Name of the file with training labels.
    #[serde(default = "default::train_label")]
    pub train_label_file: PathBuf,
    /// Name of the file with test images.
    #[serde(default = "default::test")]
    pub test_file: PathBuf,
    /// Name of the file with test labels.
    #[serde(default = "default::test_label")]
    pub test_label_file: PathBuf,
    /// Share of the training images that is held out for validation.
    #[serde(default = "default::sixth")]
    pub validation_fraction: f64,
    /// Mean, which is subtracted from pixels from 0 to 1.
    #[serde(default = "default::mean")]
    pub mean: f64,
    /// Standard deviation, by which the difference is divided.
    #[serde(default = "default::deviation")]
    pub deviation: f64,
    /// Whether the pixels of all images are put into the same random order.
    #[serde(default)]
    pub permuted: bool,
    /// Seed of that order (numpy's legacy generator).
    #[serde(default = "default::permutation")]
    pub permutation_seed: u32,
    /// Seed of the split (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

impl RecipeSettings for Mnist {
    fn spec(&self) -> DatasetSpec {
        DatasetSpec::new(TargetKind::Class, 1)
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, checks: &mut Checks) {
        checks.held_out(self.validation_fraction);
        checks.positive("dataset.deviation", self.deviation);
    }
}

mod default {
    use super::PathBuf;

    pub(super) fn train() -> PathBuf {
        "train-images-idx3-ubyte".into()
    }
    pub(super) fn train_label() -> PathBuf {
        "train-labels-idx1-ubyte".into()
    }
    pub(super) fn test() -> PathBuf {
        "t10k-images-idx3-ubyte".into()
    }
    pub(super) fn test_label() -> PathBuf {
        "t10k-labels-idx1-ubyte".into()
    }
    // As many as there are test images: 10 000 of 60 000.
    pub(super) fn sixth() -> f64 {
        1.0 / 6.0
    }
    pub(super) fn mean() -> f64 {
        0.1307
    }
    pub(super) fn deviation() -> f64 {
        0.3081
    }
    pub(super) fn permutation() -> u32 {
        1111
    }
}
