//! Which raw files a dataset is made from, and what they are called where their hashes are recorded.

use crate::{
    Error, cifar, cosmic, darcy, deepsea, ecg, fsd50k, mnist, music, ninapro, own, psicov, satellite,
    spherical,
};
use dash_core::pipeline::Dataset;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The raw files that [`ingest`](crate::ingest) will read; none if the data is simulated. Of data in an archive
/// that is the archive, else every single file, such as the hundred thousands of recordings of FSD50K.
pub fn sources(dataset: &Dataset) -> Result<Vec<PathBuf>, Error> {
    let mut files = files(dataset)?;
    if let Some((_, recordings)) = collection(dataset)? {
        files.extend(recordings.into_iter().map(|(_, path)| path));
    }
    Ok(files)
}

fn files(dataset: &Dataset) -> Result<Vec<PathBuf>, Error> {
    match dataset {
        Dataset::Cosmic(config) => cosmic::sources(config),
        Dataset::DarcyFlow(config) => darcy::sources(config),
        Dataset::Deepsea(config) => deepsea::sources(config),
        Dataset::Ecg(config) => ecg::sources(config),
        Dataset::Satellite(config) => satellite::sources(config),
        Dataset::Ninapro(config) => ninapro::sources(config),
        Dataset::Fsd50k(config) => fsd50k::sources(config),
        Dataset::Cifar100(config) => cifar::sources(&config.into()),
        Dataset::Spherical(config) => spherical::sources(config),
        Dataset::Cifar10(config) => cifar::sources(&config.into()),
        Dataset::Mnist(config) => mnist::sources(config),
        Dataset::Music(config) => music::source(config).map(|path| vec![path]),
        Dataset::Psicov(config) => psicov::sources(config),
        Dataset::Npz(config) | Dataset::Parquet(config) => own::sources(config),
    }
}

/// Files that are too many to be inputs of their own, by name, and what they are called together.
type Collection = (&'static str, Vec<(String, PathBuf)>);

fn collection(dataset: &Dataset) -> Result<Option<Collection>, Error> {
    match dataset {
        Dataset::Fsd50k(config) => {
            let recordings = fsd50k::recordings(config)?;
            Ok((!recordings.is_empty()).then_some(("recordings", recordings)))
        }
        _ => Ok(None),
    }
}

/// The raw folder of a dataset; none if the data is simulated.
pub fn raw_folder(dataset: &Dataset) -> Option<&Path> {
    match dataset {
        Dataset::DarcyFlow(config) => config.raw.as_deref(),
        Dataset::Deepsea(config) => Some(&config.raw),
        Dataset::Ecg(config) => Some(&config.raw),
        Dataset::Cosmic(config) => Some(&config.raw),
        Dataset::Satellite(config) => Some(&config.raw),
        Dataset::Ninapro(config) => Some(&config.raw),
        Dataset::Fsd50k(config) => Some(&config.raw),
        Dataset::Cifar100(config) => Some(&config.raw),
        Dataset::Spherical(config) => Some(&config.raw),
        Dataset::Cifar10(config) => Some(&config.raw),
        Dataset::Mnist(config) => Some(&config.raw),
        Dataset::Music(config) => Some(&config.raw),
        Dataset::Psicov(config) => Some(&config.raw),
        Dataset::Npz(config) | Dataset::Parquet(config) => Some(&config.raw),
    }
}

/// The hashes of the raw files of a dataset as inputs of the stage that makes it; `hash` says that of a file, and
/// may remember it.
///
/// A file is called by its name, and where an earlier one has the same by its path in the raw folder: never by
/// where that folder is. The recordings of FSD50K, where they are unpacked, are one input, `recordings`: the
/// SHA-256 of their names and hashes.
///
/// # Errors
/// If a file is missing, or `hash` cannot read it.
pub fn source_hashes<E: From<Error>>(
    dataset: &Dataset,
    mut hash: impl FnMut(&Path) -> Result<String, E>,
) -> Result<BTreeMap<String, String>, E> {
    let raw = raw_folder(dataset);
    let mut hashes = BTreeMap::new();
    for path in files(dataset)? {
        let found = hash(&path)?;
        hashes.insert(name(&path, raw, &hashes), found);
    }
    if let Some((name, files)) = collection(dataset)? {
        let mut text = String::new();
        for (file, path) in files {
            text.extend([hash(&path)?.as_str(), " ", &file, "\n"]);
        }
        hashes.insert(name.to_owned(), dash_store::sha256(text.as_bytes()));
    }
    Ok(hashes)
}

/// What a file is called beside those in `taken`.
fn name(path: &Path, raw: Option<&Path>, taken: &BTreeMap<String, String>) -> String {
    let short = path.file_name().map_or(path.as_os_str(), |name| name).to_string_lossy().into_owned();
    if !taken.contains_key(&short) {
        return short;
    }
    let inside = raw.and_then(|raw| path.strip_prefix(raw).ok()).map(|path| path.display().to_string());
    let numbered = (2usize..).map(|number| format!("{short} ({number})"));
    inside.into_iter().chain(numbered).find(|name| !taken.contains_key(name)).unwrap_or(short)
}

/// Renames recorded inputs of earlier versions, which called files by their paths where names were the same, as
/// [`source_hashes`] calls them. `settings` is the recorded JSON form of `[dataset]`, with its raw folder.
pub fn rename_inputs(settings: &Value, inputs: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let raw = settings.get("raw").and_then(Value::as_str).map(Path::new);
    let renamed = inputs.into_iter().map(|(name, hash)| {
        let inside = raw.and_then(|raw| Path::new(&name).strip_prefix(raw).ok());
        let inside = inside.map(|path| path.display().to_string()).filter(|path| !path.is_empty());
        (inside.unwrap_or(name), hash)
    });
    renamed.collect()
}
