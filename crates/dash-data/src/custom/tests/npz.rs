//! Arrays of numpy archives as custom data, and invalid archives.

use super::*;
use dash_formats::testing::{Member, npy, npy_f32, npy_i64, zip};

fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let members: Vec<Member<'_>> =
        members.iter().map(|(name, bytes)| Member { name, bytes, deflated: name.starts_with('x') }).collect();
    zip(&members)
}

#[test]
fn archives_are_read_by_the_names_of_their_arrays() {
    let place = Place::new();
    let x =
        |rows: usize| npy("|u1", false, &[rows, 4, 2], &(0..rows * 8).map(|k| k as u8).collect::<Vec<_>>());
    let y = |rows: usize| npy_i64(&[rows], &(0..rows).map(|k| 10 + k as i64 % 3).collect::<Vec<_>>());
    place.put("a.npz", &archive(&[("x.npy", x(20)), ("y.npy", y(20))]));
    let names = r#""input": "x", "target": "y", "target_kind": "class", "channels": "last""#;
    let card = place
        .ingest(&place.dataset("npz", &format!(r#""file": "a.npz", {names}"#)), Protocol::Strict)
        .unwrap();
    assert_eq!(card.input.shape, [2, 4]);
    let Target::Class { labels, .. } = &card.target else { panic!() };
    assert_eq!(labels.as_slice(), ["10", "11", "12"]);
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [16, 2, 2]);

    // Arrays for each split, with and without those for validation.
    let split = names.replace("\"x\"", "\"x_{split}\"").replace("\"y\"", "\"y_{split}\"");
    let mut members =
        vec![("x_train.npy", x(12)), ("y_train.npy", y(12)), ("x_test.npy", x(3)), ("y_test.npy", y(3))];
    place.put("b.npz", &archive(&members));
    let dataset = place.dataset("npz", &format!(r#""file": "b.npz", {split}"#));
    let card = place.ingest(&dataset, Protocol::Strict).unwrap();
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [11, 1, 3]);
    members.extend([("x_val.npy", x(5)), ("y_val.npy", y(5))]);
    place.put("b.npz", &archive(&members));
    let card = place.ingest(&dataset, Protocol::Strict).unwrap();
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [12, 5, 3]);
    let batch = place.rows(Split::Test, &[1]);
    assert_eq!(batch.input, [8.0, 10.0, 12.0, 14.0, 9.0, 11.0, 13.0, 15.0]);
    assert_eq!(batch.target, Targets::Class(vec![1]));
}

/// Text as numpy stores it, each padded to `width` characters: `<U`, `>U` or `|S`.
fn texts(code: &str, width: usize, values: &[&str]) -> Vec<u8> {
    let element = |text: &&str| -> Vec<u8> {
        let mut out: Vec<u8> = match code {
            "|S" => text.bytes().collect(),
            "<U" => text.chars().flat_map(|c| (c as u32).to_le_bytes()).collect(),
            _ => text.chars().flat_map(|c| (c as u32).to_be_bytes()).collect(),
        };
        out.resize(width * if code == "|S" { 1 } else { 4 }, 0);
        out
    };
    let elements: Vec<u8> = values.iter().flat_map(element).collect();
    npy(&format!("{code}{width}"), false, &[values.len()], &elements)
}

#[test]
fn arrays_of_text_are_classes_and_splits() {
    let place = Place::new();
    let x = npy_f32(&[20, 3], &(0..60).map(|k| k as f32).collect::<Vec<_>>());
    let parts: Vec<&str> = (0..20).map(|row| ["train", "train", "train", "val", "TEST"][row % 5]).collect();
    for code in ["<U", ">U", "|S"] {
        let labels = ["sinus", "noise", "sinus", "af"].repeat(5);
        let members =
            [("x.npy", x.clone()), ("y.npy", texts(code, 7, &labels)), ("part.npy", texts(code, 5, &parts))];
        place.put("a.npz", &archive(&members));
        let more = r#""file": "a.npz", "input": "x", "target": "y", "target_kind": "class", "split": "part""#;
        let card = place.ingest(&place.dataset("npz", more), Protocol::Strict).unwrap();
        let Target::Class { labels, .. } = &card.target else { panic!() };
        assert_eq!(labels.as_slice(), ["af", "noise", "sinus"]);
        assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [12, 4, 4]);
        // The second validation row is row 8 of the file.
        let batch = place.rows(Split::Validation, &[1]);
        assert_eq!((batch.input, batch.target), (vec![24.0, 25.0, 26.0], Targets::Class(vec![2])));
        // With names of the pipeline file, in their order.
        let named = format!(r#"{more}, "labels": ["sinus", "af", "noise"]"#);
        place.ingest(&place.dataset("npz", &named), Protocol::Strict).unwrap();
        assert_eq!(place.rows(Split::Validation, &[1]).target, Targets::Class(vec![0]));
        let named = format!(r#"{more}, "labels": ["sinus", "noise"]"#);
        let message = place.ingest(&place.dataset("npz", &named), Protocol::Strict).unwrap_err().to_string();
        assert!(message.contains("y[3]`: is \"af\", which is not among `dataset.labels`"), "{message}");
    }
}

#[test]
fn invalid_text_is_refused() {
    let place = Place::new();
    let x = npy_f32(&[20, 1], &[0.5; 20]);
    let class = r#""file": "a.npz", "input": "x", "target": "y", "target_kind": "class""#;
    let refusal = |y: Vec<u8>, more: &str| {
        place.put("a.npz", &archive(&[("x.npy", x.clone()), ("y.npy", y)]));
        place.refusal(&place.dataset("npz", more))
    };
    let mut damaged = texts("<U", 2, &["a", "b"].repeat(10));
    // No character has such a number.
    let at = damaged.len() - 2;
    damaged[at] = 0xff;
    let message = refusal(damaged, class);
    assert!(message.contains("a.npz: array `y`: row 19 holds bytes that are not text"), "{message}");
    let mut damaged = texts("|S", 2, &["a", "b"].repeat(10));
    let at = damaged.len() - 4;
    damaged[at] = 0xff;
    assert!(refusal(damaged, class).contains("row 18 holds bytes that are not text"));
    let field = class.replace("class", "field");
    let message = refusal(texts("|S", 2, &["1", "2"].repeat(10)), &field);
    assert!(message.contains("array `y`: holds elements of type <S2; numbers are expected"), "{message}");
}

#[test]
fn invalid_archives_are_refused() {
    let place = Place::new();
    let refusal = |members: &[(&str, Vec<u8>)], more: &str| {
        place.put("a.npz", &archive(members));
        place.refusal(
            &place.dataset("npz", &format!(r#""file": "a.npz", "input": "x", "target": "y", {more}"#)),
        )
    };
    let x = |values: &[f32]| ("x.npy", npy_f32(&[values.len() / 2, 2], values));
    let good: Vec<f32> = (0..40).map(|k| k as f32).collect();
    let class = r#""target_kind": "class""#;
    let message = refusal(&[x(&good)], class);
    assert!(message.contains("a.npz: no field `y`; the file has `x`"), "{message}");
    let message = refusal(&[x(&good), ("y.npy", npy_i64(&[19], &[0; 19]))], class);
    assert!(message.contains("field `y`: has 19 rows, `x` has 20"), "{message}");
    let message = refusal(&[x(&good), ("y.npy", npy_i64(&[20, 2], &[0; 40]))], class);
    assert!(message.contains("field `y`: has shape [20, 2]; one value per sample is expected"), "{message}");
    let message = refusal(&[x(&good), ("y.npy", npy_f32(&[20], &[0.5; 20]))], class);
    assert!(message.contains("row 0 holds something else than an integer"), "{message}");
    let mut bad = good.clone();
    bad[9] = f32::INFINITY;
    let classes = ("y.npy", npy_i64(&[20], &(0..20).map(|k| k % 2).collect::<Vec<_>>()));
    let message = refusal(&[x(&bad), classes.clone()], class);
    assert!(message.contains("field `x[4]`: number 1 of the row is inf"), "{message}");
    let none = npy_f32(&[0, 2], &[]);
    let message = refusal(&[("x.npy", none), classes], class);
    assert!(message.contains("field `x`: has no rows"), "{message}");
    let field = r#""target_kind": "field""#;
    let message = refusal(&[x(&good), ("y.npy", npy_f32(&[20, 3], &[0.0; 60]))], field);
    assert!(message.contains("are not fields on the grid [2] of `x`"), "{message}");
}
