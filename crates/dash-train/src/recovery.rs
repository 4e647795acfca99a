//! Rolls training back once when the loss stops being finite.
//!
//! Training rolls back to the beginning of the epoch, and not to a checkpoint: when checkpoints are taken differs from
//! run to run, and a resumed run must end as an uninterrupted one. Checkpoints inside the epoch hold its beginning, too.

use crate::error::Error;
use dash_nn::{NamedTensors, Optimizer, Params};

/// The factor on the learning rates after rolling back.
const FACTOR: f64 = 0.5;

/// The network and the optimizer at the beginning of an epoch.
#[derive(Clone, Debug)]
pub(crate) struct EpochStart {
    /// Parameters and buffers.
    pub(crate) state: NamedTensors,
    /// Momentum buffers.
    pub(crate) optimizer: NamedTensors,
}

/// What a training can roll back to, and whether it did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovery {
    /// The beginning of the epoch; `None` once training rolled back.
    pub(crate) start: Option<EpochStart>,
    /// Whether training rolled back.
    pub(crate) used: bool,
}

impl Recovery {
    /// The factor on the learning rates.
    pub(crate) fn factor(&self) -> f64 {
        if self.used { FACTOR } else { 1.0 }
    }

    /// Remembers the beginning of an epoch, unless training rolled back before.
    pub(crate) fn remember(&mut self, params: &Params, optimizer: &dyn Optimizer) -> Result<(), Error> {
        if !self.used {
            self.start = Some(EpochStart { state: params.state()?, optimizer: optimizer.state()? });
        }
        Ok(())
    }

    /// Rolls back to the beginning of the epoch. Returns false if training rolled back before.
    pub(crate) fn roll_back(
        &mut self,
        params: &Params,
        optimizer: &mut dyn Optimizer,
    ) -> Result<bool, Error> {
        let Some(start) = self.start.take() else { return Ok(false) };
        params.load(&start.state)?;
        optimizer.load(start.optimizer)?;
        self.used = true;
        Ok(true)
    }
}
