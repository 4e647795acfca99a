//! Describes what can go wrong when a report is made.

use dash_core::error::{Classify, ErrorKind};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No result rows were given.
    #[error("there are no results to report")]
    Empty,
    /// A result is given twice; its seed would be counted twice.
    #[error("this result is given twice: {row}")]
    DuplicateRow {
        /// The key of the row in words.
        row: String,
    },
    /// A metric has two directions.
    #[error(
        "metric {metric:?} of task {task:?} (pipeline {pipeline:?}) is `lower_is_better` in some result rows and not in others"
    )]
    Direction {
        /// Name of the pipeline.
        pipeline: String,
        /// Name of the task.
        task: String,
        /// Name of the metric.
        metric: String,
    },
    /// The details of a run are given twice.
    #[error("these details are given twice: {detail}")]
    DuplicateDetail {
        /// The key of the details in words.
        detail: String,
    },
    /// An architecture contradicts itself or cannot be drawn.
    #[error("run {run:?}: architecture: {problem}")]
    Architecture {
        /// Folder of the run.
        run: String,
        /// What is wrong, with the layer where it is wrong.
        problem: String,
    },
    /// Computing the statistics failed.
    #[error("statistics: {0}")]
    Statistics(#[from] polars::error::PolarsError),
    /// `results.csv` could not be encoded.
    #[error("results.csv: {0}")]
    Csv(#[from] csv::Error),
    /// `results.json` could not be encoded.
    #[error("results.json: {0}")]
    Json(#[from] serde_json::Error),
    /// `results.parquet` could not be encoded.
    #[error("results.parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The columns of `results.parquet` do not fit its schema.
    #[error("results.parquet: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The page could not be rendered.
    #[error("index.html: {0}")]
    Page(#[from] minijinja::Error),
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Empty
            | Error::DuplicateRow { .. }
            | Error::Direction { .. }
            | Error::DuplicateDetail { .. }
            | Error::Architecture { .. } => ErrorKind::Data,
            _ => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Empty => "run a pipeline until its retraining is finished, then report it".to_owned(),
            Error::DuplicateRow { .. } | Error::DuplicateDetail { .. } => {
                "give each run once: a copy of a run would count as a second measurement".to_owned()
            }
            Error::Direction { .. } => {
                "rows of different versions of dash-nas cannot be compared; run the pipeline again".to_owned()
            }
            Error::Architecture { run, .. } => {
                format!(
                    "the search results of {run:?} are damaged or were written by another version; run the search again"
                )
            }
            _ => return None,
        })
    }
}
