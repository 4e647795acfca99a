//! The recipes whose samples have one class each and whose files name their own splits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Satellite image time series (Tan, Webb, Petitjean 2017): numpy files that hold a dict with `data`
/// (series) and `label`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Satellite {
    /// Folder with the benchmark's files.
    pub raw: PathBuf,
    /// Name of the training file in `raw`.
    #[serde(default = "default::satellite_train")]
    pub train_file: PathBuf,
    /// Name of the test file in `raw`.
    #[serde(default = "default::satellite_test")]
    pub test_file: PathBuf,
    /// Share of the training file that is held out for validation.
    #[serde(default = "default::satellite_validation")]
    pub validation_fraction: f64,
    /// Whether each series is centred and divided by its standard deviation (as the benchmark's own
    /// baselines do, and DASH does not).
    #[serde(default)]
    pub standardise: bool,
    /// Seed of the split (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

/// NinaPro DB5, windows of surface EMG: numpy files of windows (samples, time, channels) and labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ninapro {
    /// Folder with the benchmark's files.
    pub raw: PathBuf,
    /// Name of the file with training windows in `raw`.
    #[serde(default = "default::ninapro_train")]
    pub train_file: PathBuf,
    /// Name of the file with training labels.
    #[serde(default = "default::ninapro_train_label")]
    pub train_label_file: PathBuf,
    /// Name of the file with validation windows.
    #[serde(default = "default::ninapro_validation")]
    pub validation_file: PathBuf,
    /// Name of the file with validation labels.
    #[serde(default = "default::ninapro_validation_label")]
    pub validation_label_file: PathBuf,
    /// Name of the file with test windows.
    #[serde(default = "default::ninapro_test")]
    pub test_file: PathBuf,
    /// Name of the file with test labels.
    #[serde(default = "default::ninapro_test_label")]
    pub test_label_file: PathBuf,
}

/// CIFAR-100 in its Python edition: pickles `train`, `test` and `meta`, unpacked or in the published
/// `cifar-100-python.tar.gz`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cifar100 {
    /// Folder with the benchmark's files.
    pub raw: PathBuf,
    /// Name of the packed file in `raw`; it is read where the unpacked files are not there.
    #[serde(default = "default::cifar100_archive")]
    pub archive: PathBuf,
    /// Share of the training file that is held out for validation.
    #[serde(default = "default::fifth")]
    pub validation_fraction: f64,
    /// Per channel, what is subtracted from pixels of 0 to 1.
    #[serde(default = "default::cifar100_mean")]
    pub mean: Vec<f64>,
    /// Per channel, what the difference is divided by.
    #[serde(default = "default::cifar100_deviation")]
    pub deviation: Vec<f64>,
    /// Whether rows and columns are put into bit-reversed order, so that neighbours are far apart; their
    /// numbers must be powers of two. Random changes of training images happen before.
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
    /// Name of the packed file in `raw`; it is read where the unpacked files are not there.
    #[serde(default = "default::cifar10_archive")]
    pub archive: PathBuf,
    /// Share of the training files that is held out for validation.
    #[serde(default = "default::fifth")]
    pub validation_fraction: f64,
    /// Per channel, what is subtracted from pixels of 0 to 1.
    #[serde(default = "default::cifar10_mean")]
    pub mean: Vec<f64>,
    /// Per channel, what the difference is divided by.
    #[serde(default = "default::cifar10_deviation")]
    pub deviation: Vec<f64>,
    /// Whether rows and columns are put into bit-reversed order, so that neighbours are far apart; their
    /// numbers must be powers of two. Random changes of training images happen before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub permuted: bool,
    /// Seed of the split (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

/// Handwritten digits (MNIST) in the published IDX files, gzipped or not: at the root of a folder, in one
/// of its folders, or in `MNIST/raw`. An image is one series of pixels, row after row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mnist {
    /// Folder with the files.
    pub raw: PathBuf,
    /// Name of the file with training images in `raw`, with or without `.gz`.
    #[serde(default = "default::mnist_train")]
    pub train_file: PathBuf,
    /// Name of the file with training labels.
    #[serde(default = "default::mnist_train_label")]
    pub train_label_file: PathBuf,
    /// Name of the file with test images.
    #[serde(default = "default::mnist_test")]
    pub test_file: PathBuf,
    /// Name of the file with test labels.
    #[serde(default = "default::mnist_test_label")]
    pub test_label_file: PathBuf,
    /// Share of the training images that is held out for validation.
    #[serde(default = "default::sixth")]
    pub validation_fraction: f64,
    /// What is subtracted from pixels of 0 to 1.
    #[serde(default = "default::mnist_mean")]
    pub mean: f64,
    /// What the difference is divided by.
    #[serde(default = "default::mnist_deviation")]
    pub deviation: f64,
    /// Whether the pixels of all images are put into one random order.
    #[serde(default)]
    pub permuted: bool,
    /// Seed of that order (numpy's legacy generator).
    #[serde(default = "default::mnist_permutation")]
    pub permutation_seed: u32,
    /// Seed of the split (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

