//! The types of a pipeline file. Every key has a documented meaning and a default that is the
//! published protocol's value where there is one.

mod dense;
mod music;
mod own;
mod points;
mod sound;
mod stages;

pub use dense::{Cosmic, Psicov, Window};
pub use music::Music;
pub use own::{Channels, OwnData, SPLIT_PLACEHOLDER};
pub use points::{Cifar10, Cifar100, Mnist, Ninapro, Projection, Satellite, Spherical};
pub use sound::{Fsd50k, Mask};
pub use stages::{OnDivergence, Pull, Retrain, Schedule, Search, Tune};

use crate::card::TargetKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, path::PathBuf};

/// One task with everything that is done to it: the effective configuration, profiles and
/// overrides applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Name of the pipeline; names its run folder and its report.
    pub name: String,
    /// Seeds of the runs; one run per seed.
    #[serde(default = "default::seeds")]
    pub seeds: Vec<u64>,
    /// Which data selection may see.
    #[serde(default)]
    pub protocol: Protocol,
    /// How networks are obtained; results are reported per method.
    #[serde(default = "default::methods")]
    pub methods: Vec<Method>,
    /// Where the data comes from.
    pub dataset: Dataset,
    /// What is learned and how it is scored.
    pub task: Task,
    /// The architecture search.
    #[serde(default)]
    pub search: Search,
    /// Hyperparameter tuning.
    #[serde(default)]
    pub tune: Tune,
    /// Training of the final network.
    #[serde(default)]
    pub retrain: Retrain,
    /// Whether NVIDIA cards multiply matrices with factors rounded to 10 bits (TF32): faster, and less exact. The
    /// CPU never does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tf32: bool,
    /// The profile that was applied; part of the names of run folders and reports.
    #[serde(skip)]
    pub profile: Option<String>,
    /// The overrides that were applied, each `KEY=VALUE`.
    #[serde(skip)]
    pub overrides: Vec<String>,
}

impl Pipeline {
    /// The name of the run folder and of the report: `NAME`, or `NAME@PROFILE`, so that runs with a profile never
    /// replace those without one.
    pub fn run_name(&self) -> String {
        match &self.profile {
            Some(profile) => format!("{}@{profile}", self.name),
            None => self.name.clone(),
        }
    }
}

/// A sweep file: other pipeline files, run together and reported together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Pipeline files, relative to the folder of the sweep file.
    pub include: Vec<PathBuf>,
    /// Seeds of all runs, instead of those of the pipeline files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Vec<u64>>,
    /// Name of the common report; by default the name of the sweep file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

/// Which data selection may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Three-way split: tuning and the choice of the checkpoint see only validation data.
    #[default]
    Strict,
    /// As published: train on train and validation data, report the last epoch; the best epoch on
    /// test data is shown under that name.
    Paper,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Strict => "strict",
            Protocol::Paper => "paper",
        })
    }
}

/// How a network is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Architecture search, then tuning and retraining of the found network.
    Dash,
    /// The retraining backbone with its own kernels, tuned and trained in the same way.
    Backbone,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Dash => "dash",
            Method::Backbone => "backbone",
        })
    }
}

/// Where the data comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "recipe", rename_all = "kebab-case")]
pub enum Dataset {
    /// Cosmic rays in Hubble images: from an image to the mask of the hit pixels.
    Cosmic(Cosmic),
    /// Darcy Flow: from the permeability to the pressure of a porous medium.
    DarcyFlow(DarcyFlow),
    /// DeepSEA: from a DNA sequence to the features of its chromatin.
    Deepsea(Deepsea),
    /// PhysioNet/CinC 2017 single-lead ECG recordings.
    Ecg(Ecg),
    /// Land cover from satellite image time series.
    Satellite(Satellite),
    /// Hand movements from surface EMG.
    Ninapro(Ninapro),
    /// FSD50K sound events: from the spectrogram of a recording to what can be heard.
    Fsd50k(Fsd50k),
    /// Natural images of 100 classes.
    Cifar100(Cifar100),
    /// CIFAR-100 projected onto the sphere.
    Spherical(Spherical),
    /// Natural images of ten classes.
    Cifar10(Cifar10),
    /// Handwritten digits as series of pixels.
    Mnist(Mnist),
    /// Polyphonic music: from the notes of each step to those of the next.
    Music(Music),
    /// From the sequence profiles of a protein to the distances between its residues.
    Psicov(Psicov),
    /// Your own data in numpy archives.
    Npz(OwnData),
    /// Your own data in Parquet files.
    Parquet(OwnData),
}

