//! What a stage adds to the training loop.

use crate::{error::Error, state::StageState};
use dash_core::results::Epoch;
use dash_nn::{Gradients, LearningRates};

/// What a stage adds to [`fit`](crate::fit), in the order in which `fit` calls it.
pub trait FitHooks {
    /// The stage's errors.
    type Error: From<Error>;

    /// The learning rates of an epoch. `fit` halves them after it rolled back.
    fn learning_rates(&self, epoch: usize) -> LearningRates;

    /// Changes the gradients of a step before the optimizer uses them.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn adjust_gradients(&mut self, _gradients: &mut Gradients) -> Result<(), Error> {
        Ok(())
    }

    /// The validation metric after an epoch; `None` if the stage does not evaluate it.
    ///
    /// # Errors
    /// If the data cannot be read. [`Error::Stopped`] makes `fit` take a checkpoint, from which training resumes with
    /// this call.
    fn validate(&self, _epoch: usize) -> Result<Option<f64>, Error> {
        Ok(None)
    }

    /// Called after an epoch, to record what the stage keeps of it.
    ///
    /// # Errors
    /// Those of the stage.
    fn epoch_end(&mut self, _epoch: &Epoch) -> Result<(), Self::Error> {
        Ok(())
    }

    /// What checkpoints hold of the stage.
    fn state(&self) -> &dyn StageState;
}
