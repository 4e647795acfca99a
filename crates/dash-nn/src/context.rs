//! Identifies a forward pass.

/// Identifies the random draws of one forward pass, and says whether it is for training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardContext {
    /// Whether batch statistics, dropout and gradients are on.
    pub training: bool,
    /// Seed of the run.
    pub seed: u64,
    /// Zero-based epoch of the stage.
    pub epoch: usize,
    /// Zero-based step of the stage, counted over all epochs.
    pub step: u64,
}

impl ForwardContext {
    /// A pass without randomness and gradients.
    pub fn evaluation() -> ForwardContext {
        ForwardContext { training: false, seed: 0, epoch: 0, step: 0 }
    }
}
