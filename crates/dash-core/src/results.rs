//! The tidy form of results: what `results.json` holds and reports are made from.

use crate::{
    architecture::{Architecture, Hyperparameters},
    pipeline::{Method, Protocol},
};
use serde::{Deserialize, Serialize};

/// One measured value: one row per (task, method, seed, metric).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the task.
    pub task: String,
    /// How the network was obtained.
    pub method: Method,
    /// Seed of the run.
    pub seed: u64,
    /// Which data selection was allowed to see.
    pub protocol: Protocol,
    /// Name of the metric.
    pub metric: String,
    /// The value, in the unit of the metric.
    pub value: f64,
    /// Direction of the metric.
    pub lower_is_better: bool,
    /// The split it was measured on.
    pub split: String,
    /// Trainable parameters of the network.
    pub params: usize,
    /// Wall time of the stages that led to this value.
    pub stage_seconds: StageSeconds,
    /// Folder of the run, relative to the runs root.
    pub run: String,
}

/// Wall time per stage, in seconds; absent if the method has no such stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageSeconds {
    /// Architecture search.
    pub search: Option<f64>,
    /// Hyperparameter tuning.
    pub tune: Option<f64>,
    /// Retraining, its evaluations included.
    pub retrain: Option<f64>,
}

/// One epoch of a training history; a row of `history.parquet`. It holds no wall time, so that the
/// file is the same in every run with the same seed; events carry the times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Zero-based number.
    pub epoch: usize,
    /// Learning rate of the weights in this epoch.
    pub learning_rate: f64,
    /// Mean training loss per batch.
    pub train_loss: f64,
    /// Score on the selection split after the epoch, if it was evaluated.
    pub score: Option<f64>,
}

/// What a report shows of one (run, method) besides its result rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunDetail {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the task.
    pub task: String,
    /// How the network was obtained.
    pub method: Method,
    /// Seed of the run.
    pub seed: u64,
    /// The found pattern; `None` for methods without a search.
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
    /// Device it ran on.
    pub device: String,
    /// UTC date and time at which the final stage ended.
    pub finished: String,
}
