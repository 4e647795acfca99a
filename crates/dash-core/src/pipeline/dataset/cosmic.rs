//! Declares the settings of the recipe for cosmic rays.

use super::spec::{DatasetFeatures, DatasetSpec, RecipeSettings};
use crate::{card::TargetKind, checks::Checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Hubble images with cosmic rays (deepCR, ACS/WFC) in the benchmark's trees of numpy files,
/// `<filter>/<program>/<visit>/<exposure>_<number>.npy`, as folders or archives. An image file holds the planes
/// image, mask of cosmic rays and, optionally, mask of pixels to ignore; `sky.npy` beside the images of a visit
/// holds a sky level per exposure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosmic {
    /// Folder with the trees `npy_train` and `npy_test`, or with the archives `deepCR.ACS-WFC.train.tar` and
    /// `deepCR.ACS-WFC.test.tar`, which are read in place.
    pub raw: PathBuf,
    /// Name of the folder or archive in `raw` with the images for training and validation, if it has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_tree: Option<PathBuf>,
    /// Name of the folder or archive in `raw` with the test images, if it has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_tree: Option<PathBuf>,
    /// The filter whose images are used.
    #[serde(default = "filter")]
    pub filter: String,
    /// The fields of the sky, `<program>_<visit>`, whose images are used; an empty list means all. By default the
    /// benchmark's fields of galaxies.
    #[serde(default = "fields")]
    pub fields: Vec<String>,
    /// Rows and columns of the centre of an image that are kept; by default half of the rows and of the columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<usize>,
    /// The number of validation images, which are held out of those for training.
    #[serde(default = "validation")]
    pub validation: usize,
    /// Seed of the choice of the validation images (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

impl RecipeSettings for Cosmic {
    fn spec(&self) -> DatasetSpec {
        let features = DatasetFeatures { background: true, ..DatasetFeatures::default() };
        DatasetSpec { features, ..DatasetSpec::new(TargetKind::Mask, 2) }
    }

    fn raw_folder(&self) -> Option<&Path> {
        Some(&self.raw)
    }

    fn check(&self, checks: &mut Checks) {
        checks.require(!self.filter.is_empty(), "dataset.filter", || "must name a filter".into());
        if !self.fields.is_empty() {
            checks.distinct("dataset.fields", "field", &self.fields);
        }
        if let Some(crop) = self.crop {
            checks.count("dataset.crop", crop);
        }
        checks.count("dataset.validation", self.validation);
    }
}

fn filter() -> String {
    "f435w".to_owned()
}

fn fields() -> Vec<String> {
    [
        "10760_2", "10760_4", "13737_2", "13737_3", "9490_a3", "12513_2", "12513_3", "10182_pb", "10182_pd",
        "10584_13", "10342_3", "14343_1", "13057_1", "10260_7", "10260_5", "10407_3", "13364_95", "10190_28",
        "10190_13", "9490_a2", "13691_11", "12058_12", "12058_16", "12058_1", "12058_6", "14704_1",
        "13804_6",
    ]
    .map(str::to_owned)
    .into()
}

fn validation() -> usize {
    420
}