impl Dataset {
    /// Name of the recipe, which is also the default name of the task.
    pub fn recipe(&self) -> &'static str {
        match self {
            Dataset::Cosmic(_) => "cosmic",
            Dataset::DarcyFlow(_) => "darcy-flow",
            Dataset::Deepsea(_) => "deepsea",
            Dataset::Ecg(_) => "ecg",
            Dataset::Satellite(_) => "satellite",
            Dataset::Ninapro(_) => "ninapro",
            Dataset::Fsd50k(_) => "fsd50k",
            Dataset::Cifar100(_) => "cifar100",
            Dataset::Spherical(_) => "spherical",
            Dataset::Cifar10(_) => "cifar10",
            Dataset::Mnist(_) => "mnist",
            Dataset::Music(_) => "music",
            Dataset::Psicov(_) => "psicov",
            Dataset::Npz(_) => "npz",
            Dataset::Parquet(_) => "parquet",
        }
    }
}

/// Darcy Flow from the benchmark's MATLAB files, or simulated on this machine.
/// Exactly one of `raw` and `simulate` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DarcyFlow {
    /// Folder with the benchmark's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<PathBuf>,
    /// Name of the training file in `raw`; by default the one named like
    /// `piececonst_r421_N1024_smooth1.mat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_file: Option<PathBuf>,
    /// Name of the test file in `raw`; by default the one named like
    /// `piececonst_r421_N1024_smooth2.mat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_file: Option<PathBuf>,
    /// Make the data with the built-in solver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulate: Option<DarcySimulation>,
    /// Every how many grid points one is kept, on both axes.
    #[serde(default = "default::darcy_subsample")]
    pub subsample: usize,
    /// Training samples: the first of the training source.
    #[serde(default = "default::darcy_train")]
    pub train: usize,
    /// Validation samples: those that follow the training samples in the training source.
    #[serde(default = "default::darcy_validation")]
    pub validation: usize,
    /// Test samples: the first of the test source.
    #[serde(default = "default::darcy_test")]
    pub test: usize,
}

/// The built-in Darcy solver: a log-free piecewise-constant field and -div(a grad u) = 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DarcySimulation {
    /// Grid points per axis, boundary included.
    pub grid: usize,
    /// Seed of the training and validation fields.
    #[serde(default = "default::darcy_train_seed")]
    pub train_seed: u64,
    /// Seed of the test fields; must differ from `train_seed`.
    #[serde(default = "default::darcy_test_seed")]
    pub test_seed: u64,
    /// Inverse length scale of the Gaussian field.
    #[serde(default = "default::darcy_tau")]
    pub tau: f64,
    /// Smoothness exponent of the Gaussian field's covariance.
    #[serde(default = "default::darcy_alpha")]
    pub alpha: f64,
    /// Permeability where the Gaussian field is not negative.
    #[serde(default = "default::darcy_high")]
    pub high: f64,
    /// Permeability where the Gaussian field is negative.
    #[serde(default = "default::darcy_low")]
    pub low: f64,
    /// The solver stops at this residual, relative to the right-hand side.
    #[serde(default = "default::darcy_tolerance")]
    pub tolerance: f64,
}

/// One-hot encoded DNA sequences and their labels in the benchmark's container: the arrays
/// `x_train`, `y_train`, `x_val`, `y_val`, `x_test` and `y_test`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deepsea {
    /// Folder with the benchmark's file.
    pub raw: PathBuf,
    /// Name of the file in `raw`.
    #[serde(default = "default::deepsea_file")]
    pub file: PathBuf,
    /// Names of the labels, in the order of the columns; by default the lines of `tracks.txt` beside
    /// the file if there is one, else their numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
}

