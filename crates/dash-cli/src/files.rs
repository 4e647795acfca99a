//! Loads pipeline and sweep files.

use crate::{
    args::{Changes, Input},
    error::Error,
};
use dash_core::{
    load::{self, FileKind},
    pipeline::Pipeline,
};
use dash_pipeline::RunSet;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Loads all pipelines of the files. A sweep file names a report over all of them.
pub(crate) fn load_all(input: &Input) -> Result<RunSet, Error> {
    let mut runs = RunSet { pipelines: Vec::new(), report: None };
    for path in &input.files {
        let text = read(path)?;
        match load::kind(&name(path), &text)? {
            FileKind::Pipeline => runs.pipelines.push(pipeline(path, &text, &input.changes)?),
            FileKind::Sweep => sweep(path, &text, &input.changes, &mut runs)?,
        }
    }
    Ok(runs)
}

/// Loads one pipeline file.
pub(crate) fn load(path: &Path, changes: &Changes) -> Result<Pipeline, Error> {
    pipeline(path, &read(path)?, changes)
}

fn sweep(path: &Path, text: &str, changes: &Changes, runs: &mut RunSet) -> Result<(), Error> {
    let sweep = load::sweep(&name(path), text)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for include in &sweep.include {
        let inner: PathBuf = folder.join(include);
        let text = read(&inner)?;
        if load::kind(&name(&inner), &text)? == FileKind::Sweep {
            return Err(Error::Nested { path: path.to_owned(), inner });
        }
        let mut pipeline = pipeline(&inner, &text, changes)?;
        if let (Some(seeds), None) = (&sweep.seeds, &changes.seeds) {
            pipeline.seeds.clone_from(seeds);
        }
        runs.pipelines.push(pipeline);
    }
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = sweep.report.or(stem);
    runs.report = match (name, &changes.profile) {
        (Some(name), Some(profile)) => Some(format!("{name}@{profile}")),
        (name, _) => name,
    };
    Ok(())
}

fn pipeline(path: &Path, text: &str, changes: &Changes) -> Result<Pipeline, Error> {
    let mut sets = changes.sets.clone();
    sets.extend(changes.seeds.as_ref().map(|seeds| format!("seeds={seeds:?}")));
    Ok(load::pipeline(&name(path), text, changes.profile.as_deref(), &sets)?)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
