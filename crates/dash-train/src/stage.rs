//! The stages that train, and the names of their random draws.

use dash_core::random::{ChaCha8Rng, Purpose, stream};

/// A stage that trains. Its number is part of the counters of random streams, which keeps those of stages apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum TrainingStage {
    /// Architecture search.
    Search = 1,
    /// Hyperparameter tuning; all trials see the same batches.
    Tune = 2,
    /// Training of the final network.
    Retrain = 3,
}

/// Names the random draws of an epoch: any of them can be repeated without those before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrawKey {
    /// Seed of the run.
    pub(crate) seed: u64,
    /// The stage.
    pub(crate) stage: TrainingStage,
    /// Zero-based epoch.
    pub(crate) epoch: usize,
}

impl DrawKey {
    /// The random stream of a row or sample.
    pub(crate) fn stream(self, purpose: Purpose, item: usize) -> ChaCha8Rng {
        stream(self.seed, purpose, [self.stage as u64, self.epoch as u64, item as u64])
    }
}
