//! How often and how long a stage was worked on, over all processes that did.
//!
//! `.<stage>.attempts.json` beside the folder of a stage exists from the first attempt until the stage is
//! published; what it says then stands in the record of the stage.

use dash_store::now_utc;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    /// Of the stage that was worked on.
    fingerprint: String,
    first_started: String,
    attempts: u32,
    /// Wall time of all attempts up to the last time at which this was written.
    seconds: f64,
    /// Why the last attempt failed, if it did.
    #[serde(default)]
    failure: Option<String>,
}

/// The attempts at a stage, the present one included.
#[derive(Debug)]
pub struct Attempts {
    path: PathBuf,
    kept: Kept,
    clock: Instant,
}

/// Where the attempts at the stage with results in `dir` are counted.
pub(crate) fn attempts_of(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.attempts.json"))
}

fn read(dir: &Path) -> Option<Kept> {
    serde_json::from_slice(&dash_store::read_small(&attempts_of(dir), dash_store::STATE_LIMIT).ok()?).ok()
}

/// Why the last attempt at the stage in `dir` failed, if it did.
pub(crate) fn last_failure(dir: &Path) -> Option<String> {
    read(dir)?.failure
}

impl Attempts {
    /// Begins an attempt at the stage with this fingerprint, whose results will be in `dir`.
    pub(crate) fn begin(dir: &Path, fingerprint: &str) -> Attempts {
        let before = read(dir).filter(|kept| kept.fingerprint == fingerprint);
        let kept = match before {
            Some(kept) => Kept { attempts: kept.attempts.saturating_add(1), failure: None, ..kept },
            None => Kept {
                fingerprint: fingerprint.to_owned(),
                first_started: now_utc(),
                attempts: 1,
                seconds: 0.0,
                failure: None,
            },
        };
        let attempts = Attempts { path: attempts_of(dir), kept, clock: Instant::now() };
        attempts.save(None);
        attempts
    }

    /// UTC date and time at which the first attempt started.
    pub fn first_started(&self) -> &str {
        &self.kept.first_started
    }

    /// Processes that worked on the stage, this one included.
    pub fn count(&self) -> u32 {
        self.kept.attempts
    }

    /// Wall time in seconds, summed over attempts, up to now.
    pub fn seconds(&self) -> f64 {
        let before = if self.kept.seconds.is_finite() { self.kept.seconds.max(0.0) } else { 0.0 };
        before + self.clock.elapsed().as_secs_f64()
    }

    /// Writes down what is known now, and why the attempt failed if it did. No result depends on it: a full disk
    /// is told by the files whose loss matters.
    pub(crate) fn save(&self, failure: Option<&str>) {
        let kept = Kept { seconds: self.seconds(), failure: failure.map(str::to_owned), ..self.kept.clone() };
        if let Ok(text) = serde_json::to_vec(&kept) {
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
        let kept = Kept { seconds: 100.0, ..read(&dir).unwrap() };
        dash_store::publish_file(&attempts_of(&dir), &serde_json::to_vec(&kept).unwrap()).unwrap();

        let second = Attempts::begin(&dir, "a");
        assert_eq!((second.count(), second.first_started()), (2, first.first_started()));
        assert!(second.seconds() >= 100.0 && second.seconds() < 200.0);
        assert_eq!(last_failure(&dir), None);

        let other = Attempts::begin(&dir, "b");
        assert!(other.count() == 1 && other.seconds() < 100.0);
        dash_store::publish_file(&attempts_of(&dir), b"{").unwrap();
        assert_eq!(Attempts::begin(&dir, "b").count(), 1);
    }
}
