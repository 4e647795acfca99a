//! What checkpoints hold of a training, and whether a training can have come there.

use crate::history::HistorySeries;
use candle_core::Tensor;
use dash_core::results::Epoch;

/// A position in a training: the next step to take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainingPosition {
    /// Zero-based epoch.
    pub epoch: usize,
    /// The number of steps taken in this epoch.
    pub step: usize,
    /// The sum of the losses of these steps.
    pub loss: f64,
}

impl TrainingPosition {
    /// The beginning of an epoch.
    pub fn start_of(epoch: usize) -> TrainingPosition {
        TrainingPosition { epoch, ..TrainingPosition::default() }
    }
}

/// The best network of a training so far.
#[derive(Clone, Debug)]
pub struct BestModel {
    /// Zero-based epoch.
    pub epoch: usize,
    /// Its validation metric.
    pub value: f64,
    /// Its parameters and buffers; empty if nobody needs them.
    pub tensors: Vec<(String, Tensor)>,
}

/// What a stage keeps in its checkpoints, in the form in which a checkpoint stores it. Each stage fills the fields that
/// its own [`StageState`] needs.
#[derive(Clone, Debug, Default)]
pub struct StoredState {
    /// List columns of the history: one list per finished epoch.
    pub series: Vec<HistorySeries>,
    /// The best network so far.
    pub best: Option<BestModel>,
    /// The validation metrics of finished trials, `None` for diverged ones.
    pub trials: Vec<Option<f64>>,
}

/// What a stage keeps in its checkpoints beside network, optimizer, position and history. The unit type is the state of
/// a training that keeps nothing else.
pub trait StageState {
    /// Whether checkpoints hold the history of the training.
    fn has_history(&self) -> bool {
        true
    }

    /// A copy of the state, for a checkpoint.
    fn store(&self) -> StoredState;

    /// Takes over the state of a checkpoint that was taken after `epochs` finished epochs.
    ///
    /// # Errors
    /// Why this stage cannot have come to that state.
    fn load(&mut self, stored: StoredState, epochs: usize) -> Result<(), String>;
}

impl StageState for () {
    fn store(&self) -> StoredState {
        StoredState::default()
    }

    fn load(&mut self, _: StoredState, _: usize) -> Result<(), String> {
        Ok(())
    }
}

/// The length of a training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrainingLength {
    /// Epochs of the training.
    pub(crate) epochs: usize,
    /// Steps of an epoch.
    pub(crate) steps: usize,
}

impl TrainingLength {
    /// Whether a training of this length can have come to a position with a history; if not, why.
    pub(crate) fn check(self, position: TrainingPosition, history: Option<&[Epoch]>) -> Result<(), String> {
        let TrainingLength { epochs, steps } = self;
        let TrainingPosition { epoch, step, loss } = position;
        if epoch >= epochs || step > steps {
            return Err(format!(
                "it stands at step {step} of epoch {}; there are {steps} steps and {epochs} epochs",
                epoch + 1
            ));
        }
        if !loss.is_finite() {
            return Err(format!("its sum of losses is {loss}"));
        }
        let complete =
            |rows: &[Epoch]| rows.len() == epoch && rows.iter().enumerate().all(|(row, e)| e.epoch == row);
        if history.is_some_and(|rows| !complete(rows)) {
            return Err(format!("its history does not hold the epochs before epoch {}", epoch + 1));
        }
        Ok(())
    }
}
