//! Results -> statistics, tables, figures, one HTML page. No I/O: values in, bytes out.
//!
//! ```
//! use dash_core::{pipeline::{Method, Protocol}, results::{ResultRow, StageSeconds, Status}};
//! use dash_report::{ReportInput, render, summary};
//!
//! let row = |seed, value| ResultRow {
//!     pipeline: "quickstart".into(),
//!     task: "darcy-flow".into(),
//!     method: Method::Dash,
//!     seed,
//!     protocol: Protocol::Strict,
//!     metric: "relative-l2".into(),
//!     value: Some(value),
//!     lower_is_better: true,
//!     split: "test".into(),
//!     primary: true,
//!     status: Status::Done,
//!     reason: None,
//!     params: Some(174_657),
//!     stage_seconds: StageSeconds { search: Some(41.0), tune: Some(20.5), retrain: Some(63.2) },
//!     run: format!("quickstart/{seed}"),
//!     dataset: None,
//!     fingerprint: None,
//!     provenance: None,
//! };
//! let input = ReportInput {
//!     name: "quickstart".into(),
//!     rows: vec![row(0, 0.04), row(1, 0.05)],
//!     ..ReportInput::default()
//! };
//! assert_eq!(summary(&input.rows)?[0].spread(), "0.0450 ± 0.0071");
//! assert_eq!(render(&input)?[0].path, "index.html");
//! # Ok::<(), dash_report::Error>(())
//! ```

pub mod chart;
mod check;
mod document;
mod error;
mod escape;
mod figure;
mod latex;
mod markdown;
pub mod number;
mod page;
pub mod samples;
mod summary;
mod table;
mod tidy;
mod words;

pub use error::Error;
pub use summary::{SummaryRow, start, summary};

use dash_core::results::{ResultRow, RunDetail};

/// Everything that a report is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportInput {
    /// Name of the report, its heading.
    pub name: String,
    /// UTC date and time at which the report is made, as text.
    pub generated: String,
    /// Version of the program that makes the report.
    pub version: String,
    /// The values that pipelines ask for, the missing ones included; at least one.
    pub rows: Vec<ResultRow>,
    /// Patterns, hyperparameters, histories and provenance, at most one per run and method. Rows
    /// without details are reported all the same.
    pub details: Vec<RunDetail>,
    /// Sentences that a reader must know, shown at the top.
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
    /// Path below the report's folder, with `/`. Only letters a to z, digits, `-`, `.` and `/`,
    /// whatever tasks are called.
    pub path: String,
    /// Content of the file.
    pub bytes: Vec<u8>,
}

/// Makes all files of a report: `index.html`, `results.json`, `results.csv`, `results.parquet`,
/// `results.md`, `results.tex`, and `figures/*.svg`. Equal inputs give equal bytes.
///
/// `results.json` is the rows as serde writes them. Where a value is NaN or infinite it holds
/// `null`, for JSON has no such numbers; CSV and Parquet keep `NaN`, `inf` and `-inf`. A value, a time or a
/// provenance that does not exist is `null` in JSON and Parquet and an empty field in CSV, a dash in tables;
/// `status` and `reason` say why a value does not exist.
///
/// # Errors
/// No rows; a row or the details of a run given twice; a metric with two directions; an
/// architecture that contradicts itself.
pub fn render(input: &ReportInput) -> Result<Vec<Artifact>, Error> {
    let summary = summary(&input.rows)?;
    check::details(&input.details)?;
    let document = document::build(input, &summary);
    let file = |path: &str, bytes: Vec<u8>| Artifact { path: path.to_owned(), bytes };
    let mut artifacts = vec![
        file("index.html", page::render(&document)?.into_bytes()),
        file("results.json", tidy::json(&input.rows)?),
        file("results.csv", tidy::csv(&input.rows)?),
        file("results.parquet", tidy::parquet(&input.rows)?),
        file("results.md", markdown::render(&document).into_bytes()),
        file("results.tex", latex::render(&document).into_bytes()),
    ];
    let figures = document.sections.iter().flat_map(|s| &s.figures);
    artifacts.extend(figures.map(|f| file(&f.file, f.drawing.standalone(&f.alt))));
    Ok(artifacts)
}
