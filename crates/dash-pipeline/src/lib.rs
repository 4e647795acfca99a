//! Pipelines: plans which stages must run and why, runs them, and collects their results.
//!
//! A stage is identified by a fingerprint of exactly the settings that it depends on and of the content of what it reads.
//! Results that were finished with the same fingerprint and are undamaged are reused.
//!
//! ```
//! use dash_pipeline::{Engine, Folders, RunSet};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = r#"
//! name = "tiny"
//! methods = ["backbone"]
//! dataset = { recipe = "darcy-flow", simulate = { grid = 21 }, subsample = 2 }
//! task = { loss = { kind = "relative-l2" }, metric = { kind = "relative-l2" } }
//! "#;
//! let runs = RunSet::one(dash_core::load::pipeline("tiny.toml", text, None, &[])?);
//! let engine = Engine::new(Folders::new("runs-that-do-not-exist", "reports-that-do-not-exist"));
//! let names: Vec<&str> = engine.plan(&runs)?.iter().map(|planned| planned.stage.name()).collect();
//! assert_eq!(names, ["dataset", "backbone-tune", "backbone-retrain", "report"]);
//! # Ok(())
//! # }
//! ```

mod attempts;
mod collect;
mod config;
mod contents;
mod device;
mod engine;
mod error;
mod executor;
mod folders;
mod graph;
mod host;
mod inputs;
mod locks;
mod memory;
mod outcome;
pub mod output;
mod plan;
mod planned;
mod progress;
mod report;
mod run;
mod status;
mod superseded;
mod training;

pub use attempts::Attempts;
pub use dash_core::stage::{RunId, Stage};
pub use dash_nn::Backend;
pub use device::DeviceChoice;
pub use engine::Engine;
pub use error::{Error, Failure, StageError, TooLarge};
pub use executor::{Executor, LocalExecutor, StageJob, StageRunner, StageSummary};
pub use folders::Folders;
pub use graph::RunSet;
pub use outcome::{RunOutcome, StepOutcome, StepResult};
pub use planned::{Action, Planned};
pub use progress::StageProgress;
pub use status::{RunStatus, StageStatus};
pub use superseded::Superseded;
pub use training::TrainingRunner;