/// CIFAR-100 projected onto the sphere: a gzipped pickle of `train` and `test`, each with `images`
/// (samples, channels, rows, columns) and `labels`; or made on this machine from CIFAR-100.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spherical {
    /// Folder with the benchmark's file.
    pub raw: PathBuf,
    /// Name of the file in `raw`, gzipped or not.
    #[serde(default = "default::spherical_file")]
    pub file: PathBuf,
    /// Make the images from the files of CIFAR-100 in `raw`, by the published rule; `file` is not read
    /// then. `{}` takes the published numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Projection>,
    /// Share of the training part that is held out for validation.
    #[serde(default = "default::fifth")]
    pub validation_fraction: f64,
    /// Seed of the split (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

/// How images are projected onto the sphere: each chunk of them is seen under another random rotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// Name of the packed CIFAR-100 in `raw`; it is read where the unpacked files are not there.
    #[serde(default = "default::cifar100_archive")]
    pub archive: PathBuf,
    /// Half the rows, and half the columns, of the grid on the sphere.
    #[serde(default = "default::bandwidth")]
    pub bandwidth: usize,
    /// How many consecutive images of a file share a rotation.
    #[serde(default = "default::images_per_rotation")]
    pub images_per_rotation: usize,
    /// Seed of the rotations (numpy's legacy generator).
    #[serde(default)]
    pub seed: u32,
}

impl Default for Projection {
    fn default() -> Self {
        Projection {
            archive: default::cifar100_archive(),
            bandwidth: default::bandwidth(),
            images_per_rotation: default::images_per_rotation(),
            seed: 0,
        }
    }
}

/// Keys of later versions are left out where they change nothing: datasets keep their fingerprints.
fn is_false(value: &bool) -> bool {
    !value
}

mod default {
    use super::PathBuf;

    pub(super) fn satellite_train() -> PathBuf {
        "satellite_train.npy".into()
    }
    pub(super) fn satellite_test() -> PathBuf {
        "satellite_test.npy".into()
    }
    // 100 000 of the benchmark's 900 000.
    pub(super) fn satellite_validation() -> f64 {
        1.0 / 9.0
    }
    pub(super) fn ninapro_train() -> PathBuf {
        "ninapro_train.npy".into()
    }
    pub(super) fn ninapro_train_label() -> PathBuf {
        "label_train.npy".into()
    }
    pub(super) fn ninapro_validation() -> PathBuf {
        "ninapro_val.npy".into()
    }
    pub(super) fn ninapro_validation_label() -> PathBuf {
        "label_val.npy".into()
    }
    pub(super) fn ninapro_test() -> PathBuf {
        "ninapro_test.npy".into()
    }
    pub(super) fn ninapro_test_label() -> PathBuf {
        "label_test.npy".into()
    }
    pub(super) fn cifar100_archive() -> PathBuf {
        "cifar-100-python.tar.gz".into()
    }
    pub(super) fn cifar100_mean() -> Vec<f64> {
        vec![0.5071, 0.4867, 0.4408]
    }
    pub(super) fn cifar100_deviation() -> Vec<f64> {
        vec![0.2675, 0.2565, 0.2761]
    }
    pub(super) fn spherical_file() -> PathBuf {
        "s2_cifar100.gz".into()
    }
    pub(super) fn bandwidth() -> usize {
        30
    }
    pub(super) fn images_per_rotation() -> usize {
        500
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
    pub(super) fn mnist_train() -> PathBuf {
        "train-images-idx3-ubyte".into()
    }
    pub(super) fn mnist_train_label() -> PathBuf {
        "train-labels-idx1-ubyte".into()
    }
    pub(super) fn mnist_test() -> PathBuf {
        "t10k-images-idx3-ubyte".into()
    }
    pub(super) fn mnist_test_label() -> PathBuf {
        "t10k-labels-idx1-ubyte".into()
    }
    // As many as there are test images: 10 000 of 60 000.
    pub(super) fn sixth() -> f64 {
        1.0 / 6.0
    }
    pub(super) fn mnist_mean() -> f64 {
        0.1307
    }
    pub(super) fn mnist_deviation() -> f64 {
        0.3081
    }
    pub(super) fn mnist_permutation() -> u32 {
        1111
    }
}
