//! The training loop that search, tuning and retraining share: [`fit`] with its hooks, checkpoints, prediction and
//! evaluation, histories, memory estimates.
//!
//! ```
//! use dash_train::Sampling;
//!
//! // An epoch on a fifth of 289 batches of 64 samples (DASH, section 15.2), and one on all of them.
//! let sampling = |fraction| Sampling { batch_size: 64, fraction };
//! assert_eq!(sampling(0.2).steps(289 * 64), 58);
//! assert_eq!(sampling(1.0).steps(289 * 64), 289);
//! ```

mod augment;
mod batches;
mod cause;
mod checkpoints;
mod context;
mod error;
mod evaluate;
mod fit;
mod gather;
mod history;
mod hooks;
mod inputs;
mod manifest;
mod memory;
mod prefetch;
mod recovery;
mod stage;
mod state;
mod tensors;
mod trainer;

pub use batches::Sampling;
pub use cause::Cause;
pub use checkpoints::{Checkpoint, CheckpointStats, Checkpoints};
pub use context::StageContext;
pub use error::Error;
pub use evaluate::{evaluate, evaluate_interruptible, predict};
pub use fit::{fit, resume};
pub use history::{HistorySeries, read_history, write_history, write_table};
pub use hooks::FitHooks;
pub use inputs::{read_architecture, read_hyperparameters};
pub use memory::{MemoryEstimate, estimate_memory, training_bytes};
pub use stage::TrainingStage;
pub use state::{BestModel, StageState, StoredState, TrainingPosition};
pub use tensors::{write_json, write_tensors};
pub use trainer::{TrainOptions, Trainer};
