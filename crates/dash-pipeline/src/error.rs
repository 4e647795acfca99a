//! Defines the errors of pipelines and of single stages.

use dash_core::{
    error::{Classify, ErrorKind},
    stage::{RunId, Stage},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{fmt, path::PathBuf};

/// Failures of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Files of a run cannot be read or written, or another process holds them.
    #[error(transparent)]
    Store(#[from] dash_store::Error),
    /// A configuration cannot be written as a pipeline file.
    #[error(transparent)]
    Configuration(#[from] dash_core::load::Error),
    /// Two pipelines of a set would share their run folders.
    #[error("two pipelines are named {name:?}")]
    SameName {
        /// The name.
        name: String,
    },
    /// A report would replace a folder that is not a report.
    #[error("{path} holds files that are not a report of dash-nas", path = path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// No pipeline has a result to report.
    #[error("no finished stage of {names} fits its present configuration")]
    NoResults {
        /// Names of the pipelines.
        names: String,
    },
    /// There are no runs of a pipeline with this name.
    #[error("there are no runs of {name:?}")]
    NoRuns {
        /// The requested name.
        name: String,
    },
    /// The pipeline has no such stage.
    #[error("the pipeline has no stage {name:?}")]
    NoStage {
        /// The requested name.
        name: String,
        /// The stages of the pipeline.
        known: Vec<Stage>,
    },
    /// The device cannot be used.
    #[error("cannot use the device {name}: {reason}")]
    Device {
        /// The requested device.
        name: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// Stages failed.
    #[error("{}", .0.iter().map(Failure::to_string).collect::<Vec<_>>().join("\n"))]
    Stages(Vec<Failure>),
    /// The run was asked to stop and can be resumed.
    #[error("stopped at a checkpoint")]
    Stopped,
    /// The inputs of a stage cannot be read, so that it cannot be planned.
    #[error(transparent)]
    Input(Failure),
    /// A value of this program cannot be written as JSON.
    #[error("cannot write {what} as JSON: {source}")]
    Json {
        /// What the value is.
        what: &'static str,
        /// The serializer's error.
        source: serde_json::Error,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Store(e) => e.kind(),
            Error::Configuration(e) => e.kind(),
            Error::SameName { .. } => ErrorKind::Configuration,
            Error::NoResults { .. } => ErrorKind::Data,
            Error::Occupied { .. } | Error::Device { .. } => ErrorKind::Device,
            Error::NoStage { .. } | Error::NoRuns { .. } => ErrorKind::Usage,
            Error::Stages(failures) => common_kind(failures),
            Error::Stopped => ErrorKind::Stopped,
            Error::Input(failure) => failure.kind,
            Error::Json { .. } => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Store(e) => e.hint(),
            Error::Configuration(e) => e.hint(),
            Error::SameName { .. } => Some("give each pipeline file its own `name`".into()),
            Error::Occupied { .. } => Some("choose another --reports-dir, or move that folder away".into()),
            Error::NoResults { .. } => Some("run the pipeline first: dash-nas run FILE".into()),
            Error::NoRuns { .. } => {
                Some("dash-nas status lists the runs; a profile is part of the name".into())
            }
            Error::NoStage { known, .. } => {
                let names: Vec<&str> = known.iter().map(|stage| stage.name()).collect();
                Some(format!("its stages are {}", names.join(", ")))
            }
            Error::Device { .. } => Some("--device cpu works everywhere".into()),
            Error::Stages(failures) => match failures.as_slice() {
                [one] => one.hint.clone(),
                many => {
                    let mut hints: Vec<&str> = many.iter().filter_map(|f| f.hint.as_deref()).collect();
                    hints.push("finished stages are kept; the same command tries the failed ones again");
                    let mut seen = std::collections::HashSet::new();
                    hints.retain(|hint| seen.insert(*hint));
                    Some(hints.join("\n"))
                }
            },
            Error::Stopped => Some("run the same command again to resume".into()),
            Error::Input(failure) => failure.hint.clone(),
            Error::Json { .. } => None,
        }
    }
}

/// The kind of all failures if it is the same and the user can fix it outside of the stages, whatever else the run
/// did; else [`ErrorKind::Stage`].
fn common_kind(failures: &[Failure]) -> ErrorKind {
    use ErrorKind::{Configuration, Data, Device, Locked};
    match failures {
        [first, rest @ ..]
            if matches!(first.kind, Configuration | Data | Device | Locked)
                && rest.iter().all(|failure| failure.kind == first.kind) =>
        {
            first.kind
        }
        _ => ErrorKind::Stage,
    }
}

/// Why a stage did not finish. `?` turns any classified error into [`StageError::Failed`].
#[derive(Debug)]
pub enum StageError {
    /// The stage was refused before it started: it would need more memory than is available.
    Refused(TooLarge),
    /// The work of the stage failed.
    Failed(Box<dyn Classify + Send + Sync>),
}

impl<E: Classify + Send + Sync + 'static> From<E> for StageError {
    fn from(cause: E) -> StageError {
        StageError::Failed(Box::new(cause))
    }
}

impl From<TooLarge> for StageError {
    fn from(cause: TooLarge) -> StageError {
        StageError::Refused(cause)
    }
}

/// A stage would need more memory than is available.
#[derive(Debug, thiserror::Error)]
#[error(
    "about {} MiB of {}memory would be needed with batches of {batch_size} samples, {} MiB are available",
    .needed >> 20, if *.on_gpu { "the GPU's " } else { "" }, .available >> 20
)]
pub struct TooLarge {
    /// Estimated peak memory in bytes.
    pub needed: u64,
    /// Available memory in bytes.
    pub available: u64,
    /// Samples per batch.
    pub batch_size: usize,
    /// The key of the pipeline file that sets the batch size.
    pub key: &'static str,
    /// Whether the memory is that of a GPU.
    pub on_gpu: bool,
    /// The largest batch size that would fit, if any.
    pub possible: Option<usize>,
}

