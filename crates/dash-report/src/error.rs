//! What can go wrong while a report is made.

use dash_core::error::{Classify, ErrorKind};

/// Failures of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No result rows were given.
    #[error("there is nothing to report: no result rows were given")]
    Empty,
    /// A seed would be counted twice.
    #[error("result given twice: {row}")]
    DuplicateRow {
        /// The key of the row in words.
        row: String,
    },
    /// One metric with two directions.
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
    /// Details of one run were given twice.
    #[error("details given twice: {detail}")]
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
    /// The grouping failed.
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
            Error::Empty => "run a pipeline to the end of its retraining, then report it".to_owned(),
            Error::DuplicateRow { .. } | Error::DuplicateDetail { .. } => {
                "give each run once; two copies of one run cannot be told from two measurements".to_owned()
            }
            Error::Direction { .. } => {
                "rows written by different versions cannot be compared; run the pipeline again".to_owned()
            }
            Error::Architecture { run, .. } => {
                format!("the search of {run:?} is damaged or of another version; search again")
            }
            _ => return None,
        })
    }
}
