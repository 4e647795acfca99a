//! Turns results into statistics, tables, figures and an HTML page. It does no I/O: values in, bytes out.
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
mod input;
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
pub use input::{Artifact, PipelineConfig, ReportInput};
pub use summary::{SummaryRow, start, summary};

/// Renders all files of a report: `index.html`, `results.json`, `results.csv`, `results.parquet`,
/// `results.md`, `results.tex`, and `figures/*.svg`. Equal inputs give equal bytes.
///
/// `results.json` holds the rows as serde serialises them. JSON has no NaN and no infinity, so such a value is `null`
/// there; CSV and Parquet keep `NaN`, `inf` and `-inf`. A missing value, time or provenance is `null` in JSON and
/// Parquet, an empty field in CSV, and a dash in tables; `status` and `reason` say why a value is missing.
///
/// # Errors
/// If there are no rows, a row or the details of a run are given twice, a metric has two directions, or an architecture
/// contradicts itself.
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
