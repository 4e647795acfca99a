//! Writes and checks JSON files that contain a hash of themselves.

use crate::{Error, sha256};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// The member that holds the hash.
const SEAL: &str = "sha256";

/// The placeholder of the hash while it is computed.
const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Serialises an object as indented JSON with a last member `sha256`: the hash of the same text with 64 zeros in its place.
/// A change of any byte is detected, whether or not it changes a value.
///
/// # Errors
/// If the value is not an object, or already has such a member. `path` is its path in the message.
pub fn seal(value: &impl Serialize, path: &Path) -> Result<Vec<u8>, Error> {
    let wrong = |reason: String| Error::Damaged { path: path.to_owned(), reason };
    let mut value = serde_json::to_value(value).map_err(|e| wrong(e.to_string()))?;
    let members = value.as_object_mut().filter(|members| !members.contains_key(SEAL));
    let members = members.ok_or_else(|| wrong(format!("it is not an object without `{SEAL}`")))?;
    members.insert(SEAL.to_owned(), Value::from(BLANK));
    let mut text = serde_json::to_string_pretty(&value).map_err(|e| wrong(e.to_string()))?;
    text.push('\n');
    let hash = sha256(text.as_bytes());
    // The last occurrence: another member may be 64 zeros too.
    if let Some(place) = text.rfind(BLANK) {
        text.replace_range(place..place + BLANK.len(), &hash);
    }
    Ok(text.into_bytes())
}

/// The content of a text that may be sealed.
#[derive(Clone, Debug, PartialEq)]
pub enum Unsealed {
    /// The text is unchanged. The value does not contain the seal.
    Intact(Value),
    /// The text has no seal.
    Unknown(Value),
    /// The text was changed, or is not JSON; the reason is given.
    Changed(String),
}

/// Checks the seal of a text.
pub fn unseal(text: &[u8]) -> Unsealed {
    let mut value: Value = match serde_json::from_slice(text) {
        Ok(value) => value,
        Err(error) => return Unsealed::Changed(error.to_string()),
    };
    // `remove` would change the order of the other members.
    let Some(hash) = value.as_object_mut().and_then(|members| members.shift_remove(SEAL)) else {
        return Unsealed::Unknown(value);
    };
    let sealed = || {
        let (text, hash) = (std::str::from_utf8(text).ok()?, hash.as_str()?);
        let place = text.rfind(hash).filter(|_| hash.len() == BLANK.len())?;
        let blank = [text.get(..place)?, BLANK, text.get(place + hash.len()..)?].concat();
        Some(sha256(blank.as_bytes()) == hash)
    };
    match sealed() {
        Some(true) => Unsealed::Intact(value),
        _ => Unsealed::Changed(format!("its content does not match its `{SEAL}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_of_any_bit_of_a_sealed_text_is_detected() {
        let value = json!({"epoch": 2, "scores": [1e-7, null, 0.5], "z": BLANK, "a": {"b": "\u{e9}"}});
        let text = seal(&value, Path::new("x")).unwrap();
        assert_eq!(unseal(&text), Unsealed::Intact(value.clone()));
        for place in 0..text.len() {
            for bit in 0..8 {
                let mut other = text.clone();
                other[place] ^= 1 << bit;
                // A changed name of the seal makes the text unsealed; callers that require a seal refuse it.
                let found = unseal(&other);
                assert!(!matches!(found, Unsealed::Intact(_)), "byte {place}, bit {bit}");
            }
            assert!(matches!(unseal(&text[..place]), Unsealed::Changed(_)) || place + 1 == text.len());
        }
        assert!(!matches!(unseal(&text[..text.len() - 1]), Unsealed::Intact(_)));
        assert_eq!(unseal(b"{\"a\": 1}"), Unsealed::Unknown(json!({"a": 1})));
        assert_eq!(unseal(b"[1]"), Unsealed::Unknown(json!([1])));
        assert!(matches!(unseal(br#"{"sha256": 5}"#), Unsealed::Changed(_)));
        assert!(seal(&json!([1]), Path::new("x")).is_err());
        assert!(seal(&json!({"sha256": 1}), Path::new("x")).is_err());
    }
}