/// PhysioNet/CinC 2017 recordings in the benchmark's container, or as the challenge published them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ecg {
    /// Folder with the benchmark's file or the challenge's folder.
    pub raw: PathBuf,
    /// Name of the benchmark's pickle in `raw`, or of a folder with `RECORDS`, `REFERENCE-v3.csv` or
    /// `REFERENCE.csv`, and a MATLAB file per recording.
    #[serde(default = "default::ecg_file")]
    pub file: PathBuf,
    /// Samples per window.
    #[serde(default = "default::ecg_window")]
    pub window: usize,
    /// Distance between windows, per class label.
    #[serde(default = "default::ecg_steps")]
    pub steps: BTreeMap<String, usize>,
    /// Seed of the split by recording (numpy's legacy generator).
    #[serde(default)]
    pub split_seed: u32,
}

/// What is learned and how it is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Name in result tables; by default the name of the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What training minimises.
    pub loss: Loss,
    /// What is reported and what selection follows.
    pub metric: Metric,
    /// Whether output and target are decoded with the dataset's target scaling before loss and
    /// metric.
    #[serde(default)]
    pub decode_target: bool,
    /// Also report the mean of the metric over test batches of this many samples, as the published
    /// experiments do. Selection never sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_average: Option<usize>,
    /// Random changes to the inputs of training batches, one after the other. Evaluation sees the
    /// inputs as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Augment>,
    /// Where samples differ in size: how they are brought to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// A random change to an input, drawn anew for each sample and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Augment {
    /// The input is padded on all sides of its spatial axes with what the dataset's card calls
    /// `padding_value` (black in images; 0 if it says nothing), and cut to its size at a random offset.
    Crop {
        /// Positions that are added on each side.
        #[serde(default = "default::crop_padding")]
        padding: usize,
    },
    /// The last axis is reversed with probability 1/2.
    Flip,
    /// Adds the sample's background level, which the dataset must have, times a number between `low`
    /// and `high` to all elements of the input.
    Background {
        /// The least factor.
        low: f64,
        /// What all factors are below.
        high: f64,
    },
    /// Bands of the axis before the last and of the last are filled with the least value of the input
    /// (SpecAugment).
    SpecAugment(Mask),
    /// A random cut of one of the dataset's noise recordings is mixed in: (1 - a) input + a noise, a
    /// uniform from 0 to `share`.
    Noise {
        /// How often.
        #[serde(default = "default::noise_probability")]
        probability: f64,
        /// The most that the noise may weigh.
        #[serde(default = "default::noise_share")]
        share: f64,
        /// Bands of the recording that are filled with its least value before it is cut.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<Mask>,
    },
}

/// What training minimises.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loss {
    /// Mean over the batch of the negative log-probability of the class.
    CrossEntropy,
    /// Mean over the batch of -(1 - p)^gamma log(p + 1e-9), p = the probability of the class.
    Focal {
        /// Exponent; 0 is cross-entropy but for the epsilon in the logarithm.
        #[serde(default)]
        gamma: f64,
    },
    /// Mean over the batch and all labels of the negative log-probability that a label is there, or
    /// that it is not; outputs are logits.
    BinaryCrossEntropy {
        /// Factor on the terms of labels that are there.
        #[serde(default = "default::positive_weight")]
        positive_weight: f64,
    },
    /// Sum over the batch of ||output - target||_2 / ||target||_2.
    RelativeL2,
    /// Mean over the batch and all elements of (output - target)^2.
    MeanSquaredError,
    /// Mean over the batch and all positions of the negative log-probability, at most 100, that a
    /// position is in the mask, or that it is not; outputs are logits. Ignored positions count as
    /// predicted with certainty.
    MaskedBinaryCrossEntropy,
}

