//! Identifies what stages read of each other, identified by its content.

use crate::{
    error::{Error, Failure, InputError},
    graph::Node,
};
use dash_core::{pipeline::Pipeline, stage::Stage};
use dash_store::HashMemo;
use std::{collections::BTreeMap, path::Path};

/// SHA-256 of each input of a stage, by a name that does not depend on where the input lies.
pub(crate) type Contents = BTreeMap<String, String>;

/// Name of the dataset among the inputs of a stage.
pub(crate) const DATASET: &str = "dataset";

/// The one file of a stage that later stages read, if there is one.
pub(crate) fn file_of(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Search => Some("architecture.json"),
        Stage::Tune(_) => Some("hyperparameters.json"),
        Stage::Dataset | Stage::Retrain(_) | Stage::Report => None,
    }
}

/// Name of that file among the inputs of a later stage.
pub(crate) fn name_of(stage: Stage, file: &str) -> String {
    format!("{stage}/{file}")
}

/// Adds what later stages read of the finished stage `node`, whose results are in `dir`.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn add(inputs: &mut Contents, node: &Node, dir: &Path, hashes: &HashMemo) -> Result<(), Error> {
    match (node.stage, file_of(node.stage)) {
        (Stage::Dataset, _) => {
            let content = dash_data::dataset_content(dir)
                .map_err(|e| Error::Input(Failure::new(&node.run, node.stage, &e)))?;
            inputs.insert(DATASET.to_owned(), content);
        }
        (stage, Some(file)) => {
            inputs.insert(name_of(stage, file), hashes.hash(&dir.join(file))?);
        }
        (_, None) => {}
    }
    Ok(())
}

/// Adds what a report reads of the finished stage `node`, whose results are in `dir`: its record, and with it times,
/// device and program, and the hashes of its outputs.
///
/// # Errors
/// If the record cannot be read.
pub(crate) fn add_to_report(
    inputs: &mut Contents,
    node: &Node,
    dir: &Path,
    hashes: &HashMemo,
) -> Result<(), Error> {
    inputs.insert(node.name_among_seeds(), hashes.hash(&dir.join(dash_store::RECORD_FILE))?);
    Ok(())
}

/// SHA-256 of the raw files of a dataset, by names that do not depend on where they lie.
pub(crate) fn of_raw_files(p: &Pipeline, node: &Node, hashes: &HashMemo) -> Result<Contents, Error> {
    let hash = |path: &Path| hashes.hash(path).map_err(InputError::RawFile);
    dash_recipes::source_hashes(&p.dataset, hash)
        .map_err(|e| Error::Input(Failure::new(&node.run, node.stage, &e)))
}
