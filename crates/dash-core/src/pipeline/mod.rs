//! The types of a pipeline file. Every key has a documented meaning and a default that is the
//! published protocol's value where there is one.

mod augment;
mod dataset;
mod loss;
mod metric;
mod model;
mod stages;
mod task;
mod vocabulary;

pub use augment::{Augment, AugmentSpec, Mask};
pub use dataset::*;
pub use loss::{Loss, LossSpec};
pub use metric::{Metric, MetricSpec, Scale};
pub use model::{Backbone, BackboneSpec, Candidate};
pub use stages::{OnDivergence, ReceptiveFieldPenalty, Retrain, Schedule, Search, Tune};
pub use task::{Task, Window};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

/// One task with everything that is done to it: the effective configuration, profiles and
/// overrides applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Name of the pipeline; names its run folder and its report.
    pub name: String,
    /// Seeds of the runs; one run per seed.
    #[serde(default = "default::seeds")]
    pub seeds: Vec<u64>,
    /// Which data selection may see.
    #[serde(default)]
    pub protocol: Protocol,
    /// How networks are obtained; results are reported per method.
    #[serde(default = "default::methods")]
    pub methods: Vec<Method>,
    /// Where the data comes from.
    pub dataset: Dataset,
    /// What is learned and how it is scored.
    pub task: Task,
    /// The architecture search.
    #[serde(default)]
    pub search: Search,
    /// Hyperparameter tuning.
    #[serde(default)]
    pub tune: Tune,
    /// Training of the final network.
    #[serde(default)]
    pub retrain: Retrain,
    /// Whether NVIDIA cards multiply matrices with factors rounded to 10 bits (TF32): faster, and less exact. The
    /// CPU never does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tf32: bool,
    /// The profile that was applied; part of the names of run folders and reports.
    #[serde(skip)]
    pub profile: Option<String>,
    /// The overrides that were applied, each `KEY=VALUE`.
    #[serde(skip)]
    pub overrides: Vec<String>,
}

impl Pipeline {
    /// The name of the run folder and of the report: `NAME`, or `NAME@PROFILE`, so that runs with a profile never
    /// replace those without one.
    pub fn run_name(&self) -> String {
        match &self.profile {
            Some(profile) => format!("{}@{profile}", self.name),
            None => self.name.clone(),
        }
    }

    /// Name of the task in result tables.
    pub fn task_name(&self) -> &str {
        self.task.name.as_deref().unwrap_or(self.dataset.recipe())
    }
}

/// A sweep file: other pipeline files, run together and reported together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Pipeline files, relative to the folder of the sweep file.
    pub include: Vec<PathBuf>,
    /// Seeds of all runs, instead of those of the pipeline files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Vec<u64>>,
    /// Name of the common report; by default the name of the sweep file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

/// Which data selection may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Three-way split: tuning and the choice of the checkpoint see only validation data.
    #[default]
    Strict,
    /// As published: train on train and validation data, report the last epoch; the best epoch on
    /// test data is shown under that name.
    Paper,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Strict => "strict",
            Protocol::Paper => "paper",
        })
    }
}

/// How a network is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Architecture search, then tuning and retraining of the found network.
    Dash,
    /// The retraining backbone with its own kernels, tuned and trained in the same way.
    Backbone,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Dash => "dash",
            Method::Backbone => "backbone",
        })
    }
}

mod default {
    use super::Method;

    pub(super) fn seeds() -> Vec<u64> {
        vec![0]
    }
    pub(super) fn methods() -> Vec<Method> {
        vec![Method::Dash]
    }
}
