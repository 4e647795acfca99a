//! Describes what happens while pipelines run, as events. Events are values; only the binary prints them.

use crate::stage::{RunId, Stage};
use schemars::JsonSchema;
use serde::Serialize;

/// One event. `--events` writes each as a JSON object whose key `event` holds the name in kebab-case.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A stage begins.
    StageStarted {
        /// The run that the stage belongs to.
        run: RunId,
        /// The stage.
        stage: Stage,
        /// Why the stage must run.
        reason: String,
    },
    /// An earlier run finished the stage with the same settings and inputs.
    StageReused {
        /// The run that the stage belongs to.
        run: RunId,
        /// The stage.
        stage: Stage,
    },
    /// A stage has published its outputs.
    StageFinished {
        /// The run that the stage belongs to.
        run: RunId,
        /// The stage.
        stage: Stage,
        /// Wall time.
        seconds: f64,
    },
    /// A stage failed. Stages that do not depend on it continue.
    StageFailed {
        /// The run that the stage belongs to.
        run: RunId,
        /// The stage.
        stage: Stage,
        /// The error message.
        error: String,
    },
    /// How many items have been processed so far, for example samples written or fields simulated.
    Progress {
        /// What the items are, as a plural noun.
        what: String,
        /// The number of items that are done.
        done: usize,
        /// The number of all items.
        total: usize,
    },
    /// How many bytes of a file have been downloaded. Its JSON is that of [`Event::Progress`].
    #[serde(rename = "progress")]
    Download {
        /// Name of the file.
        #[serde(rename = "what")]
        file: String,
        /// Bytes so far.
        done: usize,
        /// Bytes of the whole file; 0 if the server does not say.
        total: usize,
    },
    /// A stage resumes from the checkpoint of an earlier attempt.
    Resumed {
        /// The number of finished tuning trials; 0 in other stages.
        trial: usize,
        /// Zero-based epoch.
        epoch: usize,
        /// The number of steps already taken in this epoch.
        step: usize,
    },
    /// A stage stopped at a checkpoint because it was asked to. Running it again resumes it.
    StageStopped {
        /// The run that the stage belongs to.
        run: RunId,
        /// The stage.
        stage: Stage,
    },
    /// An optimizer step was taken.
    Step {
        /// One-based number of the step in the epoch.
        step: usize,
        /// The number of steps in the epoch.
        steps: usize,
    },
    /// A training epoch ended.
    Epoch {
        /// Zero-based number of the epoch.
        epoch: usize,
        /// The number of epochs of this training.
        epochs: usize,
        /// Mean training loss per batch.
        train_loss: f64,
        /// Metric on the split that selection uses, if it was evaluated.
        score: Option<f64>,
        /// Learning rate of the weights.
        learning_rate: f64,
        /// Wall time.
        seconds: f64,
    },
    /// A tuning trial ended.
    Trial {
        /// Zero-based number of the trial.
        trial: usize,
        /// The number of trials.
        trials: usize,
        /// Metric on the validation split; `None` if the trial diverged.
        score: Option<f64>,
    },
    /// Something that the user should know although nothing failed.
    Warning {
        /// The text, one sentence.
        message: String,
    },
}

/// Receives events and may ask the running work to stop. Implementations must return quickly and must not panic.
pub trait Listener: Send + Sync {
    /// Called for every event, on the thread where it happens.
    fn on(&self, event: &Event);

    /// Whether the work should stop at its next checkpoint. Training asks between steps.
    fn stopping(&self) -> bool {
        false
    }
}

/// A listener that ignores every event.
pub struct Silent;

impl Listener for Silent {
    fn on(&self, _: &Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Method;
    use serde_json::json;

    #[test]
    fn events_serialise_to_flat_objects() {
        let run = RunId::new("p", Some(1));
        let stopped = Event::StageStopped { run, stage: Stage::Tune(Method::Backbone) };
        let json = json!({ "event": "stage-stopped", "run": "p/1", "stage": "backbone-tune" });
        assert_eq!(serde_json::to_value(stopped).unwrap(), json);
        let download = Event::Download { file: "a.npz".into(), done: 1, total: 2 };
        let json = json!({ "event": "progress", "what": "a.npz", "done": 1, "total": 2 });
        assert_eq!(serde_json::to_value(download).unwrap(), json);
    }
}
