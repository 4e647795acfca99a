//! The epoch loop that every stage shares, and what follows from it: evaluation, checkpoints,
//! retraining.
//!
//! ```
//! // An epoch on a fifth of 289 batches (DASH, section 15.2), and one on all of them.
//! assert_eq!(dash_train::steps_per_epoch(289, 0.2), 58);
//! assert_eq!(dash_train::steps_per_epoch(289, 1.0), 289);
//! ```

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
mod prefetch;
mod resume;
mod retrain;
mod rollback;
mod stage;
mod trainer;

pub use blame::Cause;
pub use checkpoint::{write_checkpoint, write_json, write_tensors};
pub use dash_cuda::open as open_gpu;
pub use error::Error;
pub use evaluate::{evaluate, evaluate_interruptible};
pub use history::{HistorySeries, read_history, write_history, write_table};
pub use inputs::{read_architecture, read_hyperparameters};
pub use memory::{MemoryEstimate, device_name, free_memory, training_bytes};
pub use model::ModelManifest;
pub use resume::{
    BestModel, CheckpointState, CheckpointStats, Checkpoints, Limits, LoadedCheckpoint, TrainingPosition,
};
pub use retrain::{MetricValue, Metrics, retrain};
pub use rollback::Recovery;
pub use stage::{StageContext, TrainingStage};
pub use trainer::{StepState, Trainer, steps_per_epoch};
