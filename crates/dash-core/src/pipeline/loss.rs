//! Declares the table of losses.

use super::vocabulary::vocabulary;
use crate::{card::TargetKind, checks::Checks};

/// What validation knows about a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossSpec {
    /// Its `kind` in pipeline files.
    pub name: &'static str,
    /// Its name in sentences.
    pub title: &'static str,
    /// Its definition, in one or more sentences.
    pub description: &'static str,
    /// The targets that it is for.
    pub target: TargetKind,
}

vocabulary! {
    /// The loss that training minimises.
    pub enum Loss: LossSpec {
        /// Softmax cross-entropy, averaged over the batch.
        CrossEntropy = "cross-entropy" {
            title: "cross-entropy",
            target: TargetKind::Class,
        }
        /// Focal loss: −(1 − p)^gamma log(p + 1e-9), where p is the predicted probability of the class, averaged over
        /// the batch (Lin et al. 2017).
        Focal {
            /// Exponent; with 0 the loss is cross-entropy, except for the 1e-9.
            #[serde(default)]
            gamma: f64,
        } = "focal" {
            title: "focal loss",
            target: TargetKind::Class,
        }
        /// Binary cross-entropy of each label, averaged over the batch and all labels. The network's outputs are
        /// logits.
        BinaryCrossEntropy {
            /// Factor on the terms of positive labels, as `pos_weight` of PyTorch's `BCEWithLogitsLoss`.
            #[serde(default = "positive_weight")]
            positive_weight: f64,
        } = "binary-cross-entropy" {
            title: "binary cross-entropy",
            target: TargetKind::Labels,
        }
        /// The relative L2 error ‖output − target‖₂ / ‖target‖₂, summed over the batch.
        RelativeL2 = "relative-l2" {
            title: "relative L2 error",
            target: TargetKind::Field,
        }
        /// (output − target)², averaged over the batch and all elements.
        MeanSquaredError = "mean-squared-error" {
            title: "mean squared error",
            target: TargetKind::Field,
        }
        /// Binary cross-entropy of each position, averaged over the batch and all positions. The network's outputs
        /// are logits. The value of a position is at most 100; ignored positions count as predicted with certainty.
        MaskedBinaryCrossEntropy = "masked-binary-cross-entropy" {
            title: "masked binary cross-entropy",
            target: TargetKind::Mask,
        }
    }
}

impl Loss {
    /// Checks its parameters; `key` is its key in the pipeline file.
    pub(crate) fn add_checks(self, key: &str, checks: &mut Checks) {
        match self {
            Loss::Focal { gamma } => checks.not_negative(&format!("{key}.gamma"), gamma),
            Loss::BinaryCrossEntropy { positive_weight } => {
                checks.positive(&format!("{key}.positive_weight"), positive_weight);
            }
            _ => {}
        }
    }
}

fn positive_weight() -> f64 {
    1.0
}
