//! Reads and writes `stage.json`, the record of a finished stage.

use crate::staging::plain;
use crate::{Error, HashMemo, STATE_LIMIT, Staging, Unsealed, read_small, seal, sha256_file, unseal};
use dash_core::provenance::Provenance;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fs, io, path::Path};

/// Name of the record in a stage folder.
pub const RECORD_FILE: &str = "stage.json";

/// The record of a finished stage, the last file that is written into its folder.
///
/// Format 2 added content hashes of inputs, provenance, and a hash of the record itself. Format 1 is still read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Version of this format.
    pub format: u32,
    /// Name of the stage.
    pub stage: String,
    /// `<pipeline>/<seed>`, or `<pipeline>` for stages shared by all seeds.
    pub run: String,
    /// SHA-256 of the canonical form of everything on which the stage depends: its settings and the contents of its
    /// inputs.
    pub fingerprint: String,
    /// The settings on which the stage depends.
    pub config: Value,
    /// SHA-256 of the content of each input, by name. In format 1, fingerprints of input stages and SHA-256 of raw
    /// files.
    pub inputs: BTreeMap<String, String>,
    /// SHA-256 of each output file, by path within the folder.
    pub outputs: BTreeMap<String, String>,
    /// Wall time; since format 2, summed over attempts.
    pub seconds: f64,
    /// The device.
    pub device: String,
    /// How its convolutions were computed; none for stages without convolutions, and in records of early versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<ConvolutionPlan>,
    /// Versions of this program and of the code format of the stage.
    pub versions: BTreeMap<String, String>,
    /// UTC date and time of the start; since format 2, of the first attempt.
    pub started: String,
    /// UTC date and time of the end.
    pub finished: String,
    /// A short summary for people.
    pub summary: Value,
    /// How the stage was run; none in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// How the convolutions of a stage were computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvolutionPlan {
    /// How the algorithms were chosen: `model` or `measure`.
    pub by: String,
    /// The convolution problems and their algorithms, in order; equal layers share a line.
    pub convolutions: Vec<String>,
}

impl StageRecord {
    /// The current version of the format.
    pub const FORMAT: u32 = 2;

