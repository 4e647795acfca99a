//! Declares the settings of the recipe for polyphonic music.

use super::spec::{DatasetSpec, RecipeSettings};
use crate::{card::TargetKind, checks::Checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Piano rolls (Boulanger-Lewandowski 2012) in a MATLAB file with the cell arrays `traindata`, `validdata` and
/// `testdata`; a cell is a piece, (steps, notes) of 0 and 1. A network sees all steps of a piece but the last and
/// predicts all but the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Music {
    /// Folder with the file.
    pub raw: PathBuf,
    /// Name of the file in `raw`, such as `JSB_Chorales.mat`.
    pub file: PathBuf,
    /// Steps to which longer pieces are cut and shorter ones are padded with silence; by default those of the
    /// longest piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
}

impl RecipeSettings for Music {
    fn spec(&self) -> DatasetSpec {
        DatasetSpec::new(TargetKind::Mask, 1)
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, checks: &mut Checks) {
        if let Some(steps) = self.steps {
            checks.count("dataset.steps", steps);
            checks.require(steps != 1, "dataset.steps", || {
                "must be at least 2: a step predicts the next".into()
            });
        }
    }
}