impl Loss {
    /// Its `kind` in pipeline files.
    pub fn name(self) -> &'static str {
        match self {
            Loss::CrossEntropy => "cross-entropy",
            Loss::Focal { .. } => "focal",
            Loss::BinaryCrossEntropy { .. } => "binary-cross-entropy",
            Loss::RelativeL2 => "relative-l2",
            Loss::MeanSquaredError => "mean-squared-error",
            Loss::MaskedBinaryCrossEntropy => "masked-binary-cross-entropy",
        }
    }

    /// The targets that it is for.
    pub fn target(self) -> TargetKind {
        match self {
            Loss::CrossEntropy | Loss::Focal { .. } => TargetKind::Class,
            Loss::BinaryCrossEntropy { .. } => TargetKind::Labels,
            Loss::RelativeL2 | Loss::MeanSquaredError => TargetKind::Field,
            Loss::MaskedBinaryCrossEntropy => TargetKind::Mask,
        }
    }
}

/// What is reported and what selection follows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Metric {
    /// Share of wrong classes, in percent; lower is better.
    ZeroOneError,
    /// 1 - mean over classes of F1, classes without target or prediction left out; lower is better.
    MacroF1,
    /// 1 - mean over labels of the area under the ROC curve, labels that all samples have or none
    /// left out; lower is better.
    Auroc,
    /// 1 - mean over labels of the average precision, labels that no sample has left out; lower is
    /// better.
    AveragePrecision,
    /// Mean over samples of ||output - target||_2 / ||target||_2; lower is better.
    RelativeL2,
    /// Share of the positions in the masks of all samples that have a probability of at most one half,
    /// ignored positions left out; lower is better.
    FalseNegativeRate,
    /// Mean over samples and positions of the negative log-probability, at most 100, that a position is
    /// in the mask, or that it is not, as the loss of this name; lower is better.
    MaskedBinaryCrossEntropy,
    /// Mean over samples of the mean absolute error of predicted distances, at least 0.01 and
    /// symmetrised, over the pairs of positions that are 24 or more apart in the sequence and at a known
    /// distance (above 0) of at most 8; samples without such pairs left out; lower is better.
    Mae8,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Metric; 8] = [
        Metric::ZeroOneError,
        Metric::MacroF1,
        Metric::Auroc,
        Metric::AveragePrecision,
        Metric::RelativeL2,
        Metric::FalseNegativeRate,
        Metric::MaskedBinaryCrossEntropy,
        Metric::Mae8,
    ];

    /// Its name in results, which says what the numbers hold: scores of which more is better are reported as
    /// their distance from 1.
    pub fn result_name(self) -> &'static str {
        match self {
            Metric::MacroF1 => "1-macro-f1",
            Metric::Auroc => "1-auroc",
            Metric::AveragePrecision => "1-map",
            other => other.name(),
        }
    }

    /// The present name of a metric in results of any version: until format 2 of stage records results had the
    /// names of pipeline files. What follows the name, as in `auroc (mean over batches of 8)`, stays.
    ///
    /// ```
    /// use dash_core::pipeline::Metric;
    /// assert_eq!(Metric::renamed("auroc (mean over batches of 8)"), "1-auroc (mean over batches of 8)");
    /// assert_eq!(Metric::renamed("1-auroc"), "1-auroc");
    /// ```
    pub fn renamed(name: &str) -> String {
        let (base, rest) = name.split_at(name.find(' ').unwrap_or(name.len()));
        match Metric::ALL.into_iter().find(|metric| metric.name() == base) {
            Some(metric) => format!("{}{rest}", metric.result_name()),
            None => name.to_owned(),
        }
    }

    /// Its `kind` in pipeline files.
    pub fn name(self) -> &'static str {
        match self {
            Metric::ZeroOneError => "zero-one-error",
            Metric::MacroF1 => "macro-f1",
            Metric::Auroc => "auroc",
            Metric::AveragePrecision => "average-precision",
            Metric::RelativeL2 => "relative-l2",
            Metric::FalseNegativeRate => "false-negative-rate",
            Metric::MaskedBinaryCrossEntropy => "masked-binary-cross-entropy",
            Metric::Mae8 => "mae8",
        }
    }

    /// The targets that it is for.
    pub fn target(self) -> TargetKind {
        match self {
            Metric::ZeroOneError | Metric::MacroF1 => TargetKind::Class,
            Metric::Auroc | Metric::AveragePrecision => TargetKind::Labels,
            Metric::RelativeL2 | Metric::Mae8 => TargetKind::Field,
            Metric::FalseNegativeRate | Metric::MaskedBinaryCrossEntropy => TargetKind::Mask,
        }
    }
}

