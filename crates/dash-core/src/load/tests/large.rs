//! Files that are much longer than any that people write: the time grows with their length, not with its
//! square, and messages stay readable. With a step of quadratic time these tests take hours.

use super::*;
use crate::{
    load::error::{LISTED, SUGGESTED},
    pipeline::NpzData,
};
use std::fmt::Write;

const OWN: &str = "name = 'own'\n\
    [dataset]\nrecipe = 'npz'\nraw = 'raw'\nfile = 'a.npz'\ninput = 'x'\ntarget = 'y'\ntarget_kind = 'class'\nLABELS\n\
    [task]\nloss = { kind = 'cross-entropy' }\nmetric = { kind = 'zero-one-error' }\n";

/// One label per line, so that every line counts.
fn labels(count: usize, last: &str) -> String {
    let mut list = String::from("labels = [\n");
    for label in 0..count {
        writeln!(list, "  'class {label}',").unwrap();
    }
    OWN.replace("LABELS", &format!("{list}  '{last}',\n]"))
}

#[test]
fn many_labels_on_many_lines_are_read_and_compared() {
    let p = load(&labels(300_000, "other"), &[]).unwrap();
    let Dataset::Npz(NpzData(own)) = p.dataset else { panic!() };
    assert_eq!(own.labels.unwrap().len(), 300_001);
    assert_eq!(
        load(&labels(300_000, "class 7"), &[]).unwrap_err().to_string(),
        "f.toml:300010: dataset.labels[300000]: the name \"class 7\" is given twice"
    );
}

#[test]
fn many_seeds_are_read_from_files_and_overrides() {
    let seeds: Vec<usize> = (0..300_000).collect();
    let text = DARCY.replace("name = \"d\"", &format!("name = \"d\"\nseeds = {seeds:?}"));
    assert_eq!(load(&text, &[]).unwrap().seeds.len(), seeds.len());
    assert_eq!(load(DARCY, &[&format!("seeds={seeds:?}")]).unwrap().seeds.len(), seeds.len());
}

#[test]
fn many_changes_of_inputs_are_compared() {
    let mut augment: Vec<String> =
        (0..50_000).map(|low| format!("{{ kind = 'background', low = {low}, high = 60000 }}")).collect();
    augment.push(augment[7].clone());
    let error = load(DARCY, &[&format!("task.augment=[{}]", augment.join(", "))]).unwrap_err().to_string();
    let last = error.lines().last().unwrap();
    assert!(last.starts_with("and 49952 more problems"), "{last}");
}

#[test]
fn many_profiles_are_checked_against_a_long_file() {
    let mut text = labels(30_000, "other");
    for profile in 0..2_000 {
        writeln!(text, "[profiles.p{profile}]\ndataset.input_shape = [1, {}]", profile + 1).unwrap();
    }
    assert!(load(&text, &[]).is_ok());
    text += "[profiles.last]\ndataset.target_kinds = 'field'\n";
    assert!(
        load(&text, &[])
            .unwrap_err()
            .to_string()
            .ends_with("profiles.last.dataset.target_kinds: unknown key; did you mean `target_kind`?")
    );
    let unknown = pipeline("f.toml", &labels(1, "b"), Some("p"), &[]).unwrap_err();
    assert!(matches!(unknown, Error::UnknownProfile { .. }));
}

#[test]
fn many_unknown_keys_are_counted_and_the_first_get_suggestions() {
    let keys: String = (0..20_000).map(|key| format!("epochs{key} = 1\n")).collect();
    let text = DARCY.replace("[search]\n", &format!("[search]\n{keys}"));
    let error = load(&text, &[]).unwrap_err();
    let Error::Invalid(problems) = &error else { panic!() };
    assert_eq!(problems.len(), 20_000);
    let message = error.to_string();
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), LISTED + 1, "{message}");
    let suggested = lines.iter().filter(|line| line.ends_with("did you mean `epochs`?")).count();
    assert!((1..=SUGGESTED).contains(&suggested), "{message}");
    assert_eq!(lines[LISTED], format!("and {} more problems", problems.len() - LISTED));
}

#[test]
fn long_words_are_neither_compared_nor_told_in_full() {
    let long = "e".repeat(2_000_000);
    for text in [
        DARCY.replace("\"darcy-flow\"", &format!("\"{long}\"")),
        DARCY.replace("subsample = 2", &format!("subsample = \"{long}\"")),
        DARCY.replace("name = \"d\"", &format!("name = \"{long}\"")),
    ] {
        let message = load(&text, &[]).unwrap_err().to_string();
        assert!(message.len() < 1_000, "{} bytes", message.len());
        assert!(message.contains("... (2000002 bytes)"), "{message}");
    }
}

#[test]
fn a_profile_that_names_the_variant_of_the_file_is_checked_with_it() {
    // Neither the file nor the profile alone says what the keys mean.
    let text = DARCY.replace("kind = \"kernel-size\", ", "heavy = true, ")
        + "[profiles.kind]\nsearch.pull.kind = \"kernel-size\"\n";
    let error = pipeline("f.toml", &text, Some("kind"), &[]).unwrap_err().to_string();
    assert!(error.contains("search.receptive_field_penalty.heavy: unknown key"), "{error}");
}
