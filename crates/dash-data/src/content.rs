//! What results depend on: of a dataset, and of the settings that it is made with.
//!
//! Neither has paths, terms of use or other notes in it: a dataset that was moved, or whose licence note was
//! edited, is the same dataset. Files take part by their hashes.

use crate::{Error, folder::read_card};
use dash_core::{card::DatasetCard, pipeline::Dataset};
use serde_json::{Value, json};
use std::path::Path;

/// Notes of a card that training reads (`task.augment`); all others are for people.
const READ_NOTES: [&str; 4] = ["row_order", "column_order", "padding_value", "zero_columns"];

/// The hash of what results depend on in the dataset folder `path`: columns and shapes, labels, constants of
/// normalisation, rows and SHA-256 of every Parquet file, and the notes that training reads. It does not depend
/// on the recipe, the raw files, their places and sizes, the terms of use and other notes.
///
/// Only the card is read: whether the Parquet files have its hashes is compared by
/// [`DatasetFolder`](crate::DatasetFolder) and [`verify`](crate::verify).
///
/// # Errors
/// If there is no card, or it is not sound.
pub fn dataset_content(path: &Path) -> Result<String, Error> {
    Ok(content_of(&read_card(path)?))
}

pub(crate) fn content_of(card: &DatasetCard) -> String {
    let notes: serde_json::Map<String, Value> = READ_NOTES
        .iter()
        .filter_map(|&name| Some((name.to_owned(), card.notes.get(name)?.clone())))
        .collect();
    dash_store::fingerprint(&json!({
        "format": card.format,
        "input": card.input,
        "input_scaling": card.input_scaling,
        "target": card.target,
        "pairs": card.pairs,
        "background": card.background,
        "group": card.group,
        "noise": card.noise,
        "splits": card.splits,
        "target_scaling": card.target_scaling,
        "notes": notes,
    }))
}

/// The part of the settings of a dataset that its rows depend on, besides the content of its raw files.
pub fn settings_content(dataset: &Dataset) -> Value {
    // A type of plain data: there is nothing that could not be written.
    let mut settings = serde_json::to_value(dataset).unwrap_or_default();
    reduce_settings(&mut settings);
    settings
}

/// Reduces the JSON form of `[dataset]` to what its rows depend on: without the raw folder and the terms of use,
/// and with names of raw files instead of absolute paths. Settings that were recorded by earlier versions are
/// reduced in the same way, so that both can be compared.
pub fn reduce_settings(dataset: &mut Value) {
    let Some(settings) = dataset.as_object_mut() else { return };
    settings.remove("licence");
    let raw = settings.remove("raw");
    let raw = raw.as_ref().and_then(Value::as_str).map(Path::new);
    for (key, value) in settings.iter_mut() {
        if let Some(inner) = value.as_object_mut() {
            inner.iter_mut().for_each(|(key, value)| shorten(key, value, raw));
        }
        shorten(key, value, raw);
    }
}

/// Replaces an absolute path to a raw file by its path in the raw folder, or by its name.
fn shorten(key: &str, value: &mut Value, raw: Option<&Path>) {
    let is_file =
        key == "archive" || key.split('_').next_back().is_some_and(|end| end == "file" || end == "tree");
    let Some(path) = value.as_str().map(Path::new).filter(|path| is_file && path.is_absolute()) else {
        return;
    };
    let inside = raw.and_then(|raw| path.strip_prefix(raw).ok());
    let short = inside.or(path.file_name().map(Path::new)).unwrap_or(path);
    *value = short.display().to_string().into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_no_places_and_terms() {
        let settings = |text: &str| settings_content(&serde_json::from_str(text).unwrap());
        let own = |raw: &str, file: &str, more: &str| {
            settings(&format!(
                r#"{{"recipe": "npz", "raw": "{raw}", "train_file": "{file}", "test_file": "test.npz",
                    "target_kind": "class"{more}}}"#
            ))
        };
        let first = own("data", "a.npz", "");
        for same in [
            own("/abs/data", "a.npz", ""),
            own("../data", "a.npz", r#", "licence": "mine""#),
            own("/abs", "/abs/a.npz", ""),
            own("/abs", "/elsewhere/a.npz", ""),
        ] {
            assert_eq!(first, same);
        }
        assert_ne!(first, own("data", "b.npz", ""));
        assert_ne!(first, own("data", "a.npz", r#", "standardise": true"#));
        assert_eq!(first["train_file"], "a.npz");
        let projected = |archive: &str| {
            settings(&format!(
                r#"{{"recipe": "spherical", "raw": "r", "project": {{"archive": "{archive}"}}}}"#
            ))
        };
        assert_eq!(projected("c.tar.gz"), projected("/x/c.tar.gz"));

        // What an earlier version recorded.
        let mut old =
            serde_json::json!({"recipe": "npz", "raw": "/abs", "licence": "x", "file": "/abs/d/a.npz"});
        reduce_settings(&mut old);
        assert_eq!(old, serde_json::json!({"recipe": "npz", "file": "d/a.npz"}));
        let mut other = serde_json::json!(null);
        reduce_settings(&mut other);
        assert_eq!(other, serde_json::json!(null));
    }
}
