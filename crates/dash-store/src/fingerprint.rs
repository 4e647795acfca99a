//! Computes the SHA-256 of files and of values.

use crate::{Error, plain::open_plain};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{fmt::Write, fs::File, io::Read, path::Path};

/// SHA-256 of `bytes` in lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file's content in lower-case hexadecimal digits, read in blocks. Links are followed; the target must be a
/// plain file.
pub fn sha256_file(path: &Path) -> Result<String, Error> {
    sha256_open(&mut open_plain(path)?, path)
}

/// SHA-256 of the rest of an open file.
pub(crate) fn sha256_open(file: &mut File, path: &Path) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        let n = file.read(&mut buffer).map_err(Error::io("read", path))?;
        match buffer.get(..n) {
            Some([]) | None => return Ok(hex(&hasher.finalize())),
            Some(chunk) => hasher.update(chunk),
        }
    }
}

/// Canonical JSON, which is the same for equal values: keys in byte order, no white space.
pub fn canonical(value: &Value) -> String {
    sorted(value).to_string()
}

/// SHA-256 of the canonical JSON of a value, in lower-case hexadecimal digits.
///
/// ```
/// use dash_store::fingerprint;
/// use serde_json::json;
/// assert_eq!(fingerprint(&json!({"a": 1, "b": 2})), fingerprint(&json!({"b": 2, "a": 1})));
/// ```
pub fn fingerprint(value: &Value) -> String {
    sha256(canonical(value).as_bytes())
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn known_digests() {
        // FIPS 180-4, examples for SHA-256.
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn canonical_text_ignores_key_order_at_every_depth_but_not_array_order() {
        let a = json!({"z": [{"b": 1, "a": 2}], "a": null});
        let b = json!({"a": null, "z": [{"a": 2, "b": 1}]});
        assert_eq!(canonical(&a), r#"{"a":null,"z":[{"a":2,"b":1}]}"#);
        assert_eq!(fingerprint(&a), fingerprint(&b));
        assert_ne!(fingerprint(&json!([1, 2])), fingerprint(&json!([2, 1])));
    }

    #[test]
    fn a_file_is_hashed_like_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let bytes: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        crate::publish_file(&path, &bytes).unwrap();
        assert_eq!(sha256_file(&path).unwrap(), sha256(&bytes));
    }
}
