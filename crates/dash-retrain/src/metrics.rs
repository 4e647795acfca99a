//! Defines the file of measured values, `metrics.json`.

use serde::{Deserialize, Serialize};

/// What was measured: `metrics.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Trainable parameters of the network.
    pub params: usize,
    /// The number of epochs that it was trained for.
    pub epochs: usize,
    /// The values, that of the primary metric first.
    pub values: Vec<MetricValue>,
}

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricValue {
    /// Name of the metric.
    pub metric: String,
    /// The value.
    pub value: f64,
    /// Whether smaller values are better.
    pub lower_is_better: bool,
    /// The split it was measured on.
    pub split: String,
}
