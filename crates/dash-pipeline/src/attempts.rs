//! Counts the attempts at a stage and their time over all processes that worked on it.
//!
//! `.<stage>.attempts.json` beside the folder of a stage exists from the first attempt until the stage is published. Its
//! content then becomes part of the record of the stage.

use dash_store::now_utc;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct AttemptsFile {
    /// Fingerprint of the stage.
    fingerprint: String,
    first_started: String,
    attempts: u32,
    /// Wall time of all attempts until the file was last written.
    seconds: f64,
    /// Why the last attempt failed, if it did.
    #[serde(default)]
    failure: Option<String>,
}

/// The attempts at a stage, including the present one.
#[derive(Debug)]
pub struct Attempts {
    path: PathBuf,
    file: AttemptsFile,
    start: Instant,
}

/// Path of the file that counts the attempts at the stage with results in `dir`.
pub(crate) fn attempts_path(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.attempts.json"))
}

fn read(dir: &Path) -> Option<AttemptsFile> {
    serde_json::from_slice(&dash_store::read_small(&attempts_path(dir), dash_store::STATE_LIMIT).ok()?).ok()
}

/// Why the last attempt at the stage with results in `dir` failed, if it did.
pub(crate) fn last_failure(dir: &Path) -> Option<String> {
    read(dir)?.failure
}

impl Attempts {
    /// Starts an attempt at the stage with this fingerprint, whose results will be in `dir`.
    pub(crate) fn begin(dir: &Path, fingerprint: &str) -> Attempts {
        let earlier = read(dir).filter(|file| file.fingerprint == fingerprint);
        let file = match earlier {
            Some(file) => AttemptsFile { attempts: file.attempts.saturating_add(1), failure: None, ..file },
            None => AttemptsFile {
                fingerprint: fingerprint.to_owned(),
                first_started: now_utc(),
                attempts: 1,
                seconds: 0.0,
                failure: None,
            },
        };
        let attempts = Attempts { path: attempts_path(dir), file, start: Instant::now() };
        attempts.save(None);
        attempts
    }

    /// UTC date and time at which the first attempt started.
    pub fn first_started(&self) -> &str {
        &self.file.first_started
    }

    /// The number of processes that worked on the stage, including this one.
    pub fn count(&self) -> u32 {
        self.file.attempts
    }

    /// Wall time of all attempts until now, in seconds.
    pub fn seconds(&self) -> f64 {
        let earlier = if self.file.seconds.is_finite() { self.file.seconds.max(0.0) } else { 0.0 };
        earlier + self.start.elapsed().as_secs_f64()
    }

    /// Writes the file, with the reason why the attempt failed if it did. Errors are ignored because no result depends
    /// on this file; a full disk is reported by the files whose loss matters.
    pub(crate) fn save(&self, failure: Option<&str>) {
        let failure = failure.map(str::to_owned);
        let file = AttemptsFile { seconds: self.seconds(), failure, ..self.file.clone() };
        if let Ok(text) = serde_json::to_vec(&file) {
            let _ = dash_store::publish_file(&self.path, &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_attempts_add_up_until_the_settings_change() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("search");
        let first = Attempts::begin(&dir, "a");
        assert_eq!((first.count(), last_failure(&dir)), (1, None));
        first.save(Some("it broke"));
        assert_eq!(last_failure(&dir).as_deref(), Some("it broke"));
        let file = AttemptsFile { seconds: 100.0, ..read(&dir).unwrap() };
        dash_store::publish_file(&attempts_path(&dir), &serde_json::to_vec(&file).unwrap()).unwrap();

        let second = Attempts::begin(&dir, "a");
        assert_eq!((second.count(), second.first_started()), (2, first.first_started()));
        assert!(second.seconds() >= 100.0 && second.seconds() < 200.0);
        assert_eq!(last_failure(&dir), None);

        let other = Attempts::begin(&dir, "b");
        assert!(other.count() == 1 && other.seconds() < 100.0);
        dash_store::publish_file(&attempts_path(&dir), b"{").unwrap();
        assert_eq!(Attempts::begin(&dir, "b").count(), 1);
    }
}
