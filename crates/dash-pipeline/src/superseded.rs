//! Keeps results that results of other settings or inputs replaced, until they are pruned.
//!
//! `<run>/superseded/<stage>-<end>-<fingerprint>/` is a stage folder as it was. A stage that would have to run is restored
//! from there instead if a folder has its fingerprint and is intact.

use crate::{error::Error, folders::Folders};
use dash_core::stage::Stage;
use dash_store::{HashMemo, Lock, StageRecord};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Name of the folder in the folder of a run.
const FOLDER: &str = "superseded";

/// Results of a stage that results of other settings or inputs replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Superseded {
    /// Their folder.
    pub path: PathBuf,
    /// Name of the stage; empty if its record cannot be read.
    pub stage: String,
    /// UTC date and time at which the stage was finished.
    pub finished: String,
}

/// The folder that the results in `dir` should move to before results with `fingerprint` replace them; `None` if there
/// is nothing to keep. Reports are not kept: they can be rebuilt from the results that they show.
pub(crate) fn folder_for(stage: Stage, dir: &Path, fingerprint: &str) -> Option<PathBuf> {
    if stage == Stage::Report {
        return None;
    }
    let stage = dir.file_name()?.to_string_lossy();
    let tag = match StageRecord::read(dir) {
        Ok(Some(record)) if record.fingerprint == fingerprint => return None,
        Ok(Some(record)) => {
            let digits: String = record.finished.chars().filter(char::is_ascii_digit).take(14).collect();
            let print: String =
                record.fingerprint.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
            format!("{digits}-{print}")
        }
        Ok(None) => return None,
        Err(_) => "unreadable".to_owned(),
    };
    let folder = dir.parent()?.join(FOLDER);
    let free = |n: u32| {
        let name = if n == 0 { format!("{stage}-{tag}") } else { format!("{stage}-{tag}-{n}") };
        let path = folder.join(name);
        (!path.exists()).then_some(path)
    };
    (0..u32::MAX).find_map(free)
}

/// Finds intact superseded results of the stage in `dir` with this fingerprint.
pub(crate) fn find(stage: Stage, dir: &Path, fingerprint: &str, hashes: &HashMemo) -> Option<PathBuf> {
    if stage == Stage::Report {
        return None;
    }
    let fits = |found: &Superseded| {
        found.stage == stage.name()
            && StageRecord::read(&found.path).ok().flatten().is_some_and(|record| {
                record.fingerprint == fingerprint && record.damaged_output(&found.path, hashes).is_none()
            })
    };
    list(dir.parent()?).into_iter().find(fits).map(|found| found.path)
}

/// Lists the superseded results of the run, or of the pipeline, in `run`.
pub(crate) fn list(run: &Path) -> Vec<Superseded> {
    let Ok(entries) = std::fs::read_dir(run.join(FOLDER)) else { return Vec::new() };
    let mut found: Vec<Superseded> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            // The target of a link may belong to another program.
            if !path.symlink_metadata().ok()?.is_dir() || path.file_name()?.to_str()?.starts_with('.') {
                return None;
            }
            let record = StageRecord::read(&path).ok().flatten();
            let (stage, finished) = record.map(|r| (r.stage, r.finished)).unwrap_or_default();
            Some(Superseded { path, stage, finished })
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Removes the superseded results of all pipelines, or of those named, and returns them. With `dry_run`, nothing is
/// removed.
///
/// # Errors
/// If a run is in use, files cannot be removed, or there is no pipeline with one of the names.
pub(crate) fn prune(
    folders: &Folders,
    pipelines: &[String],
    dry_run: bool,
) -> Result<Vec<Superseded>, Error> {
    let runs = &folders.runs;
    let mut removed = Vec::new();
    for pipeline in runs.pipelines()? {
        if !pipelines.is_empty() && !pipelines.contains(&pipeline) {
            continue;
        }
        let seeds = runs.seeds(&pipeline)?.into_iter().map(|seed| runs.run(&pipeline, seed));
        for dir in std::iter::once(runs.pipeline(&pipeline)).chain(seeds) {
            let found = list(&dir);
            if found.is_empty() {
                continue;
            }
            if !dry_run {
                let _lock = Lock::acquire(&dir)?;
                dash_store::remove(&dir.join(FOLDER))?;
            }
            removed.extend(found);
        }
    }
    match pipelines.iter().find(|name| !runs.pipeline(name).is_dir()) {
        Some(name) => Err(Error::NoRuns { name: name.clone() }),
        None => Ok(removed),
    }
}
