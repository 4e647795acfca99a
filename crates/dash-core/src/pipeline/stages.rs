//! Settings of the stages that train: search, tuning and retraining.

use super::Backbone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The architecture search (DASH, sections 2 to 7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Search {
    /// The network whose convolutions become mixtures; by default what the data's dimensions ask
    /// for, at search width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<Backbone>,
    /// Kernel sizes of the candidates; odd.
    pub kernel_sizes: Vec<usize>,
    /// Dilations of the candidates.
    pub dilations: Vec<usize>,
    /// Whether mixtures with as many input as output channels are depthwise.
    pub separable: bool,
    /// Number of epochs.
    pub epochs: usize,
    /// Share of the training batches used per epoch, newly drawn each epoch: an epoch has
    /// floor(fraction * batches) + 1 steps, at most all batches.
    pub fraction: f64,
    /// Samples per step.
    pub batch_size: usize,
    /// Learning rate of the weights.
    pub learning_rate: f64,
    /// Learning rate of the architecture parameters.
    pub arch_learning_rate: f64,
    /// Momentum (Nesterov) of weights and architecture parameters.
    pub momentum: f64,
    /// Weight decay on weights and architecture parameters.
    pub weight_decay: f64,
    /// Global norm to which gradients are clipped.
    pub clip_norm: f64,
    /// The data part of an architecture gradient gets the norm 1 / grad_scale; 0 keeps it raw.
    pub grad_scale: f64,
    /// The receptive-field penalty, which favours candidates with a small receptive field.
    #[serde(alias = "pull")]
    pub receptive_field_penalty: ReceptiveFieldPenalty,
    /// Factors on both learning rates.
    pub schedule: Schedule,
    /// What happens when the loss stops being finite.
    #[serde(skip_serializing_if = "OnDivergence::is_default")]
    pub on_divergence: OnDivergence,
}

/// What happens when the training loss stops being finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnDivergence {
    /// The stage fails.
    #[default]
    Stop,
    /// Once per stage, training goes back to the beginning of the epoch, and on from there with half the
    /// learning rates to the end; the second time the stage fails.
    RollBack,
}

impl OnDivergence {
    fn is_default(&self) -> bool {
        *self == OnDivergence::default()
    }
}

/// The receptive-field penalty of the search: weight * size is added to the gradient of each architecture
/// parameter, so that of two candidates with equal loss the smaller one is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ReceptiveFieldPenalty {
    /// The size of a candidate is its extent, dilation * (kernel size - 1) + 1. Published for classification.
    Extent {
        /// Factor on the size.
        #[serde(default = "default_weight")]
        weight: f64,
    },
    /// The size of a candidate is 10 * kernel size, whatever its dilation. Published for dense prediction.
    KernelSize {
        /// Factor on the size.
        #[serde(default = "default_weight")]
        weight: f64,
    },
}

impl ReceptiveFieldPenalty {
    /// The factor on the size of a candidate.
    pub fn weight(self) -> f64 {
        let (ReceptiveFieldPenalty::Extent { weight } | ReceptiveFieldPenalty::KernelSize { weight }) = self;
        weight
    }
}

/// Step schedule: the learning rate is multiplied by `factor` once for each milestone strictly
/// below the epoch, until it has fallen to `min_learning_rate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Factor per milestone.
    pub factor: f64,
    /// Epochs after which the factor applies, ascending.
    pub milestones: Vec<usize>,
    /// A rate at or below this is not changed any more.
    pub min_learning_rate: f64,
}

/// Hyperparameter tuning over a grid (DASH, section 8).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tune {
    /// Epochs of one trial.
    pub epochs: usize,
    /// Share of the training batches used per epoch: floor(fraction * batches) + 1 steps, at most
    /// all batches.
    pub fraction: f64,
    /// Samples per step.
    pub batch_size: usize,
    /// Learning rates, outermost loop; a value without improvement ends the search.
    pub learning_rates: Vec<f64>,
    /// Dropout probabilities.
    pub dropouts: Vec<f64>,
    /// Weight decays.
    pub weight_decays: Vec<f64>,
    /// Momenta, innermost loop.
    pub momenta: Vec<f64>,
}

/// Training of the final network (DASH, section 9). Its backbone and schedule also hold for the
/// trials of tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retrain {
    /// The network that gets the found kernels; by default what the data's dimensions ask for, at
    /// retraining width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<Backbone>,
    /// Number of epochs.
    pub epochs: usize,
    /// Samples per step.
    pub batch_size: usize,
    /// Factors on the learning rate.
    pub schedule: Schedule,
    /// What happens when the loss stops being finite.
    #[serde(skip_serializing_if = "OnDivergence::is_default")]
    pub on_divergence: OnDivergence,
}

impl Default for Search {
    fn default() -> Self {
        Search {
            backbone: None,
            kernel_sizes: vec![3, 5, 7, 9],
            dilations: vec![1, 3, 7, 15],
            separable: true,
            epochs: 100,
            fraction: 0.2,
            batch_size: 64,
            learning_rate: 0.1,
            arch_learning_rate: 0.05,
            momentum: 0.9,
            weight_decay: 5e-4,
            clip_norm: 1.0,
            grad_scale: 100.0,
            receptive_field_penalty: ReceptiveFieldPenalty::Extent { weight: default_weight() },
            schedule: Schedule::default(),
            on_divergence: OnDivergence::default(),
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule { factor: 0.2, milestones: vec![60, 120, 160], min_learning_rate: 5e-6 }
    }
}

impl Default for Tune {
    fn default() -> Self {
        Tune {
            epochs: 80,
            fraction: 0.05,
            batch_size: 64,
            learning_rates: vec![0.1, 0.01, 0.001],
            dropouts: vec![0.0, 0.05],
            weight_decays: vec![5e-4, 5e-6],
            momenta: vec![0.9, 0.99],
        }
    }
}

impl Default for Retrain {
    fn default() -> Self {
        Retrain {
            backbone: None,
            epochs: 200,
            batch_size: 64,
            schedule: Schedule::default(),
            on_divergence: OnDivergence::default(),
        }
    }
}

fn default_weight() -> f64 {
    1e-5
}
