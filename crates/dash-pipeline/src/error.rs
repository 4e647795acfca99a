//! What can go wrong with pipelines, and with one stage.

use dash_core::{
    error::{Classify, ErrorKind},
    stage::{RunId, Stage},
};
use std::fmt;

/// Failures of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Files of the run state.
    #[error(transparent)]
    Store(#[from] dash_store::Error),
    /// Making the report.
    #[error(transparent)]
    Report(#[from] dash_report::Error),
    /// A configuration cannot be written down again.
    #[error(transparent)]
    Configuration(#[from] dash_core::load::Error),
    /// Two pipelines of one batch would share their run folders.
    #[error("two pipelines are named {name:?}")]
    SameName {
        /// The name.
        name: String,
    },
    /// A report would replace a folder that is not a report.
    #[error("{path} holds files that are not a report of dash-nas", path = path.display())]
    Occupied {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// Nothing to report.
    #[error("no finished stage of {names} fits its present configuration")]
    NoResults {
        /// Names of the pipelines.
        names: String,
    },
    /// No run of a pipeline with this name exists.
    #[error("there are no runs of {name:?}")]
    NoRuns {
        /// The name asked for.
        name: String,
    },
    /// The pipeline has no such stage.
    #[error("there is no stage {name:?}")]
    UnknownStage {
        /// The name asked for.
        name: String,
        /// The stages there are.
        known: Vec<String>,
    },
    /// The device cannot be used.
    #[error("cannot use the device {name}: {reason}")]
    Device {
        /// As asked for.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Stages failed.
    #[error("{}", .0.iter().map(Failure::to_string).collect::<Vec<_>>().join("\n"))]
    Stages(Vec<Failure>),
    /// The run was asked to stop and can be gone on with.
    #[error("stopped at a checkpoint")]
    Stopped,
    /// A stage could not be planned because of its inputs.
    #[error(transparent)]
    Input(Failure),
    /// A value of this program could not be written as JSON.
    #[error("cannot write {what} as JSON: {source}")]
    Json {
        /// The value.
        what: &'static str,
        /// The serialiser's answer.
        source: serde_json::Error,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Store(e) => e.kind(),
            Error::Report(e) => e.kind(),
            Error::Configuration(e) => e.kind(),
            Error::SameName { .. } => ErrorKind::Configuration,
            Error::NoResults { .. } => ErrorKind::Data,
            Error::Occupied { .. } => ErrorKind::Device,
            Error::UnknownStage { .. } | Error::NoRuns { .. } => ErrorKind::Usage,
            Error::Device { .. } => ErrorKind::Device,
            Error::Stages(failures) => common_kind(failures),
            Error::Stopped => ErrorKind::Stopped,
            Error::Input(failure) => failure.kind,
            Error::Json { .. } => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Store(e) => e.hint(),
            Error::Report(e) => e.hint(),
            Error::Configuration(e) => e.hint(),
            Error::SameName { .. } => Some("give each pipeline file its own `name`".into()),
            Error::Occupied { .. } => Some("choose another --reports-dir, or move that folder away".into()),
            Error::NoResults { .. } => Some("run the pipeline first: dash-nas run FILE".into()),
            Error::NoRuns { .. } => {
                Some("dash-nas status lists the runs; a profile is part of the name".into())
            }
            Error::UnknownStage { known, .. } => Some(format!("the stages are {}", known.join(", "))),
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
            Error::Stopped => Some("run the same command to go on".into()),
            Error::Input(failure) => failure.hint.clone(),
            Error::Json { .. } => None,
        }
    }
}

/// The kind of all failures, if it is the same and one that the user can mend outside of the stages; what
/// else the run did does not matter.
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

/// One stage that failed. The cause has become text: it may come from another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The run that the stage belongs to.
    pub run: RunId,
    /// The stage.
    pub stage: Stage,
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// The failure of `stage` in `run` because of `cause`.
    pub fn new(run: &RunId, stage: Stage, cause: &dyn Classify) -> Failure {
        // Sources are added unless the message already tells them, as transparent errors do.
        let mut message = cause.to_string();
        let mut source = cause.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = inner.source();
        }
        let (kind, hint) = (cause.kind(), cause.hint());
        Failure { run: run.clone(), stage, kind, message, hint }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} failed: {}", self.run, self.stage, self.message)
    }
}

impl std::error::Error for Failure {}
