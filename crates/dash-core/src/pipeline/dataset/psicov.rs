//! Declares the settings of the recipe for protein distances.

use super::spec::{DatasetFeatures, DatasetSpec, RecipeSettings, TargetScaling};
use crate::{card::TargetKind, checks::Checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Distances between the residues of proteins (DeepCov for training, PSICOV for the test) in the benchmark's tree:
/// `deepcov.lst` and `psicov.lst` with an identifier per line, and for each protein a pickle
/// `<list>/features/<id>.pkl` and a numpy file `<list>/distance/<id>-cb.npy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Psicov {
    /// Folder with `protein.zip`, which is read in place, or with the unpacked files: there or in its folder
    /// `protein`.
    pub raw: PathBuf,
    /// Name of the folder or archive in `raw` with the proteins, if it has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<PathBuf>,
    /// Strict protocol: the number of proteins that are held out for validation, the first of the training list.
    #[serde(default = "default::validation")]
    pub validation: usize,
    /// Strict protocol: the largest share of the training list that is held out, for short lists.
    #[serde(default = "default::validation_fraction")]
    pub validation_fraction: f64,
}

impl RecipeSettings for Psicov {
    fn spec(&self) -> DatasetSpec {
        let features = DatasetFeatures { variable_length: true, ..DatasetFeatures::default() };
        let target_scaling = TargetScaling::None;
        DatasetSpec { features, target_scaling, ..DatasetSpec::new(TargetKind::Field, 2) }
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, checks: &mut Checks) {
        checks.count("dataset.validation", self.validation);
        checks.held_out(self.validation_fraction);
    }
}

mod default {
    pub(super) fn validation() -> usize {
        100
    }
    pub(super) fn validation_fraction() -> f64 {
        0.2
    }
}
