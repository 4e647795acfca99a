//! Where runs and reports are kept.

use dash_store::{HashMemo, RunsRoot};
use std::path::PathBuf;

/// The root folders of runs and reports.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The root of all runs.
    pub runs: RunsRoot,
    /// The root of all reports.
    pub reports: PathBuf,
}

impl Folders {
    /// Keeps runs below `runs` and reports below `reports`. Neither has to exist.
    pub fn new(runs: impl Into<PathBuf>, reports: impl Into<PathBuf>) -> Folders {
        Folders { runs: RunsRoot::new(runs), reports: reports.into() }
    }

    /// The remembered hashes of files below the root of the runs.
    pub(crate) fn hashes(&self) -> HashMemo {
        HashMemo::open(&self.runs.path().join(HASHES))
    }

    /// Folder of the report with this name.
    pub fn report(&self, name: &str) -> PathBuf {
        self.reports.join(name)
    }

    /// Page of the report with this name.
    pub(crate) fn report_page(&self, name: &str) -> PathBuf {
        self.report(name).join("index.html")
    }
}

/// File with remembered hashes, below the root of the runs.
const HASHES: &str = ".file-hashes";
