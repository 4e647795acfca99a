//! Reads the result files of earlier stages.

use crate::error::InputError;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads a JSON file of an earlier stage.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, InputError> {
    let unreadable = |reason: String| InputError::Unreadable { path: path.to_owned(), reason };
    let bytes = dash_store::read_small(path, dash_store::STATE_LIMIT).map_err(|e| unreadable(e.reason()))?;
    serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))
}
