//! Tidy results: the content of `results.json`, and the input of reports.

use crate::{
    architecture::{Architecture, Hyperparameters},
    pipeline::{Method, Protocol},
    provenance::Provenance,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a value that a pipeline asks for was measured.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The value was measured.
    #[default]
    Done,
    /// The stages that produce it have not been run with the current settings.
    Missing,
    /// A stage that produces it failed, or its files contradict each other.
    Failed,
}

impl Status {
    /// The name in data files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Status::Done => "done",
            Status::Missing => "missing",
            Status::Failed => "failed",
        }
    }
}

/// One value that a pipeline asks for: one row per (task, method, seed, metric). A (task, method, seed) without a result has
/// one row for the primary metric, with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultRow {
    /// Name of the pipeline, `NAME@PROFILE` if a profile was applied.
    pub pipeline: String,
    /// Name of the task.
    pub task: String,
    /// The method.
    pub method: Method,
    /// Seed of the run.
    pub seed: u64,
    /// The evaluation protocol.
    pub protocol: Protocol,
    /// Name of the metric in results, such as `1-auroc`.
    pub metric: String,
    /// The value, in the unit of the metric; none if `status` is not [`Status::Done`].
    pub value: Option<f64>,
    /// Whether lower values of the metric are better.
    pub lower_is_better: bool,
    /// The split on which it was measured.
    pub split: String,
    /// The number of trainable parameters of the network; none if there is no value.
    pub params: Option<usize>,
    /// Wall time of the stages that produced this value, summed over their attempts.
    pub stage_seconds: StageSeconds,
    /// Folder of the run, relative to the runs root.
    pub run: String,
    /// Whether this is the metric by which methods are compared on this task. Batch averages and values that were
    /// selected on test data are secondary.
    #[serde(default = "yes")]
    pub primary: bool,
    /// Whether the value was measured.
    #[serde(default)]
    pub status: Status,
    /// Why there is no value.
    #[serde(default)]
    pub reason: Option<String>,
    /// Hash of the content of the dataset that the network was trained on; none if it was not recorded.
    #[serde(default)]
    pub dataset: Option<String>,
    /// Fingerprint of the settings and the input contents of the final stage.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// Provenance of the final stage; none if it was not recorded.
    #[serde(default)]
    pub provenance: Option<Provenance>,
}

fn yes() -> bool {
    true
}

/// Wall time per stage in seconds, summed over attempts; absent if the method has no such stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageSeconds {
    /// Architecture search.
    pub search: Option<f64>,
    /// Hyperparameter tuning.
    pub tune: Option<f64>,
    /// Retraining, including its evaluations.
    pub retrain: Option<f64>,
}

/// One epoch of a training history, a row of `history.parquet`. It holds no wall time, so that the file is identical in
/// every run with the same seed; events carry the times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Zero-based number.
    pub epoch: usize,
    /// Learning rate of the weights in this epoch.
    pub learning_rate: f64,
    /// Mean training loss per batch.
    pub train_loss: f64,
    /// Metric on the split that selection uses, after the epoch, if it was evaluated.
    pub score: Option<f64>,
}

/// What a report shows of one run and method besides its result rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunDetail {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the task.
    pub task: String,
    /// The method.
    pub method: Method,
    /// Seed of the run.
    pub seed: u64,
    /// The architecture that the search found; `None` for methods without a search.
    pub architecture: Option<Architecture>,
    /// The selected hyperparameters.
    pub hyperparameters: Option<Hyperparameters>,
    /// Training history of the search; empty without a search.
    pub search_history: Vec<Epoch>,
    /// Training history of the final network.
    pub retrain_history: Vec<Epoch>,
    /// Folder of the run, relative to the runs root.
    pub run: String,
    /// Fingerprint of the configuration and inputs of the final stage.
    pub fingerprint: String,
    /// Device of the final stage.
    pub device: String,
    /// UTC date and time at which the final stage ended.
    pub finished: String,
}
