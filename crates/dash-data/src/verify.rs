//! Compares files with the hashes in a card.

use crate::{
    Error,
    cache::{self, Unusable},
    folder::{cache_file, read_card},
    noise,
};
use dash_core::card::{DatasetCard, NoiseInfo, Split};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The result of comparing a file with its recorded hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Checked {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, if anything.
    pub problem: Option<String>,
}

/// Hashes the Parquet files of a dataset folder again and compares them with its card; the card itself
/// with the record of the stage that made it, where there is one; and the caches that training reads with the
/// hashes that they carry.
///
/// # Errors
/// If there is no readable card.
pub fn verify(dataset: &Path) -> Result<Vec<Checked>, Error> {
    let card = read_card(dataset)?;
    let mut checked = vec![];
    if let Some(record) = dash_store::StageRecord::read(dataset)?
        && let Some(hash) = record.outputs.get("dataset.json")
    {
        checked.push(check(dataset.join("dataset.json"), hash, None));
    }
    for split in Split::ALL {
        let path = dataset.join(split.file_name());
        checked.push(match card.splits.get(&split) {
            Some(info) => check(path, &info.sha256, None),
            None => Checked { path, problem: Some("the card does not know this split".to_owned()) },
        });
    }
    let mut tables: Vec<_> = card.splits.iter().map(|(split, info)| (split.name(), info.clone())).collect();
    if let Some(found) = &card.noise {
        checked.push(check(dataset.join(NoiseInfo::FILE), &found.sha256, None));
        tables.push(("noise", noise::table(&card, found).1));
    }
    for (name, info) in tables {
        let path = cache_file(dataset, name, &info);
        let problem = match cache::check(&path, &info) {
            Err(Unusable::Missing) => continue,
            Ok(()) => None,
            Err(Unusable::Damaged(problem)) => Some(format!("{problem}; it will be made again")),
            Err(Unusable::Unsealed) => {
                Some("carries no hash of its content; it is not used and will be made again".to_owned())
            }
        };
        checked.push(Checked { path, problem });
    }
    Ok(checked)
}

/// Hashes the raw files that a dataset was made from again, in the raw folder `raw`.
pub fn verify_sources(card: &DatasetCard, raw: &Path) -> Vec<Checked> {
    let source =
        |source: &dash_core::card::Source| check(raw.join(&source.path), &source.sha256, Some(source.bytes));
    card.sources.iter().map(source).collect()
}

fn check(path: PathBuf, sha256: &str, bytes: Option<u64>) -> Checked {
    let problem = match std::fs::metadata(&path) {
        Err(error) => Some(error.to_string()),
        // Reading anything else may block forever.
        Ok(meta) if !meta.is_file() => Some("is not a plain file".to_owned()),
        // Sizes are cheap to compare and detect most damage.
        Ok(meta) if bytes.is_some_and(|bytes| bytes != meta.len()) => {
            Some(format!("has {} bytes, {} are recorded", meta.len(), bytes.unwrap_or_default()))
        }
        Ok(_) => match dash_store::sha256_file(&path) {
            Err(error) => Some(error.to_string()),
            Ok(found) if found != sha256 => Some(format!("sha256 is {found}, {sha256} is recorded")),
            Ok(_) => None,
        },
    };
    Checked { path, problem }
}
