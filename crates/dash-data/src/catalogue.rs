//! The benchmark's raw files: names, sizes, terms, addresses, and which of them are there.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where the names and addresses are written down.
const TEXT: &str = include_str!("catalogue.toml");

/// The raw data of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTask {
    /// The recipe that reads it.
    pub recipe: String,
    /// What it is.
    pub title: String,
    /// Name of its folder below the root of all raw data.
    pub folder: PathBuf,
    /// Under which terms it may be used.
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
    /// Its size as published, rounded; 0 if that is not known.
    pub bytes: u64,
    /// What may be there in its place: unpacked, a name that ends with `/` is a folder.
    #[serde(rename = "or", default)]
    pub alternatives: Vec<String>,
    /// Addresses that it can be fetched from, tried in turn.
    #[serde(default)]
    pub mirrors: Vec<String>,
}

/// A raw file, or what may be in its place, that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Present {
    /// Where it was found.
    pub path: PathBuf,
    /// Its size; none for folders.
    pub bytes: Option<u64>,
}

/// All tasks of the benchmark.
///
/// # Errors
/// If the table in this program is no table of tasks, which a test rules out.
pub fn catalogue() -> Result<Vec<RawTask>, Error> {
    #[derive(Deserialize)]
    struct Table {
        task: Vec<RawTask>,
    }
    let table: Table = toml::from_str(TEXT)
        .map_err(|e| Error::dataset(Path::new("catalogue.toml"), format!("is no table of tasks: {e}")))?;
    Ok(table.task)
}

impl RawFile {
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
            let names =
                task.files.iter().flat_map(|file| std::iter::once(&file.name).chain(&file.alternatives));
            for path in names.map(Path::new).chain([task.folder.as_path()]) {
                assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
            }
        }
    }

    #[test]
    fn files_are_found_at_the_root_and_one_level_below() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, or: &[&str]| RawFile {
            name: name.into(),
            bytes: 0,
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
        // A file is no folder.
        dash_store::publish_file(&place.path().join("flat"), b"12").unwrap();
        assert_eq!(file("flat/", &[]).find(place.path()), None);
    }
}
