//! The stage `retrain`: trains the network that a search found, or a backbone with its own kernels, tests it, and
//! writes the model (DASH, sections 9 and 10).
//!
//! ```
//! // `metrics.json` as other programs read it.
//! let text = r#"{"params": 10, "epochs": 2, "values": [
//!     {"metric": "zero-one-error", "value": 0.25, "lower_is_better": true, "split": "test"}]}"#;
//! let metrics: dash_retrain::Metrics = serde_json::from_str(text)?;
//! assert_eq!(metrics.values[0].value, 0.25);
//! # Ok::<(), serde_json::Error>(())
//! ```

mod batch_average;
mod metrics;
mod model;
mod retrain;
mod selection;

pub use metrics::{MetricValue, Metrics};
pub use model::ModelManifest;
pub use retrain::retrain;
