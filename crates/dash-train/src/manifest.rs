//! The manifest of a checkpoint inside a stage, and what is compared before it is believed.

use crate::{CheckpointState, Limits, TrainingPosition};
use dash_store::{Unsealed, read_small, sha256_file, unseal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// Version of the folder of a checkpoint inside a stage. Since format 3 the manifest has a hash over itself.
pub(crate) const FORMAT: u32 = 3;
const SEALED: u64 = 3;

pub(crate) const STATE: &str = "state.safetensors";
pub(crate) const MOMENTA: &str = "momenta.safetensors";
pub(crate) const BEST: &str = "best.safetensors";
pub(crate) const START: &str = "start.safetensors";
pub(crate) const START_MOMENTA: &str = "start-momenta.safetensors";
const TENSORS: [&str; 5] = [STATE, MOMENTA, BEST, START, START_MOMENTA];
pub(crate) const HISTORY: &str = "history.parquet";
pub(crate) const MANIFEST: &str = "manifest.json";

/// More bytes than it has.
const LARGEST: u64 = 64 << 20;

/// Numbers are kept as their bits: JSON has no infinity.
#[derive(Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// Of the stage that was at work.
    pub(crate) fingerprint: String,
    pub(crate) epoch: usize,
    pub(crate) step: usize,
    pub(crate) loss_bits: u64,
    pub(crate) best: Option<(usize, u64)>,
    pub(crate) scores: Vec<Option<f64>>,
    /// Whether training went back, if it may; since format 2.
    #[serde(default)]
    pub(crate) went_back: Option<bool>,
    /// Name and SHA-256 of each file.
    pub(crate) files: BTreeMap<String, String>,
}

/// Why a checkpoint is not resumed from.
pub(crate) enum Refusal {
    Damaged(String),
    /// Its format.
    Newer(u64),
}

impl Manifest {
    /// The manifest in the folder `dir`, and whether it is sure that nobody changed it; `None` if there is none.
    pub(crate) fn read(dir: &Path) -> Result<Option<(Manifest, bool)>, Refusal> {
        let damaged = |reason: String| Refusal::Damaged(format!("{MANIFEST} {reason}"));
        let text = match read_small(&dir.join(MANIFEST), LARGEST) {
            Ok(text) => text,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(damaged(error.reason())),
        };
        let (value, sealed) = match unseal(&text) {
            Unsealed::Intact(value) => (value, true),
            Unsealed::Unknown(value) => (value, false),
            Unsealed::Changed(reason) => return Err(damaged(reason)),
        };
        match value.get("format").and_then(Value::as_u64) {
            Some(format) if format > FORMAT.into() => return Err(Refusal::Newer(format)),
            Some(SEALED..) if !sealed => return Err(damaged("has lost the hash of itself".to_owned())),
            _ => {}
        }
        serde_json::from_value(value)
            .map(|manifest| Some((manifest, sealed)))
            .map_err(|e| damaged(e.to_string()))
    }

    /// Compares the files in `dir` with their hashes.
    pub(crate) fn compare_files(&self, dir: &Path) -> Result<(), Refusal> {
        for name in [STATE, MOMENTA, HISTORY] {
            if !self.files.contains_key(name) {
                return Err(Refusal::Damaged(format!("its manifest does not name {name}")));
            }
        }
        for (name, hash) in &self.files {
            if name != HISTORY && !TENSORS.contains(&name.as_str()) {
                return Err(Refusal::Damaged(format!("its manifest names {name:?}")));
            }
            match sha256_file(&dir.join(name)) {
                Ok(found) if found == *hash => {}
                Ok(_) => return Err(Refusal::Damaged(format!("{name} has changed"))),
                Err(error) => return Err(Refusal::Damaged(format!("{name}: {}", error.reason()))),
            }
        }
        Ok(())
    }
}

impl Limits {
    /// Whether a stage with these limits can have come to `progress`; if not, why.
    pub(crate) fn check(&self, progress: &CheckpointState) -> Result<(), String> {
        let Limits { epochs, steps, trials } = *self;
        let CheckpointState {
            position: TrainingPosition { epoch, step, loss },
            history,
            series,
            best,
            scores,
            ..
        } = progress;
        let rows = history.len();
        let (last, expected) = match trials {
            // The network of the last epoch may still be evaluated.
            Some(_) => (epochs, 0),
            None => (epochs.saturating_sub(1), *epoch),
        };
        if *epoch > last || *step > steps {
            return Err(format!(
                "it stands at step {step} of epoch {}; there are {steps} and {epochs}",
                epoch + 1
            ));
        }
        if !loss.is_finite() {
            return Err(format!("its sum of losses is {loss}"));
        }
        if rows != expected || history.iter().enumerate().any(|(row, found)| found.epoch != row) {
            return Err(format!("its history does not hold the epochs before epoch {}", epoch + 1));
        }
        if let Some((name, _)) = series.iter().find(|(_, lists)| lists.len() != rows) {
            return Err(format!("its history does not hold {name} of each epoch"));
        }
        if best.as_ref().is_some_and(|best| best.epoch >= rows || best.score.is_nan()) {
            return Err("the best epoch that it names is none of its history".to_owned());
        }
        if scores.len() > trials.map_or(0, |trials| trials.saturating_sub(1)) {
            return Err(format!(
                "it has the scores of {} trials; there are {}",
                scores.len(),
                trials.unwrap_or(0)
            ));
        }
        Ok(())
    }
}
