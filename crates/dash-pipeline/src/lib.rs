//! Pipelines -> graph of stages -> results: what must run and why, running it, collecting it.
//!
//! A stage is known by the fingerprint of exactly the settings that it depends on and of the content of what it
//! reads. What was finished with the same fingerprint and is undamaged is not run again.
//!
//! ```
//! use dash_pipeline::{RunSet, Folders, plan};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = r#"
//! name = "tiny"
//! methods = ["backbone"]
//! dataset = { recipe = "darcy-flow", simulate = { grid = 21 }, subsample = 2 }
//! task = { loss = { kind = "relative-l2" }, metric = { kind = "relative-l2" } }
//! "#;
//! let batch = RunSet::one(dash_core::load::pipeline("tiny.toml", text, None, &[])?);
//! let folders = Folders::new("runs-that-do-not-exist", "reports-that-do-not-exist");
//! let names: Vec<String> = plan(&batch, &folders)?.into_iter().map(|p| p.stage).collect();
//! assert_eq!(names, ["dataset", "backbone-tune", "backbone-retrain", "report"]);
//! # Ok(())
//! # }
//! ```

mod attempts;
mod collect;
mod config;
mod contents;
mod device;
mod error;
mod executor;
mod graph;
mod machine;
mod outlook;
mod plan;
mod progress;
mod report;
mod run;
mod status;
mod superseded;
mod work;

pub use attempts::Attempts;
pub use candle_core::Device;
pub use device::DeviceChoice;
pub use error::{Error, Failure};
pub use executor::{Done, Executor, LocalExecutor, StageJob, StageRunner};
pub use graph::{Folders, RunSet, Stage};
pub use plan::{Action, Planned, plan};
pub use progress::StageProgress;
pub use report::report;
pub use run::{RunOutcome, ingest, run};
pub use status::{RunStatus, StageStatus, status};
pub use superseded::{Superseded, prune};
pub use work::Training;
