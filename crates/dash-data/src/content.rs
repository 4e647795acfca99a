//! Reduces a dataset, and the settings that it is made with, to what results depend on.
//!
//! Paths, the licence and other notes are left out: a dataset that was moved, or whose licence note was edited, is
//! the same dataset. Files are represented by their hashes.

use dash_core::card::DatasetCard;
use serde_json::{Value, json};
use std::path::Path;

/// Notes of a card that training reads (`task.augment`); all others are for people.
const READ_NOTES: [&str; 4] = ["row_order", "column_order", "padding_value", "zero_columns"];

/// The hash of what results depend on in a dataset: see [`dataset_content`](crate::dataset_content).
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

/// Reduces the JSON form of `[dataset]` to what its rows depend on: without the raw folder and the licence,
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
    fn settings_have_no_locations_and_licence() {
        let settings = |text: &str| {
            let dataset: dash_core::pipeline::Dataset = serde_json::from_str(text).unwrap();
            let mut settings = serde_json::to_value(dataset).unwrap();
            reduce_settings(&mut settings);
            settings
        };
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
