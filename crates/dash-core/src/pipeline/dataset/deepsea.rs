//! Declares the settings of the recipe for DeepSEA.

use super::spec::{DatasetSpec, RecipeSettings};
use crate::{card::TargetKind, checks::Checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One-hot encoded DNA sequences and their labels in the benchmark's container: the arrays
/// `x_train`, `y_train`, `x_val`, `y_val`, `x_test` and `y_test`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deepsea {
    /// Folder with the benchmark's file.
    pub raw: PathBuf,
    /// Name of the file in `raw`.
    #[serde(default = "default::file")]
    pub file: PathBuf,
    /// Names of the labels, in the order of the columns; by default the lines of `tracks.txt` beside
    /// the file if there is one, else their indices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
}

impl RecipeSettings for Deepsea {
    fn spec(&self) -> DatasetSpec {
        DatasetSpec::new(TargetKind::Labels, 1)
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, checks: &mut Checks) {
        if let Some(labels) = &self.labels {
            checks.distinct("dataset.labels", "label", labels);
        }
    }
}

mod default {
    use super::PathBuf;

    pub(super) fn file() -> PathBuf {
        PathBuf::from("deepsea_filtered.npz")
    }
}
