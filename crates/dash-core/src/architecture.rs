//! What a search finds, and the hyperparameters a network is trained with.

use crate::pipeline::Candidate;
use serde::{Deserialize, Serialize};

/// The pattern that a search found: `architecture.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// Version of this format.
    pub format: u32,
    /// Kernel sizes that were searched, in the order of the candidate index.
    pub kernel_sizes: Vec<usize>,
    /// Dilations that were searched, in the order of the candidate index.
    pub dilations: Vec<usize>,
    /// One entry per searched convolution, in forward order.
    pub layers: Vec<LayerChoice>,
}

/// The choice for one convolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerChoice {
    /// Name of the convolution in the backbone, for example `layer1.0.conv1`.
    pub name: String,
    /// The chosen kernel size.
    pub kernel_size: usize,
    /// The chosen dilation.
    pub dilation: usize,
    /// The architecture parameters (logits) at the end of the search, one per candidate.
    pub alpha: Vec<f32>,
}

impl Architecture {
    /// The current version of the format.
    pub const FORMAT: u32 = 1;

    /// The chosen candidate of every searched convolution, in forward order.
    pub fn pattern(&self) -> Vec<Candidate> {
        self.layers.iter().map(|l| Candidate { kernel_size: l.kernel_size, dilation: l.dilation }).collect()
    }
}

/// What tuning selects: `hyperparameters.json` holds these and the score they reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hyperparameters {
    /// Learning rate before the schedule's factor.
    pub learning_rate: f64,
    /// Probability of dropping an activation.
    pub dropout: f64,
    /// Weight decay, on all parameters.
    pub weight_decay: f64,
    /// Momentum; Nesterov's form is used whenever it is not zero.
    pub momentum: f64,
}
