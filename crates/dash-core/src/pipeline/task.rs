//! The section `task` of a pipeline file: what is learned, from which inputs, and how it is evaluated.

use crate::card::TargetKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// How samples of differing size are brought to that of a batch: each is padded on all sides, and put
/// into the top left corner of a square window or, if it is larger, cut to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Window {
    /// Rows and columns in training. Larger samples are cut at random, anew in each epoch.
    pub training: usize,
    /// Rows and columns in evaluation. A larger sample gets a window of its own size.
    pub evaluation: usize,
    /// Samples that are evaluated together: a matter of memory.
    pub evaluation_batch_size: usize,
    /// Positions that are added on each side. Inputs are 0 there.
    pub padding: usize,
    /// The target outside of a sample.
    pub target_padding: f64,
    /// Larger targets are lowered to this in training.
    pub target_limit: f64,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            training: 128,
            evaluation: 512,
            evaluation_batch_size: 2,
            padding: 5,
            target_padding: 100.0,
            target_limit: 16.0,
        }
    }
}

/// Bands that are filled in: with `probability`, 1 to `rounds` times, each time up to the share `rows` of
/// the rows and up to the share `columns` of the columns, next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// How often anything is filled in.
    #[serde(default = "default::mask_probability")]
    pub probability: f64,
    /// The most rounds.
    #[serde(default = "default::mask_rounds")]
    pub rounds: usize,
    /// What the share of the rows is below.
    #[serde(default = "default::mask_rows")]
    pub rows: f64,
    /// What the share of the columns is below.
    #[serde(default = "default::mask_columns")]
    pub columns: f64,
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

mod default {
    pub(super) fn noise_probability() -> f64 {
        0.75
    }
    pub(super) fn noise_share() -> f64 {
        0.5
    }
    pub(super) fn crop_padding() -> usize {
        4
    }
    pub(super) fn positive_weight() -> f64 {
        1.0
    }
    pub(super) fn mask_probability() -> f64 {
        0.5
    }
    pub(super) fn mask_rounds() -> usize {
        2
    }
    pub(super) fn mask_rows() -> f64 {
        0.15
    }
    pub(super) fn mask_columns() -> f64 {
        0.2
    }
}
