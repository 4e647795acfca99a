//! Declares the types of a pipeline file. Their documentation becomes the descriptions of the JSON schema, which editors show.
//! Defaults are the values of the DASH paper where it has one.

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

/// A pipeline: one task, and how networks for it are searched, tuned, trained and evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Name of the pipeline, of its run folder and of its report.
    pub name: String,
    /// Random seeds; there is one run per seed.
    #[serde(default = "default::seeds")]
    pub seeds: Vec<u64>,
    /// The evaluation protocol: which data tuning and model selection may use.
    #[serde(default)]
    pub protocol: Protocol,
    /// The methods to compare.
    #[serde(default = "default::methods")]
    pub methods: Vec<Method>,
    /// The data.
    pub dataset: Dataset,
    /// What is learned and how it is evaluated.
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
    /// Whether NVIDIA GPUs multiply matrices in TensorFloat-32 (TF32), which is faster and less precise. It has no effect
    /// on the CPU.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tf32: bool,
    /// The profile that was applied. It is part of the names of run folders and reports.
    #[serde(skip)]
    pub profile: Option<String>,
    /// The overrides that were applied, as `KEY=VALUE`.
    #[serde(skip)]
    pub overrides: Vec<String>,
}

impl Pipeline {
    /// The name of the run folder and of the report: `NAME`, or `NAME@PROFILE` so that runs with a profile do not replace
    /// those without one.
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

/// A sweep file: several pipelines that are run together and reported together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Pipeline files, relative to the folder of the sweep file.
    pub include: Vec<PathBuf>,
    /// Random seeds for all pipelines, in place of those of the pipeline files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Vec<u64>>,
    /// Name of the common report; the name of the sweep file by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

/// The evaluation protocol: which data tuning and model selection may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Three-way split: hyperparameters and the reported epoch are selected on validation data.
    #[default]
    Strict,
    /// As in the DASH paper: the final network is trained on training and validation data, and the last epoch is
    /// reported. The best epoch on test data is reported separately, under that name.
    Paper,
}

impl Protocol {
    /// What the protocol prescribes, for readers of a report.
    pub fn description(self) -> &'static str {
        match self {
            Protocol::Strict => {
                "The data is split into training, validation and test samples once. Hyperparameters and the reported \
                 epoch are selected on validation data; test data is used only for the reported value."
            }
            Protocol::Paper => {
                "As in the published experiments: the final network is trained on training and validation data, and \
                 the last epoch is reported. A value named best-on-test was selected on test data and is optimistic."
            }
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Strict => "strict",
            Protocol::Paper => "paper",
        })
    }
}

/// A method: how a network is obtained. Reports compare methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Architecture search, then tuning and retraining of the network with the found pattern.
    Dash,
    /// The retraining backbone with its own kernels, tuned and trained in the same way, without a search.
    Backbone,
}

impl Method {
    /// How the method obtains a network, for readers of a report.
    pub fn description(self) -> &'static str {
        match self {
            Method::Dash => {
                "DASH: an architecture search chooses the kernel size and the dilation of every convolution; the \
                 resulting network is tuned, and trained from newly initialised weights."
            }
            Method::Backbone => {
                "The same backbone with its own kernels, without a search; tuned and trained in the same way."
            }
        }
    }
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
