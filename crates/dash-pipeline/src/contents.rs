//! What stages read of each other, known by its content.

use crate::{
    error::Failure,
    graph::{Node, Stage},
};
use dash_core::pipeline::Pipeline;
use dash_store::HashMemo;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// SHA-256 of each input, by a name that says nothing about where it is.
pub(crate) type Contents = BTreeMap<String, String>;

/// Name of the dataset among the inputs of a stage.
pub(crate) const DATASET: &str = "dataset";

/// The file that later stages read of a stage, if it is one file.
pub(crate) fn file_of(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Search => Some("architecture.json"),
        Stage::Tune(_) => Some("hyperparameters.json"),
        Stage::Dataset | Stage::Retrain(_) | Stage::Report => None,
    }
}

/// Name of that file among the inputs of a later stage.
pub(crate) fn name_of(stage: Stage, file: &str) -> String {
    format!("{}/{file}", stage.name())
}

/// Who reads the results of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A later stage of the run.
    Stage,
    /// A report, which shows the records, too: times, device, program.
    Report,
}

/// Adds what `reader` reads of the finished stage `node`, whose results are in `dir`.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn add(
    inputs: &mut Contents,
    reader: Reader,
    node: &Node,
    dir: &Path,
    hashes: &HashMemo,
) -> Result<(), crate::Error> {
    let (name, hash) = match (reader, node.stage, file_of(node.stage)) {
        (Reader::Report, ..) => (node.name_among_runs(), hashes.hash(&dir.join(dash_store::RECORD_FILE))?),
        (_, Stage::Dataset, _) => {
            (DATASET.to_owned(), dash_data::dataset_content(dir).map_err(|e| failed(node, &e))?)
        }
        (_, stage, Some(file)) => (name_of(stage, file), hashes.hash(&dir.join(file))?),
        (_, _, None) => return Ok(()),
    };
    inputs.insert(name, hash);
    Ok(())
}

fn failed(node: &Node, cause: &dyn dash_core::error::Classify) -> crate::Error {
    crate::Error::Input(Failure::new(&node.run, node.stage, cause))
}

/// SHA-256 of the raw files of a dataset, by names that say nothing about where they are.
pub(crate) fn of_raw_files(p: &Pipeline, node: &Node, hashes: &HashMemo) -> Result<Contents, crate::Error> {
    let hash = |path: &Path| hashes.hash(path).map_err(Source::Missing);
    dash_data::source_hashes(&p.dataset, hash).map_err(|e| failed(node, &e))
}

/// Why raw files cannot be hashed. One that cannot be read is missing data, whatever the reason.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum Source {
    Missing(dash_store::Error),
    Data(#[from] dash_data::Error),
}

impl dash_core::error::Classify for Source {
    fn kind(&self) -> dash_core::error::ErrorKind {
        match self {
            Source::Missing(_) => dash_core::error::ErrorKind::Data,
            Source::Data(e) => e.kind(),
        }
    }
    fn hint(&self) -> Option<String> {
        match self {
            Source::Missing(_) => Some(
                "data/README.md says where the benchmark's files come from; `dataset.raw` names their folder"
                    .into(),
            ),
            Source::Data(e) => e.hint(),
        }
    }
}

/// A file of an earlier stage that is not the one that the stage was planned with.
#[derive(Debug, thiserror::Error)]
#[error("{path} has changed since this stage was planned", path = .path.display())]
pub(crate) struct Changed {
    pub(crate) path: PathBuf,
}

impl dash_core::error::Classify for Changed {
    fn kind(&self) -> dash_core::error::ErrorKind {
        dash_core::error::ErrorKind::Data
    }
    fn hint(&self) -> Option<String> {
        Some("run the same command again; the stages that read it will be made from what is there now".into())
    }
}
