//! Lists the benchmark's raw files: names, sizes, licences, addresses, and which of them are present.

use crate::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// Where the names and addresses are written down.
const TEXT: &str = include_str!("catalogue.toml");

/// The raw data of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTask {
    /// The recipe that reads it.
    pub recipe: String,
    /// Its title.
    pub title: String,
    /// Name of its folder below the root of all raw data.
    pub folder: PathBuf,
    /// Its licence.
    pub licence: String,
    /// The page that says where the files are.
    pub page: String,
    /// Its files.
    pub files: Vec<RawFile>,
}

/// A raw file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFile {
    /// Its name.
    pub name: String,
    /// Its size as published, rounded, where there is no hash; 0 if that is not known.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal digits, where somebody has published it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Files that are accepted instead, such as the unpacked ones; a name that ends with `/` is a folder.
    #[serde(rename = "or", default)]
    pub alternatives: Vec<String>,
    /// Addresses that it can be fetched from, tried in turn.
    #[serde(default)]
    pub mirrors: Vec<String>,
}

/// A raw file, or an accepted alternative, that is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Present {
    /// Where it was found.
    pub path: PathBuf,
    /// Its size; none for folders.
    pub bytes: Option<u64>,
}

/// All tasks of the benchmark.
///
/// # Errors
/// If the table in this program is not a table of tasks, which a test rules out.
pub fn catalogue() -> Result<Vec<RawTask>, Error> {
    #[derive(Deserialize)]
    struct Table {
        task: Vec<RawTask>,
    }
    let table: Table = toml::from_str(TEXT)
        .map_err(|e| Error::table("catalogue.toml", format!("is not a table of tasks: {e}")))?;
    Ok(table.task)
}

impl RawFile {
    /// The sizes that it may have; `None` if any. A size beside a hash is exact. Others are as the benchmark states
    /// them, rounded to two or three digits and counted now in powers of 1000 and now of 1024: between 1/16 less
    /// and 1/8 more.
    pub fn sizes(&self) -> Option<RangeInclusive<u64>> {
        match (self.bytes, &self.sha256) {
            (0, _) => None,
            (bytes, Some(_)) => Some(bytes..=bytes),
            (bytes, None) => Some(bytes - bytes / 16..=bytes + bytes / 8),
        }
    }

    /// Looks for the file in a raw folder and the folders in it, where recipes look too.
    pub fn find(&self, folder: &Path) -> Option<Present> {
        let names = std::iter::once(&self.name).chain(&self.alternatives);
        let mut places = vec![folder.to_owned()];
        let entries = std::fs::read_dir(folder).ok()?;
        places.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
        places.get_mut(1..)?.sort();
        for name in names {
            for place in &places {
                let path = place.join(name);
                match std::fs::metadata(&path) {
                    Ok(meta) if name.ends_with('/') && meta.is_dir() => {
                        return Some(Present { path, bytes: None });
                    }
                    Ok(meta) if meta.is_file() => return Some(Present { path, bytes: Some(meta.len()) }),
                    _ => {}
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, path::Component};

    #[test]
    fn tasks_have_safe_names_and_terms() {
        let tasks = catalogue().unwrap();
        let recipes: BTreeSet<&str> = tasks.iter().map(|task| task.recipe.as_str()).collect();
        // Ten of the benchmark, three others.
        assert_eq!((tasks.len(), recipes.len()), (13, 13));
        for task in &tasks {
            assert!(!task.licence.is_empty() && task.page.starts_with("https://"), "{task:?}");
            assert!(!task.files.is_empty());
            // Without the protection of https anybody on the way could put other data in place.
            let mirrors = task.files.iter().flat_map(|file| &file.mirrors);
            assert!(mirrors.clone().all(|address| address.starts_with("https://")), "{task:?}");
            for hash in task.files.iter().filter_map(|file| file.sha256.as_ref()) {
                assert!(hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            }
            let names =
                task.files.iter().flat_map(|file| std::iter::once(&file.name).chain(&file.alternatives));
            for path in names.map(Path::new).chain([task.folder.as_path()]) {
                assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
            }
        }
    }

    #[test]
    fn sizes_are_exact_beside_a_hash_and_else_leave_room_for_rounding() {
        let tasks = catalogue().unwrap();
        let file =
            |name: &str| tasks.iter().flat_map(|task| &task.files).find(|file| file.name == name).unwrap();
        assert_eq!(file("cifar-100-python.tar.gz").sizes(), Some(169_001_437..=169_001_437));
        assert_eq!(file("ninapro_train.npy").sizes(), None);
        // 1.1 as GB rounded up and as GiB rounded down.
        let sizes = file("protein.zip").sizes().unwrap();
        assert!(sizes.contains(&1_050_000_000) && sizes.contains(&1_234_000_000));
        assert!(!sizes.contains(&1_000_000_000) && !sizes.contains(&1_300_000_000));
    }

    #[test]
    fn files_are_found_at_the_root_and_one_level_below() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, or: &[&str]| RawFile {
            name: name.into(),
            bytes: 0,
            sha256: None,
            alternatives: or.iter().map(|s| (*s).into()).collect(),
            mirrors: vec![],
        };
        let packed = file("a.tar", &["unpacked/", "list.txt"]);
        assert_eq!(packed.find(&place.path().join("none")), None);
        assert_eq!(packed.find(place.path()), None);
        dash_store::publish_file(&place.path().join("deep/unpacked/x"), b"1").unwrap();
        let found = packed.find(place.path()).unwrap();
        assert_eq!((found.path, found.bytes), (place.path().join("deep/unpacked/"), None));
        dash_store::publish_file(&place.path().join("a.tar"), b"12").unwrap();
        assert_eq!(packed.find(place.path()).unwrap().bytes, Some(2));
        // A file is not a folder.
        dash_store::publish_file(&place.path().join("flat"), b"12").unwrap();
        assert_eq!(file("flat/", &[]).find(place.path()), None);
    }
}
