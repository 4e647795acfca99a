//! Errors that the program prints.

use crate::log::LogFailure;
use dash_core::error::{Classify, ErrorKind};
use dash_data::Checked;
use std::{io, path::PathBuf};

/// Failures of the program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A pipeline file cannot be read. It counts as a bad pipeline file, exit code 3.
    #[error("cannot read the pipeline file {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: a sweep cannot include the sweep {inner}", path = path.display(), inner = inner.display())]
    Nested { path: PathBuf, inner: PathBuf },
    #[error(transparent)]
    Load(#[from] dash_core::load::Error),
    #[error(transparent)]
    Pipeline(#[from] dash_pipeline::Error),
    #[error(transparent)]
    Bench(#[from] dash_bench::Error),
    #[error(transparent)]
    Report(#[from] dash_report::Error),
    #[error(transparent)]
    Store(#[from] dash_store::Error),
    #[error(transparent)]
    Data(#[from] dash_data::Error),
    #[error(transparent)]
    Recipe(#[from] dash_recipes::Error),
    /// The requested instruction set cannot be used.
    #[error(transparent)]
    InstructionSet(#[from] dash_conv::Error),
    /// The dataset of a pipeline does not exist yet.
    #[error("{folder}: there is no dataset of {file} yet", folder = folder.display(), file = file.display())]
    NoDataset { folder: PathBuf, file: PathBuf },
    /// Files differ from their recorded hashes.
    #[error("{}", .files.iter().map(damage).collect::<Vec<_>>().join("\n"))]
    Damaged { files: Vec<Checked> },
    /// A PNG file would be too large.
    #[error("{count} samples are too many for the PNG file {}", file.display())]
    TooManySamples { count: usize, file: PathBuf },
    /// Results that the pipelines ask for are missing, which is an error with `--strict`.
    #[error("{missing} {} missing", if *.missing == 1 { "result is" } else { "results are" })]
    Missing { missing: usize },
    #[error("the system refuses to start {threads} more threads: {source}")]
    Threads { threads: usize, source: io::Error },
    /// Records are missing in a log file; the results are complete.
    #[error(transparent)]
    Log(#[from] LogFailure),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

fn damage(file: &Checked) -> String {
    format!("{}: {}", file.path.display(), file.problem.as_deref().unwrap_or("damaged"))
}

impl Error {
    fn classified(&self) -> Option<&dyn Classify> {
        match self {
            Error::Load(e) => Some(e),
            Error::Pipeline(e) => Some(e),
            Error::Bench(e) => Some(e),
            Error::Report(e) => Some(e),
            Error::Store(e) => Some(e),
            Error::Data(e) => Some(e),
            Error::Recipe(e) => Some(e),
            _ => None,
        }
    }

    /// Whether the reader of standard output has closed it, as in `dash-nas schema | head`.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        match self {
            Error::Output(e) => e.kind() == io::ErrorKind::BrokenPipe,
            Error::Json(e) => e.io_error_kind() == Some(io::ErrorKind::BrokenPipe),
            _ => false,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Read { .. } | Error::Nested { .. } => ErrorKind::Configuration,
            Error::TooManySamples { .. } | Error::InstructionSet(_) => ErrorKind::Usage,
            Error::Threads { .. } | Error::Log(_) | Error::Output(_) => ErrorKind::Device,
            Error::NoDataset { .. } | Error::Damaged { .. } => ErrorKind::Data,
            Error::Missing { .. } => ErrorKind::Stage,
            Error::Json(_) => ErrorKind::Internal,
            other => other.classified().map_or(ErrorKind::Internal, Classify::kind),
        }
    }

    fn place(&self) -> Option<String> {
        let shown = |path: &PathBuf| Some(path.display().to_string());
        match self {
            Error::Read { path, .. } | Error::Nested { path, .. } => shown(path),
            Error::NoDataset { folder, .. } => shown(folder),
            Error::TooManySamples { file, .. } => shown(file),
            Error::Log(failure) => shown(&failure.path),
            other => other.classified().and_then(Classify::place),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("pipeline files of the benchmark are in pipelines/".into())
            }
            Error::Nested { .. } => Some("list its pipeline files instead".into()),
            Error::NoDataset { file, .. } => {
                Some(format!("make it: dash-nas data ingest {}", file.display()))
            }
            Error::Missing { .. } => Some("the report and its results files say which results are missing, and why".into()),
            Error::TooManySamples { .. } => Some("lower --count, or choose an SVG file".into()),
            Error::Threads { .. } => Some(
                "lower --threads, or raise the limit of processes and threads: `ulimit -u`, or that of the container"
                    .into(),
            ),
            Error::Log(_) => Some("the results are complete; only these records are missing".into()),
            Error::InstructionSet(_) => {
                Some("unset DASH_NAS_ISA; the fastest instruction set is chosen, with the same results".into())
            }
            Error::Damaged { .. } => {
                Some("remove the dataset folder and make it again from intact raw files".into())
            }
            other => other.classified().and_then(Classify::hint),
        }
    }
}
