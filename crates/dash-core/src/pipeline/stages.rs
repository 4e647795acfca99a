//! Declares the sections `search`, `tune` and `retrain` of a pipeline file.

use super::Backbone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The architecture search, as in the DASH paper (Shen, Khodak and Talwalkar 2022).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Search {
    /// The backbone whose convolutions are searched. By default it fits the dimensions of the data: `wrn` of width 1 for
    /// 2-D data, a centred `resnet1d` for 1-D data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<Backbone>,
    /// Kernel sizes of the candidates. They must be odd.
    pub kernel_sizes: Vec<usize>,
    /// Dilations of the candidates.
    pub dilations: Vec<usize>,
    /// Whether mixed operations with equal numbers of input and output channels are depthwise.
    pub separable: bool,
    /// Number of epochs.
    pub epochs: usize,
    /// Share of the training batches in an epoch, drawn anew for each epoch. An epoch has floor(fraction * batches) + 1
    /// steps, but not more than there are batches.
    pub fraction: f64,
    /// Batch size.
    pub batch_size: usize,
    /// Learning rate of the weights.
    pub learning_rate: f64,
    /// Learning rate of the architecture parameters.
    pub arch_learning_rate: f64,
    /// Momentum of weights and architecture parameters (SGD with Nesterov momentum).
    pub momentum: f64,
    /// Weight decay of weights and architecture parameters.
    pub weight_decay: f64,
    /// Maximum norm of all gradients together; larger gradients are clipped.
    pub clip_norm: f64,
    /// Architecture-gradient normalisation: the gradient of the loss in the architecture parameters of a layer is scaled to
    /// the norm 1 / grad_scale. 0 turns the normalisation off.
    pub grad_scale: f64,
    /// The receptive-field penalty, which favours candidates with a small receptive field.
    #[serde(alias = "pull")]
    pub receptive_field_penalty: ReceptiveFieldPenalty,
    /// Schedule of both learning rates.
    pub schedule: Schedule,
    /// What happens if training diverges.
    #[serde(skip_serializing_if = "OnDivergence::is_default")]
    pub on_divergence: OnDivergence,
}

/// What happens if training diverges, that is, if the training loss is not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnDivergence {
    /// The stage fails.
    #[default]
    Stop,
    /// Training rolls back to the beginning of the epoch and continues with half the learning rates. This happens once per
    /// stage; the second time the stage fails.
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

/// Step schedule of learning rates, similar to PyTorch's `MultiStepLR`: the rate is multiplied by `factor` in the epoch after
/// each milestone, unless it is at or below `min_learning_rate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Factor per milestone.
    pub factor: f64,
    /// Zero-based epochs after which the rate is reduced, in ascending order.
    pub milestones: Vec<usize>,
    /// A rate at or below this value is not reduced further.
    pub min_learning_rate: f64,
}

/// Hyperparameter tuning, as in the DASH paper: a grid search with early stopping over learning rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tune {
    /// Number of epochs of a trial.
    pub epochs: usize,
    /// Share of the training batches in an epoch: floor(fraction * batches) + 1 steps, but not more than there are batches.
    pub fraction: f64,
    /// Batch size.
    pub batch_size: usize,
    /// Learning rates, the outermost loop. The search ends after a learning rate without improvement.
    pub learning_rates: Vec<f64>,
    /// Dropout probabilities.
    pub dropouts: Vec<f64>,
    /// Weight decays.
    pub weight_decays: Vec<f64>,
    /// Momentum values, the innermost loop.
    pub momenta: Vec<f64>,
}

/// Training of the final network. Tuning trials use the same backbone and schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retrain {
    /// The backbone that gets the kernels of the found pattern. By default it fits the dimensions of the data: `wrn` of
    /// width 4 for 2-D data, a causal `resnet1d` for 1-D data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<Backbone>,
    /// Number of epochs.
    pub epochs: usize,
    /// Batch size.
    pub batch_size: usize,
    /// Schedule of the learning rate.
    pub schedule: Schedule,
    /// What happens if training diverges.
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
