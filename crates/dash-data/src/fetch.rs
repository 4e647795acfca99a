//! Raw files that one already has -> the raw folder of a task, with the hash of each on record.

use crate::{Error, RawTask, recipe::in_words};
use dash_core::event::{Event, Listener};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Where a raw folder's hashes are recorded.
pub const HASHES_FILE: &str = "sha256.json";

/// A raw file that is in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
    /// Whether it was copied; otherwise it had been there.
    pub copied: bool,
    /// Whether this hash is the first on record for it.
    pub first: bool,
}

/// What was known of a file when it was first seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    bytes: u64,
    sha256: String,
}

/// Copies a task's raw files from the folder `from`, or a folder in it, into `raw`. Files that are there
/// already stay. The hash of each is recorded beside them when it is first seen, and compared with the
/// record afterwards; a copy is compared with its original.
///
/// # Errors
/// If a file is missing, of which nothing is copied then; if it cannot be read or written; if it is not
/// the one on record.
pub fn import(
    task: &RawTask,
    from: &Path,
    raw: &Path,
    listener: &dyn Listener,
) -> Result<Vec<Fetched>, Error> {
    let listing = crate::recipe::listing(from)?;
    let mut plan = vec![];
    let mut missing = vec![];
    for file in &task.files {
        let target = raw.join(&file.name);
        let named = |path: &&PathBuf| path.file_name().is_some_and(|name| name == file.name.as_str());
        match (target.is_file(), listing.iter().find(named)) {
            (true, _) => plan.push((file.name.as_str(), target, None)),
            (false, Some(source)) => plan.push((file.name.as_str(), target, Some(source))),
            (false, None) => missing.push(file.name.as_str()),
        }
    }
    if !missing.is_empty() {
        let problem = format!("there is no {}; {}", missing.join(", no "), in_words(from, &listing));
        return Err(Error::Raw { path: from.to_owned(), problem });
    }
    let mut known = read(raw)?;
    let mut fetched = vec![];
    let total = plan.len();
    for (name, target, source) in plan {
        let path = source.map_or(target.as_path(), PathBuf::as_path);
        let bytes = std::fs::metadata(path).map_err(Error::io(path))?.len();
        let sha256 = dash_store::sha256_file(path)?;
        let first = match known.get(name) {
            Some(known) if known.sha256 != sha256 => {
                let (recorded, found) = (known.sha256.clone(), sha256);
                return Err(Error::Changed { path: path.to_owned(), recorded, found });
            }
            Some(_) => false,
            None => true,
        };
        if let Some(source) = source {
            let mut file = File::open(source).map_err(Error::io(source))?;
            dash_store::publish_with(&target, |out| io::copy(&mut file, out).map(|_| ()))?;
            let found = dash_store::sha256_file(&target)?;
            if found != sha256 {
                // A copy that cannot be trusted is not left in the place of the data.
                dash_store::remove(&target)?;
                return Err(Error::Changed { path: target, recorded: sha256, found });
            }
        }
        if first {
            known.insert(name.to_owned(), Known { bytes, sha256: sha256.clone() });
            write(raw, &known)?;
        }
        fetched.push(Fetched { path: target, bytes, sha256, copied: source.is_some(), first });
        listener.on(&Event::Progress { what: "files".to_owned(), done: fetched.len(), total });
    }
    Ok(fetched)
}

fn read(raw: &Path) -> Result<BTreeMap<String, Known>, Error> {
    let path = raw.join(HASHES_FILE);
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| Error::Raw {
            path,
            problem: format!("is no record of hashes: {e}; remove it to record them anew"),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(Error::Io { path, source }),
    }
}

fn write(raw: &Path, known: &BTreeMap<String, Known>) -> Result<(), Error> {
    let path = raw.join(HASHES_FILE);
    let mut text = serde_json::to_vec_pretty(known)
        .map_err(|e| Error::Raw { path: path.clone(), problem: format!("cannot be written: {e}") })?;
    text.push(b'\n');
    Ok(dash_store::publish_file(&path, &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_core::{
        error::{Classify, ErrorKind},
        event::Silent,
    };

    fn task() -> RawTask {
        crate::catalogue().unwrap().into_iter().find(|task| task.recipe == "satellite").unwrap()
    }

    #[test]
    fn files_are_copied_once_recorded_and_compared_afterwards() {
        let place = tempfile::tempdir().unwrap();
        let (from, raw) = (place.path().join("from"), place.path().join("raw/satellite"));
        let put = |path: PathBuf, text: &str| dash_store::publish_file(&path, text.as_bytes()).unwrap();
        let run = || import(&task(), &from, &raw, &Silent);
        let refusal = || {
            let error = run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            assert!(error.hint().is_some());
            error.to_string()
        };
        assert!(refusal().contains("there is no such folder"));
        put(from.join("satellite_train.npy"), "train");
        let message = refusal();
        assert!(
            message.contains("there is no satellite_test.npy; the folder holds satellite_train.npy"),
            "{message}"
        );
        assert!(!raw.exists(), "nothing is copied unless everything is there");

        put(from.join("deep/satellite_test.npy"), "test");
        let fetched = run().unwrap();
        assert_eq!(
            fetched.iter().map(|f| (f.copied, f.first, f.bytes)).collect::<Vec<_>>(),
            [(true, true, 5), (true, true, 4)]
        );
        assert_eq!(fetched[1].sha256, dash_store::sha256(b"test"));
        assert_eq!(std::fs::read(raw.join("satellite_test.npy")).unwrap(), b"test");
        assert!(run().unwrap().iter().all(|file| !file.copied && !file.first));

        put(raw.join("satellite_test.npy"), "tost");
        let message = refusal();
        assert!(
            message.contains("satellite_test.npy: sha256 is") && message.contains("was recorded"),
            "{message}"
        );
        // Another edition is not taken for the one on record either.
        dash_store::remove(&raw.join("satellite_test.npy")).unwrap();
        put(from.join("deep/satellite_test.npy"), "other");
        assert!(refusal().contains("deep/satellite_test.npy: sha256 is"));
        assert!(!raw.join("satellite_test.npy").exists());
        put(from.join("deep/satellite_test.npy"), "test");
        assert_eq!(
            run().unwrap().iter().map(|f| (f.copied, f.first)).collect::<Vec<_>>(),
            [(false, false), (true, false)]
        );
        put(raw.join(HASHES_FILE), "[");
        assert!(refusal().contains("is no record of hashes"));
    }
}
