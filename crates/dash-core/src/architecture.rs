//! Describes what a search and tuning choose: the architecture and the hyperparameters.

use crate::pipeline::Candidate;
use serde::{Deserialize, Serialize};

/// The architecture that a search chose: the content of `architecture.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// Version of this format.
    pub format: u32,
    /// The kernel sizes of the search space, in the order of the candidate index.
    pub kernel_sizes: Vec<usize>,
    /// The dilations of the search space, in the order of the candidate index.
    pub dilations: Vec<usize>,
    /// The choice for each searched convolution, in forward order.
    pub layers: Vec<LayerChoice>,
}

/// The candidate that was chosen for one convolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerChoice {
    /// Name of the convolution in the backbone, for example `layer1.0.conv1`.
    pub name: String,
    /// The chosen candidate; its keys are those of the layer.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// The architecture parameters (logits) at the end of the search, one per candidate.
    pub alpha: Vec<f32>,
}

impl Architecture {
    /// The current version of the format.
    pub const FORMAT: u32 = 1;

    /// The chosen candidate of every searched convolution, in forward order.
    pub fn pattern(&self) -> Vec<Candidate> {
        self.layers.iter().map(|layer| layer.candidate).collect()
    }
}

/// The hyperparameters that tuning selects. `hyperparameters.json` holds them and the metric that they reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hyperparameters {
    /// Learning rate before the schedule's factor.
    pub learning_rate: f64,
    /// Dropout probability.
    pub dropout: f64,
    /// Weight decay, on all parameters.
    pub weight_decay: f64,
    /// Momentum. SGD uses Nesterov's form unless it is zero.
    pub momentum: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_str, to_string};

    #[test]
    fn the_keys_of_a_candidate_are_those_of_its_layer() {
        let text = r#"{"name":"stem","kernel_size":5,"dilation":3,"alpha":[0.1,-2.5]}"#;
        let layer: LayerChoice = from_str(text).unwrap();
        assert_eq!(layer.candidate, Candidate { kernel_size: 5, dilation: 3 });
        assert_eq!(to_string(&layer).unwrap(), text);
        assert!(from_str::<LayerChoice>(r#"{"name":"stem","kernel_size":5,"alpha":[]}"#).is_err());
    }
}