    /// The record of the stage in `dir`; `None` if no stage was finished there.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not a record, or not the one that was written; [`Error::NewerFormat`].
    pub fn read(dir: &Path) -> Result<Option<StageRecord>, Error> {
        let path = dir.join(RECORD_FILE);
        let bytes = match read_small(&path, STATE_LIMIT) {
            Ok(bytes) => bytes,
            Err(Error::Io { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let damaged = |reason: String| Error::Damaged { path: path.clone(), reason };
        // The format is checked first: a newer one may have other fields and another seal.
        let format =
            serde_json::from_slice::<Value>(&bytes).ok().and_then(|value| value.get("format")?.as_u64());
        let format = format.unwrap_or_default();
        if format > u64::from(StageRecord::FORMAT) {
            return Err(Error::NewerFormat {
                path,
                found: u32::try_from(format).unwrap_or(u32::MAX),
                known: StageRecord::FORMAT,
            });
        }
        let value = match unseal(&bytes) {
            Unsealed::Intact(value) => value,
            // Records of format 1 have no seal.
            Unsealed::Unknown(value) if format <= 1 => value,
            Unsealed::Unknown(_) => return Err(damaged("it has no hash of itself".into())),
            Unsealed::Changed(reason) => return Err(damaged(reason)),
        };
        let record: StageRecord = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        match record.outputs.keys().find(|name| plain(name).is_err()) {
            Some(name) => Err(damaged(format!("it names the output {name:?}"))),
            None => Ok(Some(record)),
        }
    }

    /// The first output whose content differs from the record, if any.
    pub fn damaged_output(&self, dir: &Path, hashes: &HashMemo) -> Option<String> {
        let intact = |(name, hash): &(&String, &String)| {
            hashes.hash(&dir.join(name)).is_ok_and(|found| found == **hash)
        };
        self.outputs.iter().find(|output| !intact(output)).map(|(name, _)| name.clone())
    }

    /// Records the hashes of all files in `staging`, adds itself as the last file, and publishes the folder. A folder that
    /// is already there is moved to `kept`, or removed.
    pub fn publish(mut self, mut staging: Staging, kept: Option<&Path>) -> Result<StageRecord, Error> {
        self.outputs = hashes(staging.path())?;
        let path = staging.target().join(RECORD_FILE);
        staging.write(RECORD_FILE, &seal(&self, &path)?)?;
        match kept {
            Some(kept) => staging.publish_keeping(kept)?,
            None => staging.publish()?,
        }
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
            provenance: None,
        }
    }

    #[test]
    fn damage_and_loss_of_outputs_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let stage = dir.path().join("search");
        let hashes = HashMemo::open(&dir.path().join("hashes"));
        assert_eq!(StageRecord::read(&stage).unwrap(), None);
        let mut staging = Staging::begin(&stage).unwrap();
        staging.write("architecture.json", b"{}").unwrap();
        staging.write("checkpoint/w", b"weights").unwrap();
        let written = record().publish(staging, None).unwrap();
        assert_eq!(
            written.outputs,
            [("architecture.json", sha256(b"{}")), ("checkpoint/w", sha256(b"weights"))]
                .map(|(k, v)| (k.to_owned(), v))
                .into()
        );
        assert_eq!(StageRecord::read(&stage).unwrap(), Some(written.clone()));
        assert_eq!(written.damaged_output(&stage, &hashes), None);
        crate::publish_file(&stage.join("checkpoint/w"), b"weighty").unwrap();
        assert_eq!(written.damaged_output(&stage, &hashes).as_deref(), Some("checkpoint/w"));
        crate::remove(&stage.join("architecture.json")).unwrap();
        assert_eq!(written.damaged_output(&stage, &hashes).as_deref(), Some("architecture.json"));
    }

    #[test]
    fn any_changed_value_of_a_record_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let stage = dir.path().join("search");
        record().publish(Staging::begin(&stage).unwrap(), None).unwrap();
        let path = stage.join(RECORD_FILE);
        let text = fs::read_to_string(&path).unwrap();
        for (from, to) in [
            ("1.5", "0.5"),
            ("\"cpu\"", "\"cuda:0\""),
            ("a: fft", "a: gemm"),
            ("\"epochs\": 2", "\"epochs\": 3"),
        ] {
            assert!(text.contains(from), "{from}");
            crate::publish_file(&path, text.replacen(from, to, 1).as_bytes()).unwrap();
            assert!(matches!(StageRecord::read(&stage), Err(Error::Damaged { .. })), "{from}");
        }
    }

    #[test]
    fn outputs_outside_of_the_folder_are_no_outputs() {
        let dir = tempfile::tempdir().unwrap();
        let mut value = serde_json::to_value(record()).unwrap();
        value["format"] = 1.into();
        for name in ["/dev/zero", "../other", ""] {
            value["outputs"] = serde_json::json!({ name: sha256(b"") });
            crate::publish_file(&dir.path().join(RECORD_FILE), value.to_string().as_bytes()).unwrap();
            assert!(matches!(StageRecord::read(dir.path()), Err(Error::Damaged { .. })), "{name}");
        }
    }

    #[test]
    fn what_gives_way_is_kept_where_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (stage, kept) = (dir.path().join("search"), dir.path().join("superseded/search-1"));
        record().publish(Staging::begin(&stage).unwrap(), Some(&kept)).unwrap();
        assert!(!kept.exists());
        let other = StageRecord { seconds: 9.0, ..record() };
        other.clone().publish(Staging::begin(&stage).unwrap(), Some(&kept)).unwrap();
        assert_eq!(StageRecord::read(&kept).unwrap(), Some(record()));
        assert_eq!(StageRecord::read(&stage).unwrap(), Some(other));
    }

    #[test]
    fn unreadable_records_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RECORD_FILE);
        for (text, newer) in
            [("{", false), ("[]", false), (r#"{"format": 1}"#, false), (r#"{"format": 3}"#, true)]
        {
            crate::publish_file(&path, text.as_bytes()).unwrap();
            let error = StageRecord::read(dir.path()).unwrap_err();
            assert_eq!(matches!(error, Error::NewerFormat { found: 3, known: 2, .. }), newer, "{text}");
            assert!(error.to_string().contains(RECORD_FILE));
        }
    }
}
