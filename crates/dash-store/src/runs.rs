//! Defines the layout of run folders: `<root>/<pipeline>/<seed>/<stage>/`, and `<root>/<pipeline>/dataset/` for the dataset, which
//! all seeds share.

use crate::Error;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The root folder of all runs.
#[derive(Clone, Debug)]
pub struct RunsRoot {
    path: PathBuf,
}

impl RunsRoot {
    /// The layout below `path`. Nothing is created.
    pub fn new(path: impl Into<PathBuf>) -> RunsRoot {
        RunsRoot { path: path.into() }
    }

    /// The root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of a pipeline.
    pub fn pipeline(&self, pipeline: &str) -> PathBuf {
        self.path.join(pipeline)
    }

    /// The dataset folder of a pipeline.
    pub fn dataset(&self, pipeline: &str) -> PathBuf {
        self.pipeline(pipeline).join("dataset")
    }

    /// The folder of a run.
    pub fn run(&self, pipeline: &str, seed: u64) -> PathBuf {
        self.pipeline(pipeline).join(seed.to_string())
    }

    /// The folder of a stage of a run.
    pub fn stage(&self, pipeline: &str, seed: u64, stage: &str) -> PathBuf {
        self.run(pipeline, seed).join(stage)
    }

    /// Names of the pipelines that have a folder, sorted.
    pub fn pipelines(&self) -> Result<Vec<String>, Error> {
        folders(&self.path)
    }

    /// Seeds of a pipeline that have a folder, ascending.
    pub fn seeds(&self, pipeline: &str) -> Result<Vec<u64>, Error> {
        let names = folders(&self.pipeline(pipeline))?;
        let mut seeds: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        seeds.sort_unstable();
        Ok(seeds)
    }

    /// Names of the published stage folders of a run, sorted.
    pub fn stages(&self, pipeline: &str, seed: u64) -> Result<Vec<String>, Error> {
        folders(&self.run(pipeline, seed))
    }
}

/// Names of the folders in `dir`, sorted, including links to folders and without hidden ones; none if `dir` is missing.
fn folders(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Io { action: "list", path: dir.to_owned(), source }),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", dir))?;
        let Some(name) = entry.file_name().into_string().ok().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let kind = entry.file_type().map_err(Error::io("inspect", &entry.path()))?;
        // A dangling link is not a folder.
        if kind.is_dir()
            || (kind.is_symlink() && fs::metadata(entry.path()).is_ok_and(|found| found.is_dir()))
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Staging;

    #[test]
    fn the_layout_is_the_documented_one_and_is_listed_back() {
        let dir = tempfile::tempdir().unwrap();
        let runs = RunsRoot::new(dir.path());
        assert!(runs.pipelines().unwrap().is_empty());
        assert_eq!(runs.stage("ecg", 10, "search"), dir.path().join("ecg/10/search"));
        assert_eq!(runs.dataset("ecg"), dir.path().join("ecg/dataset"));
        for target in [runs.stage("ecg", 10, "search"), runs.stage("ecg", 2, "tune"), runs.dataset("ecg")] {
            Staging::begin(&target).unwrap().publish().unwrap();
        }
        assert_eq!(runs.pipelines().unwrap(), ["ecg"]);
        assert_eq!(runs.seeds("ecg").unwrap(), [2, 10]);
        assert_eq!(runs.stages("ecg", 2).unwrap(), ["tune"]);
        // Runs and pipelines may be links.
        let link = |to: &str, path: &str| std::os::unix::fs::symlink(to, dir.path().join(path)).unwrap();
        link("10", "ecg/3");
        link("nowhere", "ecg/4");
        link("5", "ecg/5");
        link("ecg", "music");
        assert_eq!(runs.seeds("ecg").unwrap(), [2, 3, 10]);
        assert_eq!(runs.stages("ecg", 3).unwrap(), ["search"]);
        assert_eq!(runs.pipelines().unwrap(), ["ecg", "music"]);
        assert!(RunsRoot::new(dir.path().join("none")).seeds("x").unwrap().is_empty());
    }
}
