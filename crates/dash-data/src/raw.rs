//! Files of a raw folder: finding them, and describing them in messages and in the card.

use crate::Error;
use dash_core::card::Source;
use std::path::{Path, PathBuf};

/// The size and the SHA-256 of a raw file, named relative to the raw folder, for the card.
///
/// # Errors
/// If the file cannot be read.
pub fn describe_source(raw: &Path, path: &Path) -> Result<Source, Error> {
    let bytes = std::fs::metadata(path).map_err(Error::io(path))?.len();
    let name = path.strip_prefix(raw).unwrap_or(path);
    Ok(Source { path: name.display().to_string(), bytes, sha256: dash_store::sha256_file(path)? })
}

/// The path of the file `name` of a raw folder.
///
/// # Errors
/// If there is no such file; the message names the files that the folder holds.
pub fn required_file(raw: &Path, name: &Path) -> Result<PathBuf, Error> {
    let found = list_files(raw)?;
    let path = raw.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::raw(path, format!("there is no such file; {}", name_files(raw, &found))))
}

/// The files at the root of a raw folder and one level below, sorted by path.
///
/// # Errors
/// If the folder does not exist or cannot be read.
pub fn list_files(raw: &Path) -> Result<Vec<PathBuf>, Error> {
    if !raw.is_dir() {
        let problem = if raw.exists() { "this is not a folder" } else { "there is no such folder" };
        return Err(Error::raw(raw, problem));
    }
    let entries = |folder: &Path| -> Result<Vec<PathBuf>, Error> {
        let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
        entries.map(|entry| entry.map(|e| e.path()).map_err(Error::io(folder))).collect()
    };
    let mut files = vec![];
    for path in entries(raw)? {
        if path.is_dir() {
            files.extend(entries(&path)?.into_iter().filter(|p| p.is_file()));
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// "the folder holds a, b, c", with at most ten names.
pub fn name_files(raw: &Path, files: &[PathBuf]) -> String {
    const SHOWN: usize = 10;
    if files.is_empty() {
        return "the folder is empty".to_owned();
    }
    let names = files.iter().take(SHOWN).map(|f| f.strip_prefix(raw).unwrap_or(f).display().to_string());
    let names = names.collect::<Vec<_>>().join(", ");
    match files.len().checked_sub(SHOWN) {
        None | Some(0) => format!("the folder holds {names}"),
        Some(more) => format!("the folder holds {names} and {more} more"),
    }
}

/// The path of the file `name` in a raw folder or in one of its subfolders. `key` is the key of the pipeline file
/// that names it.
///
/// # Errors
/// If there is no such file, or several subfolders have one.
pub fn find_file(raw: &Path, name: &Path, key: &str) -> Result<PathBuf, Error> {
    let path = raw.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let all = list_files(raw)?;
    let found: Vec<PathBuf> = all.iter().filter(|path| path.ends_with(name)).cloned().collect();
    let problem = match found.as_slice() {
        [one] => return Ok(one.clone()),
        [] => format!("there is no such file; {}; `{key}` can name another", name_files(raw, &all)),
        several => format!(
            "several files have this name, and `{key}` must name one with its folder; {}",
            name_files(raw, several)
        ),
    };
    Err(Error::raw(path, problem))
}
