//! Which raw files a dataset is made from, and under which names their hashes are recorded.

use crate::{Error, recipe::recipe};
use dash_core::pipeline::Dataset;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The raw files that [`ingest`](crate::ingest) reads; none if the data is simulated. For data in an archive that is
/// the archive, else every file, such as the hundred thousands of recordings of FSD50K.
///
/// # Errors
/// If a file does not exist.
pub fn sources(dataset: &Dataset) -> Result<Vec<PathBuf>, Error> {
    let recipe = recipe(dataset);
    let mut files = recipe.sources()?;
    let collection = recipe.collection()?;
    files.extend(collection.into_iter().flat_map(|collection| collection.files).map(|file| file.path));
    Ok(files)
}

/// The hashes of the raw files of a dataset as inputs of the stage that makes it; `hash` computes that of a file, and
/// may cache it.
///
/// The key of a file is its name, or its path in the raw folder if an earlier file has the same name; it does not
/// depend on the location of the raw folder. A collection, such as the unpacked recordings of FSD50K, is one input:
/// the SHA-256 of the names and hashes of its files.
///
/// # Errors
/// If a file is missing, or `hash` cannot read it.
pub fn source_hashes<E: From<Error>>(
    dataset: &Dataset,
    mut hash: impl FnMut(&Path) -> Result<String, E>,
) -> Result<BTreeMap<String, String>, E> {
    let raw = dataset.raw_folder();
    let recipe = recipe(dataset);
    let mut hashes = BTreeMap::new();
    for path in recipe.sources()? {
        let found = hash(&path)?;
        hashes.insert(name(&path, raw, &hashes), found);
    }
    if let Some(collection) = recipe.collection()? {
        let mut text = String::new();
        for file in collection.files {
            text.extend([hash(&file.path)?.as_str(), " ", &file.name, "\n"]);
        }
        hashes.insert(collection.name.to_owned(), dash_store::sha256(text.as_bytes()));
    }
    Ok(hashes)
}

/// The key of a file beside those in `taken`.
fn name(path: &Path, raw: Option<&Path>, taken: &BTreeMap<String, String>) -> String {
    let short = path.file_name().map_or(path.as_os_str(), |name| name).to_string_lossy().into_owned();
    if !taken.contains_key(&short) {
        return short;
    }
    let inside = raw.and_then(|raw| path.strip_prefix(raw).ok()).map(|path| path.display().to_string());
    let numbered = (2usize..).map(|number| format!("{short} ({number})"));
    inside.into_iter().chain(numbered).find(|name| !taken.contains_key(name)).unwrap_or(short)
}
