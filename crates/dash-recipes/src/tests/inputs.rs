//! The names under which the hashes of raw files are recorded.

use super::*;
use crate::source_hashes;

#[test]
fn inputs_are_named_without_the_place_of_the_raw_folder() {
    let named = |place: &Place, raw: &Path| {
        for (name, text) in [("a/x.npz", "1"), ("b/x.npz", "2"), ("x.npz", "3")] {
            place.put(name, text.as_bytes());
        }
        let config: Dataset = serde_json::from_value(serde_json::json!({
            "recipe": "npz", "raw": raw, "train_file": "a/x.npz", "validation_file": "b/x.npz",
            "test_file": place.raw().join("x.npz"), "target_kind": "class"
        }))
        .unwrap();
        let hash = |path: &Path| Ok::<_, Error>(std::fs::read_to_string(path).unwrap());
        source_hashes(&config, hash).unwrap()
    };
    let pairs = |list: [(&str, &str); 3]| list.map(|(name, hash)| (name.to_owned(), hash.to_owned())).into();
    let place = Place::new();
    let first = named(&place, &place.raw());
    assert_eq!(first, pairs([("x.npz", "1"), ("b/x.npz", "2"), ("x.npz (2)", "3")]));
    let other = Place::new();
    assert_eq!(named(&other, &other.raw().join(".")), first);
}
