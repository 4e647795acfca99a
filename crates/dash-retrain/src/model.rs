//! Defines the description of a trained model, `model.json`.

use dash_core::{
    architecture::Hyperparameters,
    card::{Scaling, Target, TensorField},
    pipeline::{Backbone, Candidate, Task},
};
use serde::{Deserialize, Serialize};

/// Everything that a program needs, besides `model.safetensors`, to build the model and to read its outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelManifest {
    /// Version of this format.
    pub format: u32,
    /// Loss, metric and decoding.
    pub task: Task,
    /// The backbone.
    pub backbone: Backbone,
    /// Kernel size and dilation per searchable convolution; `None` for the backbone's own.
    pub pattern: Option<Vec<Candidate>>,
    /// The input of a sample.
    pub input: TensorField,
    /// What is predicted.
    pub target: Target,
    /// Decodes predicted fields.
    pub target_scaling: Option<Scaling>,
    /// What the network was trained with.
    pub hyperparameters: Hyperparameters,
    /// Zero-based epoch whose weights these are.
    pub epoch: usize,
    /// Trainable parameters.
    pub params: usize,
}

impl ModelManifest {
    /// The current version of the format.
    pub const FORMAT: u32 = 1;
}
