//! What happens while pipelines run, as values. Only the binary turns them into text.

use serde::Serialize;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A stage begins.
    StageStarted {
        /// `<pipeline>/<seed>`, or `<pipeline>` for stages shared by all seeds.
        run: String,
        /// Name of the stage.
        stage: String,
        /// Why it must run.
        reason: String,
    },
    /// A stage was finished earlier by the same configuration and inputs.
    StageReused {
        /// `<pipeline>/<seed>`, or `<pipeline>` for stages shared by all seeds.
        run: String,
        /// Name of the stage.
        stage: String,
    },
    /// A stage has published its outputs.
    StageFinished {
        /// `<pipeline>/<seed>`, or `<pipeline>` for stages shared by all seeds.
        run: String,
        /// Name of the stage.
        stage: String,
        /// Wall time.
        seconds: f64,
    },
    /// A stage failed; stages that do not depend on it go on.
    StageFailed {
        /// `<pipeline>/<seed>`, or `<pipeline>` for stages shared by all seeds.
        run: String,
        /// Name of the stage.
        stage: String,
        /// What went wrong.
        error: String,
    },
    /// Samples written by ingestion, or instances simulated, so far.
    Progress {
        /// What is counted.
        what: String,
        /// How many are done.
        done: usize,
        /// How many there will be.
        total: usize,
    },
    /// A stage goes on from the checkpoint of an earlier attempt.
    Resumed {
        /// Finished trials of a tuning; 0 elsewhere.
        trial: usize,
        /// Zero-based epoch.
        epoch: usize,
        /// Steps taken in this epoch.
        step: usize,
    },
    /// A stage was asked to stop and can be gone on with.
    StageStopped {
        /// `<pipeline>/<seed>`.
        run: String,
        /// Name of the stage.
        stage: String,
    },
    /// An optimiser step was taken.
    Step {
        /// One-based number in the epoch.
        step: usize,
        /// Steps in the epoch.
        steps: usize,
    },
    /// A training epoch ended.
    Epoch {
        /// Zero-based number.
        epoch: usize,
        /// Epochs in this training.
        epochs: usize,
        /// Mean loss per batch.
        train_loss: f64,
        /// Score on the selection split, if evaluated.
        score: Option<f64>,
        /// Learning rate of the weights.
        learning_rate: f64,
        /// Wall time.
        seconds: f64,
    },
    /// A tuning trial ended.
    Trial {
        /// Zero-based number in the grid.
        trial: usize,
        /// Trials in the grid.
        trials: usize,
        /// Score on the validation split; `None` if it diverged.
        score: Option<f64>,
    },
    /// Something the user should know although nothing failed.
    Warning {
        /// The text, one sentence.
        message: String,
    },
}

/// Receives events, and may ask the work to stop. Implementations must be cheap and must not panic.
pub trait Listener: Send + Sync {
    /// Called for every event, from the thread where it happens.
    fn on(&self, event: &Event);

    /// Whether the work should stop where it can be gone on with. Asked between steps.
    fn stopping(&self) -> bool {
        false
    }
}

/// Drops every event.
pub struct Silent;

impl Listener for Silent {
    fn on(&self, _: &Event) {}
}
