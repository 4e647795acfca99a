//! The names of what runs: stages of a pipeline, and runs.

use crate::pipeline::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::{borrow::Cow, fmt};

/// A stage of a pipeline. Data files and events hold its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Converts raw files to Parquet; shared by all seeds.
    Dataset,
    /// Searches the architecture.
    Search,
    /// Tunes the hyperparameters of a method.
    Tune(Method),
    /// Trains and tests the final network of a method.
    Retrain(Method),
    /// Writes the report over all seeds and methods.
    Report,
}

impl Stage {
    /// All stages in the order in which they run.
    pub const ALL: [Stage; 7] = [
        Stage::Dataset,
        Stage::Search,
        Stage::Tune(Method::Dash),
        Stage::Retrain(Method::Dash),
        Stage::Tune(Method::Backbone),
        Stage::Retrain(Method::Backbone),
        Stage::Report,
    ];

    /// The stage with this name, if there is one.
    pub fn named(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// The name in messages and data files, which is also the name of the stage's folder.
    ///
    /// ```
    /// use dash_core::{pipeline::Method, stage::Stage};
    /// assert_eq!(Stage::Tune(Method::Dash).name(), "tune");
    /// assert_eq!(Stage::Retrain(Method::Backbone).name(), "backbone-retrain");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Stage::Dataset => "dataset",
            Stage::Search => "search",
            Stage::Tune(Method::Dash) => "tune",
            Stage::Tune(Method::Backbone) => "backbone-tune",
            Stage::Retrain(Method::Dash) => "retrain",
            Stage::Retrain(Method::Backbone) => "backbone-retrain",
            Stage::Report => "report",
        }
    }

    /// Whether the stage trains networks. Such a stage takes checkpoints and can be stopped and resumed.
    pub fn is_training(self) -> bool {
        matches!(self, Stage::Search | Stage::Tune(_) | Stage::Retrain(_))
    }

    /// Whether the stage consists of trials.
    pub fn is_tuning(self) -> bool {
        matches!(self, Stage::Tune(_))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl JsonSchema for Stage {
    fn schema_name() -> Cow<'static, str> {
        "Stage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Stage::ALL.map(Stage::name) })
    }
}

/// Names a run: one pipeline with one seed, or what all seeds of a pipeline share. Data files and events hold its
/// text, `<pipeline>/<seed>` or `<pipeline>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunId {
    /// Name of the pipeline, `NAME@PROFILE` if a profile was applied.
    pub pipeline: String,
    /// Seed of the run; `None` for what all seeds share.
    pub seed: Option<u64>,
}

impl RunId {
    /// The run of `pipeline` with `seed`, or what all its seeds share.
    ///
    /// ```
    /// use dash_core::stage::RunId;
    /// assert_eq!(RunId::new("ecg@smoke", Some(3)).to_string(), "ecg@smoke/3");
    /// assert_eq!(RunId::new("ecg", None).to_string(), "ecg");
    /// ```
    pub fn new(pipeline: impl Into<String>, seed: Option<u64>) -> RunId {
        RunId { pipeline: pipeline.into(), seed }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seed {
            Some(seed) => write!(f, "{}/{seed}", self.pipeline),
            None => f.write_str(&self.pipeline),
        }
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for RunId {
    fn schema_name() -> Cow<'static, str> {
        "RunId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let description = "A run, `<pipeline>/<seed>`, or what all seeds of a pipeline share, `<pipeline>`.";
        json_schema!({ "type": "string", "description": description })
    }
}
