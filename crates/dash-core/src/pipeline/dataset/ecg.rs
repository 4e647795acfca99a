//! Declares the settings of the recipe for ECG recordings.

use super::spec::{DatasetSpec, RecipeSettings};
use crate::{card::TargetKind, checks::Checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// PhysioNet/CinC 2017 recordings in the benchmark's container, or in the files of the challenge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ecg {
    /// Folder with the benchmark's file or the challenge's folder.
    pub raw: PathBuf,
    /// Name of the benchmark's pickle in `raw`, or of a folder with `RECORDS`, `REFERENCE-v3.csv` or
    /// `REFERENCE.csv`, and a MATLAB file per recording.
    #[serde(default = "default::file")]
    pub file: PathBuf,
    /// Samples per window.
    #[serde(default = "default::window")]
    pub window: usize,
    /// Distance between windows, per class label.
    #[serde(default = "default::steps")]
    pub steps: BTreeMap<String, usize>,
    /// Seed of the split by recording (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

impl RecipeSettings for Ecg {
    fn spec(&self) -> DatasetSpec {
        DatasetSpec::new(TargetKind::Class, 1)
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, checks: &mut Checks) {
        checks.count("dataset.window", self.window);
        checks.require(!self.steps.is_empty(), "dataset.steps", || "must name at least one class".into());
        for (class, &step) in &self.steps {
            checks.count(&format!("dataset.steps.{class}"), step);
        }
    }
}

mod default {
    use super::{BTreeMap, PathBuf};

    pub(super) fn file() -> PathBuf {
        PathBuf::from("challenge2017.pkl")
    }
    pub(super) fn window() -> usize {
        1000
    }
    pub(super) fn steps() -> BTreeMap<String, usize> {
        [("N", 500), ("A", 83), ("O", 250), ("~", 25)].map(|(k, v)| (k.to_owned(), v)).into()
    }
}