impl TooLarge {
    fn hint(&self) -> String {
        let mut hint = match self.possible {
            Some(size) => format!("{} = {size} would fit", self.key),
            None => "choose a smaller network".to_owned(),
        };
        if !self.on_gpu {
            hint.push_str("; --memory sets how much may be used");
        }
        hint
    }
}

/// Errors of the stages' inputs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// A result file of an earlier stage cannot be read.
    #[error("cannot read {path}: {reason}", path = .path.display())]
    Unreadable { path: PathBuf, reason: String },
    /// A file of an earlier stage is not the one that the stage was planned with.
    #[error("{path} has changed since this stage was planned", path = .path.display())]
    Changed { path: PathBuf },
    /// A value would be shown beside an architecture that it does not belong to.
    #[error("the network that {stage} trained is not the one that the search found")]
    OtherNetwork { run: RunId, stage: Stage },
    /// A raw file cannot be hashed.
    #[error(transparent)]
    RawFile(dash_store::Error),
    /// The raw files of a dataset cannot be found.
    #[error(transparent)]
    Recipe(#[from] dash_recipes::Error),
    /// A stage was handed to an executor that does not run it.
    #[error("the executor does not run the stage {stage}")]
    Misplaced { stage: Stage },
}

impl Classify for InputError {
    fn kind(&self) -> ErrorKind {
        match self {
            // A raw file that cannot be read is missing data, whatever the reason.
            InputError::Unreadable { .. }
            | InputError::Changed { .. }
            | InputError::OtherNetwork { .. }
            | InputError::RawFile(_) => ErrorKind::Data,
            InputError::Recipe(e) => e.kind(),
            InputError::Misplaced { .. } => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            InputError::Unreadable { path, .. } => {
                Some(format!("delete {} and run again", path.parent().unwrap_or(path).display()))
            }
            InputError::Changed { .. } => Some(
                "run the same command again; stages that read the file will use its present content".into(),
            ),
            InputError::OtherNetwork { run, stage } => {
                Some(format!("run the pipeline again; the stage {stage} of {run} will be repeated"))
            }
            InputError::RawFile(_) => Some(
                "data/README.md says where the benchmark's files come from; `dataset.raw` names their folder"
                    .into(),
            ),
            InputError::Recipe(e) => e.hint(),
            InputError::Misplaced { .. } => None,
        }
    }
}

/// A stage that failed. Its cause is kept as text because it may come from another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Failure {
    /// The run that the stage belongs to.
    pub run: RunId,
    /// The stage.
    pub stage: Stage,
    /// The kind of the failure.
    pub kind: ErrorKind,
    /// The error message.
    pub message: String,
    /// What to do about it, if known.
    pub hint: Option<String>,
}

impl Failure {
    /// The failure of `stage` in `run` because of `cause`.
    pub fn new(run: &RunId, stage: Stage, cause: &dyn Classify) -> Failure {
        // Sources are appended unless the message contains them already, as that of transparent errors does.
        let mut message = cause.to_string();
        let mut source = cause.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = inner.source();
        }
        Failure { run: run.clone(), stage, kind: cause.kind(), message, hint: cause.hint() }
    }

    /// The failure of `stage` in `run` because of an error that its executor returned.
    pub(crate) fn of_stage(run: &RunId, stage: Stage, error: &StageError) -> Failure {
        match error {
            StageError::Failed(cause) => Failure::new(run, stage, cause.as_ref()),
            StageError::Refused(cause) => Failure {
                run: run.clone(),
                stage,
                kind: ErrorKind::Device,
                message: cause.to_string(),
                hint: Some(cause.hint()),
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} failed: {}", self.run, self.stage, self.message)
    }
}

impl std::error::Error for Failure {}
