//! Settings of the recipes with a prediction per position.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Hubble images with cosmic rays (deepCR, ACS/WFC) in the benchmark's trees of numpy files,
/// `<filter>/<program>/<visit>/<exposure>_<number>.npy`, as folders or packed. An image file holds the
/// planes image, mask of cosmic rays and, optionally, mask of pixels to ignore; `sky.npy` beside the
/// images of a visit holds a sky level per exposure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosmic {
    /// Folder with the trees `npy_train` and `npy_test`, or with the archives
    /// `deepCR.ACS-WFC.train.tar` and `deepCR.ACS-WFC.test.tar`, which are read as they are.
    pub raw: PathBuf,
    /// Another name of the folder or archive in `raw` with the images for training and validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_tree: Option<PathBuf>,
    /// Another name of the folder or archive in `raw` with the test images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_tree: Option<PathBuf>,
    /// The filter whose images are taken.
    #[serde(default = "filter")]
    pub filter: String,
    /// The fields of the sky, `<program>_<visit>`, whose images are taken; none means all. By default
    /// the benchmark's fields of galaxies.
    #[serde(default = "fields")]
    pub fields: Vec<String>,
    /// Rows and columns that are kept of the centre of an image; by default half of the rows and of
    /// the columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<usize>,
    /// Validation images, held out of those for training.
    #[serde(default = "validation")]
    pub validation: usize,
    /// Seed of the choice of the validation images (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

/// Distances between the residues of proteins (DeepCov for training, PSICOV for the test) in the
/// benchmark's tree: `deepcov.lst` and `psicov.lst` with an identifier per line, and for each protein a
/// pickle `<list>/features/<id>.pkl` and a numpy file `<list>/distance/<id>-cb.npy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Psicov {
    /// Folder with `protein.zip`, which is read as it is, or with the unpacked files: there or in its
    /// folder `protein`.
    pub raw: PathBuf,
    /// Another name of the folder or archive in `raw` with the proteins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<PathBuf>,
    /// Strict protocol: proteins that are held out for validation, the first of the training list.
    #[serde(default = "psicov_validation")]
    pub validation: usize,
    /// Strict protocol: the share of the training list that is held out at most, for short lists.
    #[serde(default = "psicov_validation_fraction")]
    pub validation_fraction: f64,
}

fn psicov_validation() -> usize {
    100
}

fn psicov_validation_fraction() -> f64 {
    0.2
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
