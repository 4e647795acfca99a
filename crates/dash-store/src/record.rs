//! `stage.json`: the proof that a stage is done, and by what.

use crate::{Error, Staging, sha256_file};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fs, io, path::Path};

/// Name of the record in a stage folder.
pub const RECORD_FILE: &str = "stage.json";

/// A finished stage. It is the last file written into the staged folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Version of this format.
    pub format: u32,
    /// Name of the stage.
    pub stage: String,
    /// `<pipeline>/<seed>`, or `<pipeline>` for stages shared by all seeds.
    pub run: String,
    /// SHA-256 over the canonical form of everything the stage depends on.
    pub fingerprint: String,
    /// Exactly the part of the configuration that the stage depends on.
    pub config: Value,
    /// Fingerprint of each input stage, or SHA-256 of each input file, by name.
    pub inputs: BTreeMap<String, String>,
    /// SHA-256 of each output file, by path within the folder.
    pub outputs: BTreeMap<String, String>,
    /// Wall time.
    pub seconds: f64,
    /// Device it ran on.
    pub device: String,
    /// How its convolutions were computed; none for stages that compute none, and in records of
    /// versions that did not write it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<ConvolutionPlan>,
    /// Versions of this program and of the code format of the stage.
    pub versions: BTreeMap<String, String>,
    /// UTC date and time of the start.
    pub started: String,
    /// UTC date and time of the end.
    pub finished: String,
    /// A few facts for people who look at the file.
    pub summary: Value,
}

/// How the convolutions of a stage were computed, for people and for comparisons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvolutionPlan {
    /// What the algorithms were chosen by: `model` or `measure`.
    pub by: String,
    /// The sizes that were met and how each was computed, in order; equal layers share a line.
    pub convolutions: Vec<String>,
}

impl StageRecord {
    /// The current version of the format.
    pub const FORMAT: u32 = 1;

    /// The record of the stage in `dir`; `None` if no stage was finished there.
    pub fn read(dir: &Path) -> Result<Option<StageRecord>, Error> {
        let path = dir.join(RECORD_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { action: "read", path, source }),
        };
        let damaged = |e: serde_json::Error| Error::Damaged { path: path.clone(), reason: e.to_string() };
        let value: Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        // The format is looked at first: a newer one may have other fields.
        match value.get("format").and_then(Value::as_u64) {
            Some(found) if found > u64::from(StageRecord::FORMAT) => Err(Error::NewerFormat {
                path,
                found: u32::try_from(found).unwrap_or(u32::MAX),
                known: StageRecord::FORMAT,
            }),
            _ => serde_json::from_value(value).map(Some).map_err(damaged),
        }
    }

    /// The first output whose content is not what was recorded, if any.
    pub fn damaged_output(&self, dir: &Path) -> Option<String> {
        let intact = |(name, hash): &(&String, &String)| {
            sha256_file(&dir.join(name)).is_ok_and(|found| found == **hash)
        };
        self.outputs.iter().find(|output| !intact(output)).map(|(name, _)| name.clone())
    }

    /// Records the hashes of all files in `staging`, adds itself as the last file, and publishes.
    pub fn publish(mut self, mut staging: Staging) -> Result<StageRecord, Error> {
        self.outputs = hashes(staging.path())?;
        let text = serde_json::to_string_pretty(&self).map_err(|e| Error::Damaged {
            path: staging.target().join(RECORD_FILE),
            reason: e.to_string(),
        })?;
        staging.write(RECORD_FILE, text.as_bytes())?;
        staging.publish()?;
        Ok(self)
    }
}

fn hashes(root: &Path) -> Result<BTreeMap<String, String>, Error> {
    let mut found = BTreeMap::new();
    let mut pending = vec![(root.to_owned(), String::new())];
    while let Some((dir, prefix)) = pending.pop() {
        for entry in fs::read_dir(&dir).map_err(Error::io("list", &dir))? {
            let entry = entry.map_err(Error::io("list", &dir))?;
            let name = entry
                .file_name()
                .into_string()
                .map_err(|name| Error::Name { name: name.to_string_lossy().into_owned() })?;
            let path = entry.path();
            if entry.file_type().map_err(Error::io("inspect", &path))?.is_dir() {
                pending.push((path, format!("{prefix}{name}/")));
            } else {
                found.insert(format!("{prefix}{name}"), sha256_file(&path)?);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256;

    fn record() -> StageRecord {
        StageRecord {
            format: StageRecord::FORMAT,
            stage: "search".into(),
            run: "ecg/0".into(),
            fingerprint: sha256(b"x"),
            config: serde_json::json!({"epochs": 2}),
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            seconds: 1.5,
            device: "cpu".into(),
            plan: Some(ConvolutionPlan { by: "model".into(), convolutions: vec!["a: fft".into()] }),
            versions: BTreeMap::new(),
            started: "s".into(),
            finished: "f".into(),
            summary: Value::Null,
        }
    }

    #[test]
    fn damage_and_loss_of_outputs_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let stage = dir.path().join("search");
        assert_eq!(StageRecord::read(&stage).unwrap(), None);
        let mut staging = Staging::begin(&stage).unwrap();
        staging.write("architecture.json", b"{}").unwrap();
        staging.write("checkpoint/w", b"weights").unwrap();
        let written = record().publish(staging).unwrap();
        assert_eq!(
            written.outputs,
            [("architecture.json", sha256(b"{}")), ("checkpoint/w", sha256(b"weights"))]
                .map(|(k, v)| (k.to_owned(), v))
                .into()
        );
        assert_eq!(StageRecord::read(&stage).unwrap(), Some(written.clone()));
        assert_eq!(written.damaged_output(&stage), None);
        crate::publish_file(&stage.join("checkpoint/w"), b"weighty").unwrap();
        assert_eq!(written.damaged_output(&stage).as_deref(), Some("checkpoint/w"));
        crate::remove(&stage.join("architecture.json")).unwrap();
        assert_eq!(written.damaged_output(&stage).as_deref(), Some("architecture.json"));
    }

    #[test]
    fn unreadable_records_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RECORD_FILE);
        for (text, newer) in
            [("{", false), ("[]", false), (r#"{"format": 1}"#, false), (r#"{"format": 2}"#, true)]
        {
            crate::publish_file(&path, text.as_bytes()).unwrap();
            let error = StageRecord::read(dir.path()).unwrap_err();
            assert_eq!(matches!(error, Error::NewerFormat { found: 2, known: 1, .. }), newer, "{text}");
            assert!(error.to_string().contains(RECORD_FILE));
        }
    }
}
