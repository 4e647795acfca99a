//! Results that gave way to results of other settings or inputs: kept beside the run until they are pruned, and
//! taken back when their settings return.
//!
//! `<run>/superseded/<stage>-<end>-<fingerprint>/` is a stage folder as it was. A stage that would have to run is
//! restored from there instead, if a folder has its fingerprint and is intact.

use crate::{Error, Folders};
use dash_store::{HashMemo, Lock, StageRecord};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Name of the folder in a run.
pub(crate) const FOLDER: &str = "superseded";

/// A stage that gave way to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Superseded {
    /// Where it is.
    pub path: PathBuf,
    /// Name of the stage; empty if its record cannot be read.
    pub stage: String,
    /// UTC date and time at which it was finished.
    pub finished: String,
}

/// Where the results in `dir`, which another fingerprint replaces, are moved to; none if there is nothing to keep.
pub(crate) fn place(dir: &Path, fingerprint: &str) -> Option<PathBuf> {
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

/// The superseded results of the stage in `dir` that have this fingerprint and are intact.
pub(crate) fn find(dir: &Path, fingerprint: &str, hashes: &HashMemo) -> Option<PathBuf> {
    let run = dir.parent()?;
    let stage = dir.file_name()?.to_str()?;
    let fits = |found: &Superseded| {
        found.stage == stage
            && StageRecord::read(&found.path).ok().flatten().is_some_and(|record| {
                record.fingerprint == fingerprint && record.damaged_output(&found.path, hashes).is_none()
            })
    };
    list(run).into_iter().find(fits).map(|found| found.path)
}

/// What is kept of the run (or of the pipeline) in `run`.
pub(crate) fn list(run: &Path) -> Vec<Superseded> {
    let Ok(entries) = std::fs::read_dir(run.join(FOLDER)) else { return Vec::new() };
    let mut found: Vec<Superseded> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            // A link leads to somebody else's files.
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

/// Removes all superseded results of the runs below the runs root, or of the pipelines named; returns what was
/// removed, or, with `dry_run`, what would be.
///
/// # Errors
/// If a run is in use, or files cannot be removed.
pub fn prune(folders: &Folders, pipelines: &[String], dry_run: bool) -> Result<Vec<Superseded>, Error> {
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
