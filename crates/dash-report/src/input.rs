//! Describes the input of a report and the files that come out.

use dash_core::results::{ResultRow, RunDetail};

/// The content of a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportInput {
    /// Name of the report, which is its heading.
    pub name: String,
    /// UTC date and time of the report, as text.
    pub generated: String,
    /// Version of the program that makes the report.
    pub version: String,
    /// The values that pipelines ask for, missing ones included; at least one.
    pub rows: Vec<ResultRow>,
    /// Patterns, hyperparameters, histories and provenance: at most one entry per run and method. Rows without details
    /// are reported too.
    pub details: Vec<RunDetail>,
    /// Important remarks, a sentence each, shown at the top.
    pub notes: Vec<String>,
    /// Effective configurations for the appendix.
    pub configs: Vec<PipelineConfig>,
}

/// The effective configuration of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineConfig {
    /// Name of the pipeline.
    pub pipeline: String,
    /// The configuration as TOML, profiles and overrides applied.
    pub toml: String,
}

/// A file of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Path below the report's folder. It has only the characters `a` to `z`, `0` to `9`, `-`, `.` and `/`, whatever
    /// the names of tasks.
    pub path: String,
    /// Content of the file.
    pub bytes: Vec<u8>,
}
