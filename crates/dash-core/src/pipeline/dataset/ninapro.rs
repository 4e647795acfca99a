//! Declares the settings of the recipe for NinaPro DB5.

use super::spec::{DatasetSpec, RecipeSettings};
use crate::{card::TargetKind, checks::Checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// NinaPro DB5, windows of surface EMG: numpy files of windows (samples, time, channels) and labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ninapro {
    /// Folder with the benchmark's files.
    pub raw: PathBuf,
    /// Name of the file with training windows in `raw`.
    #[serde(default = "default::train")]
    pub train_file: PathBuf,
    /// Name of the file with training labels.
    #[serde(default = "default::train_label")]
    pub train_label_file: PathBuf,
    /// Name of the file with validation windows.
    #[serde(default = "default::validation")]
    pub validation_file: PathBuf,
    /// Name of the file with validation labels.
    #[serde(default = "default::validation_label")]
    pub validation_label_file: PathBuf,
    /// Name of the file with test windows.
    #[serde(default = "default::test")]
    pub test_file: PathBuf,
    /// Name of the file with test labels.
    #[serde(default = "default::test_label")]
    pub test_label_file: PathBuf,
}

impl RecipeSettings for Ninapro {
    fn spec(&self) -> DatasetSpec {
        DatasetSpec::new(TargetKind::Class, 2)
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, _: &mut Checks) {}
}

mod default {
    use super::PathBuf;

    pub(super) fn train() -> PathBuf {
        "ninapro_train.npy".into()
    }
    pub(super) fn train_label() -> PathBuf {
        "label_train.npy".into()
    }
    pub(super) fn validation() -> PathBuf {
        "ninapro_val.npy".into()
    }
    pub(super) fn validation_label() -> PathBuf {
        "label_val.npy".into()
    }
    pub(super) fn test() -> PathBuf {
        "ninapro_test.npy".into()
    }
    pub(super) fn test_label() -> PathBuf {
        "label_test.npy".into()
    }
}
