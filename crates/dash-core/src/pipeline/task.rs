//! Declares the section `task` of a pipeline file: what is learned, from which inputs, and how it is evaluated.

use super::{Augment, Loss, Metric};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is learned and how it is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Name in result tables; the name of the recipe by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The loss that training minimises.
    pub loss: Loss,
    /// The metric that is reported and that model selection uses.
    pub metric: Metric,
    /// Whether loss and metric are computed on decoded outputs and targets, that is, with the dataset's target
    /// normalisation undone.
    #[serde(default)]
    pub decode_target: bool,
    /// Additionally report the mean of the metric over test batches of this size, as the published experiments do.
    /// Model selection never uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_average: Option<usize>,
    /// Augmentations of the training inputs, applied in this order. Validation and test inputs are never changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Augment>,
    /// How samples of variable size are brought to the size of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// How samples of variable size are brought to the size of a batch: each is padded on all sides and placed in the top
/// left corner of a square window, or cropped to the window if it is larger.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Window {
    /// Rows and columns in training. Larger samples are cropped at a random offset, anew in each epoch.
    pub training: usize,
    /// Rows and columns in evaluation. A larger sample gets a window of its own size.
    pub evaluation: usize,
    /// Batch size of evaluation. It affects memory, not results.
    pub evaluation_batch_size: usize,
    /// Positions that are added on each side of a sample. Inputs are 0 there.
    pub padding: usize,
    /// The target outside of a sample.
    pub target_padding: f64,
    /// Targets above this value are lowered to it in training.
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
