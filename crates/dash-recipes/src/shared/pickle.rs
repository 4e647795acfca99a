//! Reads fields of dicts in pickles.

use dash_formats::{Error, pickle::Value};
use std::path::Path;

/// A field of a dict.
pub(crate) fn field<'a>(path: &Path, dict: Value<'a>, name: &str) -> Result<Value<'a>, Error> {
    let keys = dict.keys().ok_or_else(|| {
        Error::field(path, name, format!("the file holds {}; a dict is expected", dict.kind()))
    })?;
    dict.get(name).ok_or_else(|| Error::MissingField {
        path: path.to_owned(),
        field: name.to_owned(),
        found: if keys.is_empty() {
            "no fields".to_owned()
        } else {
            keys.iter().take(10).map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
        },
    })
}
