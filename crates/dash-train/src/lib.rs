//! The epoch loop that every stage shares, and what follows from it: evaluation, checkpoints,
//! retraining.
//!
//! ```
//! // An epoch on a fifth of 289 batches (DASH, section 15.2), and one on all of them.
//! assert_eq!(dash_train::steps_per_epoch(289, 0.2), 58);
//! assert_eq!(dash_train::steps_per_epoch(289, 1.0), 289);
//! ```

mod ahead;
mod augment;
mod blame;
mod checkpoint;
mod error;
mod evaluate;
mod gather;
mod history;
mod inputs;
mod manifest;
mod memory;
mod model;
mod resume;
mod retrain;
mod rollback;
mod stage;
mod trainer;

pub use blame::Cause;
pub use checkpoint::{write_checkpoint, write_json, write_tensors};
pub use dash_kernels::open as open_card;
pub use error::Error;
pub use evaluate::{evaluate, watch};
pub use history::{Series, read_history, write_history, write_table};
pub use inputs::{read_architecture, read_hyperparameters};
pub use memory::{Outlook, device_name, free_memory, training_bytes};
pub use model::Model;
pub use resume::{Best, Checkpoints, Limits, Position, Progress, Saved, Total};
pub use retrain::{MetricValue, Metrics, retrain};
pub use rollback::Recovery;
pub use stage::{Stage, StageContext};
pub use trainer::{Now, Trainer, steps_per_epoch};
