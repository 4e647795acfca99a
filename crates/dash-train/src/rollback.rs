//! Going back once when the loss stops being finite.
//!
//! The place to go back to must not depend on when checkpoints were taken, or a resumed run would end
//! differently: it is the beginning of the epoch, and checkpoints inside the epoch keep it.

use crate::Error;
use candle_core::Tensor;
use dash_nn::{Optimizer, Params, Sgd};

/// Factor on the learning rates after going back.
const FACTOR: f64 = 0.5;

/// What a training can go back to, and whether it did.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Parameters with buffers, and momenta, at the beginning of the epoch; `None` once they were used.
    pub(crate) start: Option<[Vec<(String, Tensor)>; 2]>,
    /// Whether training went back.
    pub(crate) used: bool,
}

impl Recovery {
    /// What the learning rates are multiplied with.
    pub(crate) fn factor(&self) -> f64 {
        if self.used { FACTOR } else { 1.0 }
    }

    /// Remembers the beginning of an epoch, unless training went back before.
    pub(crate) fn remember(&mut self, params: &Params, sgd: &Sgd) -> Result<(), Error> {
        if !self.used {
            self.start = Some([params.state()?, sgd.state()?]);
        }
        Ok(())
    }

    /// Goes back; whether there was something to go back to.
    pub(crate) fn go_back(&mut self, params: &Params, sgd: &mut Sgd) -> Result<bool, Error> {
        let Some([state, momenta]) = self.start.take() else { return Ok(false) };
        params.load(&state)?;
        sgd.load(momenta)?;
        self.used = true;
        Ok(true)
    }
}
