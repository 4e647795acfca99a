//! The manifest of a checkpoint, and the files that it names.

use dash_store::{STATE_LIMIT, Unsealed, read_small, sha256_file, unseal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// Version of the folder of a checkpoint. Since format 3 the manifest has a hash over itself.
pub(crate) const FORMAT: u32 = 3;
const SEALED: u64 = 3;

pub(crate) const STATE: &str = "state.safetensors";
pub(crate) const MOMENTUM: &str = "momenta.safetensors";
pub(crate) const BEST: &str = "best.safetensors";
pub(crate) const START: &str = "start.safetensors";
pub(crate) const START_MOMENTUM: &str = "start-momenta.safetensors";
const TENSORS: [&str; 5] = [STATE, MOMENTUM, BEST, START, START_MOMENTUM];
pub(crate) const HISTORY: &str = "history.parquet";
pub(crate) const MANIFEST: &str = "manifest.json";

/// Floating-point numbers are stored as their bits, because JSON has no infinity.
#[derive(Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// Fingerprint of the stage that wrote it.
    pub(crate) fingerprint: String,
    pub(crate) epoch: usize,
    pub(crate) step: usize,
    pub(crate) loss_bits: u64,
    /// Epoch and validation metric of the best network.
    pub(crate) best: Option<(usize, u64)>,
    #[serde(rename = "scores")]
    pub(crate) trials: Vec<Option<f64>>,
    /// Whether training rolled back, if it may; since format 2.
    #[serde(default, rename = "went_back")]
    pub(crate) rolled_back: Option<bool>,
    /// Name and SHA-256 of each file.
    pub(crate) files: BTreeMap<String, String>,
}

/// Why training does not resume from a checkpoint.
pub(crate) enum Refusal {
    Damaged(String),
    /// A newer version wrote it, in this format.
    Newer(u64),
}

impl Manifest {
    /// The manifest in the folder `dir`, and whether it has a hash over itself; `None` if there is no manifest.
    pub(crate) fn read(dir: &Path) -> Result<Option<(Manifest, bool)>, Refusal> {
        let damaged = |reason: String| Refusal::Damaged(format!("{MANIFEST} {reason}"));
        let text = match read_small(&dir.join(MANIFEST), STATE_LIMIT) {
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
        for name in [STATE, MOMENTUM, HISTORY] {
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
