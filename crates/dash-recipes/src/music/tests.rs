//! Piano rolls in MATLAB cell arrays: what the recipe makes of them, and every bad input.

use super::*;
use crate::testing::*;

fn word(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

/// A matrix element: class, dimensions, name, and what follows them.
fn element(class: u32, dimensions: &[u32; 2], name: &str, content: &[u8]) -> Vec<u8> {
    let mut body = vec![];
    [6, 8, class, 0, 5, 8, dimensions[0], dimensions[1], 1, name.len() as u32]
        .iter()
        .for_each(|&value| word(&mut body, value));
    body.extend(name.as_bytes());
    body.resize(body.len().next_multiple_of(8), 0);
    body.extend(content);
    body.resize(body.len().next_multiple_of(8), 0);
    let mut out = vec![];
    word(&mut out, 14);
    word(&mut out, body.len() as u32);
    out.extend(body);
    out
}

/// A piece of bytes: step t of note n is at n * steps + t.
fn piece(steps: u32, notes: u32, values: &[u8]) -> Vec<u8> {
    let mut content = vec![];
    word(&mut content, 2);
    word(&mut content, values.len() as u32);
    content.extend(values);
    element(9, &[steps, notes], "", &content)
}

fn file(parts: &[(&str, Vec<Vec<u8>>)]) -> Vec<u8> {
    let mut out = b"MATLAB 5.0 MAT-file, written by a test".to_vec();
    out.resize(124, b' ');
    out.extend([0, 1, b'I', b'M']);
    for (name, cells) in parts {
        out.extend(element(1, &[1, cells.len() as u32], name, &cells.concat()));
    }
    out
}

/// Three pieces for training, and one each for validation and test.
fn parts() -> [(&'static str, Vec<Vec<u8>>); 3] {
    let train = vec![
        piece(3, 2, &[1, 0, 1, 0, 1, 1]),
        piece(5, 2, &[1, 0, 0, 0, 1, 0, 1, 1, 1, 0]),
        piece(2, 2, &[0, 1, 1, 0]),
    ];
    let validation = vec![piece(4, 2, &[1, 1, 0, 0, 0, 0, 1, 1])];
    [("traindata", train), ("validdata", validation), ("testdata", vec![piece(3, 2, &[0, 1, 0, 1, 0, 1])])]
}

fn dataset(place: &Place, more: Value) -> Dataset {
    let mut value = json!({"recipe": "music", "raw": place.raw(), "file": "songs.mat"});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

/// Inputs and targets of all rows of a split.
fn rolls(place: &Place, split: Split) -> (Vec<f32>, Vec<u8>) {
    let folder = DatasetFolder::open(&place.target()).unwrap();
    let data = folder.split(split).unwrap();
    let batch = data.gather(&(0..data.len()).collect::<Vec<_>>()).unwrap();
    let Targets::Mask { values, ignore } = batch.target else { panic!("masks are expected") };
    assert!(ignore.iter().all(|&ignored| ignored == 0), "silence after the end counts");
    (batch.input, values)
}

#[test]
fn a_step_predicts_the_next_and_short_pieces_end_in_silence() {
    let place = Place::new();
    place.put("songs.mat", &file(&parts()));
    let wanted = dataset(&place, json!({"steps": 4}));
    assert_eq!(sources(&wanted).unwrap(), [place.raw().join("songs.mat")]);
    let card = place.ingest(&wanted, Protocol::Strict).unwrap();
    assert_eq!(card.input.shape, [2, 3]);
    assert_eq!((card.target.outputs(), card.target.is_dense()), (2, true));
    assert_eq!((&card.notes["longest_piece"], &card.notes["pieces_cut"]), (&json!(5), &json!(1)));
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [3, 1, 1]);
    let (input, target) = rolls(&place, Split::Train);
    assert_eq!(input, [1., 0., 1., 0., 1., 1., 1., 0., 0., 0., 1., 1., 0., 1., 0., 1., 0., 0.]);
    assert_eq!(target, [0, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
    assert_eq!(rolls(&place, Split::Validation), (vec![1., 1., 0., 0., 0., 1.], vec![1, 0, 0, 0, 1, 1]));

    // By default nothing is cut; under the paper protocol validation pieces are trained on, not tuned on.
    let card = place.ingest(&dataset(&place, json!({})), Protocol::Paper).unwrap();
    assert_eq!((card.input.shape.as_slice(), &card.notes["steps"]), (&[2, 4][..], &json!(5)));
    assert_eq!(Split::ALL.map(|split| card.splits[&split].rows), [4, 1, 1]);
    let folder = DatasetFolder::open(&place.target()).unwrap();
    assert_eq!(folder.split(Split::Train).unwrap().tuning_rows(), Some(&[0, 1, 2][..]));
}

#[test]
fn bad_songs_are_refused() {
    let place = Place::new();
    let wanted = dataset(&place, json!({}));
    assert!(place.refusal(&wanted).contains("no such folder"));
    let refusal = |bytes: &[u8], words: &str| {
        place.put("songs.mat", bytes);
        let message = place.refusal(&wanted);
        assert!(message.contains("songs.mat") && message.contains(words), "{message}");
    };
    let whole = file(&parts());
    refusal(&whole[..whole.len() - 9], "ends early");
    refusal(&file(&parts()[..2]), "no field `testdata`; the file has `traindata`, `validdata`");
    let with = |cell: Vec<u8>| {
        let mut parts = parts();
        parts[1].1[0] = cell;
        file(&parts)
    };
    refusal(&with(piece(2, 2, &[0, 1, 2, 0])), "field `validdata[0][0, 1]`: is 2; 0 or 1 is expected");
    refusal(&with(piece(2, 3, &[0; 6])), "field `validdata[0]`: has 3 notes, the first piece has 2");
    refusal(&with(piece(1, 2, &[0, 1])), "field `validdata[0]`: a piece of 1 steps and 2 notes");
    let mut none = parts();
    none[2].1.clear();
    refusal(&file(&none), "field `testdata`: holds no pieces");
    let numbers = element(9, &[1, 1], "traindata", &[2, 0, 0, 0, 1, 0, 0, 0, 1]);
    refusal(
        &[file(&[]), numbers].concat(),
        "field `traindata`: is a numeric array; a cell array is expected",
    );
}

#[test]
fn pieces_are_cut_or_filled_with_silence() {
    // Three steps of two notes.
    let piece = Piece(vec![1, 0, 1, 0, 1, 1]);
    assert_eq!(piece.steps(2), 3);
    let roll = |steps, first| piece.roll(2, steps, first).collect::<Vec<u8>>();
    assert_eq!((roll(3, 0), roll(3, 1)), (vec![1, 0, 0, 1], vec![0, 1, 1, 1]));
    assert_eq!((roll(2, 0), roll(2, 1)), (vec![1, 0], vec![0, 1]));
    assert_eq!(roll(5, 0), [1, 0, 1, 0, 0, 1, 1, 0]);
    assert_eq!(roll(5, 1), [0, 1, 0, 0, 1, 1, 0, 0]);
}