/// A network with named convolutions whose kernels can be exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Backbone {
    /// Wide residual network, 2-D (DASH, section 13.1).
    Wrn {
        /// 6 n + 4 for n blocks per group.
        #[serde(default = "default::wrn_depth")]
        depth: usize,
        /// Factor on the 16, 32 and 64 channels of the groups.
        #[serde(default = "default::wrn_width")]
        width: usize,
    },
    /// Nine-convolution residual network, 1-D (DASH, section 13.2).
    Resnet1d {
        /// Channels of the first block; by default min(4^(classes / 10 + 1), 64).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channels: Option<usize>,
        /// Whether convolutions see only the past (zero padding on the left) or are centred.
        #[serde(default)]
        causal: bool,
    },
}

/// One candidate of the search space: kernels are square, the dilation is the same on both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// Taps per axis.
    pub kernel_size: usize,
    /// Distance between taps.
    pub dilation: usize,
}

impl Candidate {
    /// All candidates in index order: the kernel size is the slow index.
    pub fn enumerate(kernel_sizes: &[usize], dilations: &[usize]) -> Vec<Candidate> {
        kernel_sizes
            .iter()
            .flat_map(|&kernel_size| {
                dilations.iter().map(move |&dilation| Candidate { kernel_size, dilation })
            })
            .collect()
    }

    /// Positions from the first to the last tap of an axis.
    pub fn extent(self) -> usize {
        self.dilation * (self.kernel_size - 1) + 1
    }
}

impl Pipeline {
    /// Name of the task in result tables.
    pub fn task_name(&self) -> &str {
        self.task.name.as_deref().unwrap_or(self.dataset.recipe())
    }
}

mod default {
    use super::*;

    pub(super) fn seeds() -> Vec<u64> {
        vec![0]
    }
    pub(super) fn methods() -> Vec<Method> {
        vec![Method::Dash]
    }
    pub(super) fn darcy_subsample() -> usize {
        5
    }
    pub(super) fn darcy_train() -> usize {
        900
    }
    pub(super) fn darcy_validation() -> usize {
        100
    }
    pub(super) fn darcy_test() -> usize {
        100
    }
    pub(super) fn darcy_train_seed() -> u64 {
        1
    }
    pub(super) fn darcy_test_seed() -> u64 {
        2
    }
    pub(super) fn darcy_tau() -> f64 {
        3.0
    }
    pub(super) fn darcy_alpha() -> f64 {
        2.0
    }
    pub(super) fn darcy_high() -> f64 {
        12.0
    }
    pub(super) fn darcy_low() -> f64 {
        3.0
    }
    pub(super) fn darcy_tolerance() -> f64 {
        1e-10
    }
    pub(super) fn deepsea_file() -> PathBuf {
        PathBuf::from("deepsea_filtered.npz")
    }
    pub(super) fn positive_weight() -> f64 {
        1.0
    }
    pub(super) fn ecg_file() -> PathBuf {
        PathBuf::from("challenge2017.pkl")
    }
    pub(super) fn ecg_window() -> usize {
        1000
    }
    pub(super) fn ecg_steps() -> BTreeMap<String, usize> {
        [("N", 500), ("A", 83), ("O", 250), ("~", 25)].map(|(k, v)| (k.to_owned(), v)).into()
    }
    pub(super) fn noise_probability() -> f64 {
        0.75
    }
    pub(super) fn noise_share() -> f64 {
        0.5
    }
    pub(super) fn crop_padding() -> usize {
        4
    }
    pub(super) fn wrn_depth() -> usize {
        16
    }
    pub(super) fn wrn_width() -> usize {
        1
    }
    pub(super) fn pull_weight() -> f64 {
        1e-5
    }
}
