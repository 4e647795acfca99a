//! Polyphonic music: piano rolls in MATLAB cell arrays, each step predicted from those before.

use crate::{
    Error,
    matlab::MatFile,
    recipe::{About, Ingest, describe, raw_file},
    table::{Layout, Row, RowTarget},
};
use dash_core::{
    card::{DatasetCard, ElementType, Split, Target, TensorField},
    event::{Event, Listener},
    pipeline::{Music, Protocol},
};
use dash_store::Staging;
use std::path::{Path, PathBuf};

const LICENCE: &str = "terms of the source files (cite Boulanger-Lewandowski, Bengio, Vincent 2012)";

pub(crate) fn source(config: &Music) -> Result<PathBuf, Error> {
    raw_file(&config.raw, &config.file)
}

pub(crate) fn ingest(
    config: &Music,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<DatasetCard, Error> {
    let path = source(config)?;
    let file = MatFile::open(&path)?;
    let mut notes = None;
    let mut parts = vec![];
    for name in ["traindata", "validdata", "testdata"] {
        parts.push(pieces(&path, &file, name, &mut notes)?);
    }
    let [train, validation, test] = parts.as_slice() else {
        return Err(Error::Row { row: 2, rows: parts.len() });
    };
    let notes = notes.unwrap_or(0);
    let longest = parts.iter().flatten().map(|piece| piece.steps(notes)).max().unwrap_or(0);
    let steps = config.steps.unwrap_or(longest);
    if steps < 2 {
        return Err(Error::configuration("dataset.steps", "must be at least 2: a step predicts the next"));
    }
    let tensor = |column: &str| TensorField {
        column: column.to_owned(),
        shape: vec![notes, steps - 1],
        element: ElementType::U8,
    };
    let layout = Layout {
        input: tensor("input"),
        target: Target::Mask { tensor: tensor("target"), ignore: None },
        background: None,
        ids: vec!["part", "piece"],
        tuning: false,
    };
    let mut ingest = Ingest::new(staging, protocol, layout);
    ingest.store_bytes(None);
    // Pieces, the number of their part, and whether tuning may train on them.
    type Pieces<'p> = (&'p [Piece], i64, bool);
    let mut of_training: Vec<Pieces<'_>> = vec![(train, 0, true)];
    if protocol == Protocol::Paper {
        of_training.push((validation, 1, false));
    }
    for (split, parts) in [
        (Split::Train, of_training),
        (Split::Validation, vec![(validation.as_slice(), 1, true)]),
        (Split::Test, vec![(test.as_slice(), 2, true)]),
    ] {
        ingest.split(split, |push| {
            let total = parts.iter().map(|(pieces, ..)| pieces.len()).sum();
            let mut done = 0;
            for &(pieces, part, tuning) in &parts {
                for (number, piece) in pieces.iter().enumerate() {
                    let input: Vec<f32> = piece.roll(notes, steps, 0).map(f32::from).collect();
                    let target: Vec<u8> = piece.roll(notes, steps, 1).collect();
                    push(Row {
                        input: &input,
                        target: RowTarget::Mask { values: &target, ignore: &[] },
                        background: 0.0,
                        ids: &[part, number as i64],
                        tuning,
                    })?;
                    done += 1;
                    listener.on(&Event::Progress { what: format!("{} pieces", split.name()), done, total });
                }
            }
            Ok(())
        })?;
    }
    let cut = parts.iter().flatten().filter(|piece| piece.steps(notes) > steps).count();
    ingest.finish(About {
        recipe: "music",
        sources: vec![describe(&config.raw, &path)?],
        target_scaling: None,
        notes: [
            ("axes".to_owned(), serde_json::json!(["note", "step"])),
            ("parts".to_owned(), serde_json::json!(["traindata", "validdata", "testdata"])),
            ("steps".to_owned(), steps.into()),
            ("longest_piece".to_owned(), longest.into()),
            ("pieces_cut".to_owned(), cut.into()),
        ]
        .into(),
        licence: LICENCE,
    })
}

/// A piece: 0 or 1 for each note of each step, all steps of a note before the next note.
struct Piece(Vec<u8>);

impl Piece {
    fn steps(&self, notes: usize) -> usize {
        self.0.len() / notes.max(1)
    }

    /// The `steps - 1` steps from `first` on, note by note; there is silence after the end of the piece.
    fn roll(&self, notes: usize, steps: usize, first: usize) -> impl Iterator<Item = u8> {
        let length = self.steps(notes).max(1);
        self.0.chunks(length).flat_map(move |note| {
            (first..first + steps - 1).map(move |step| note.get(step).copied().unwrap_or(0))
        })
    }
}

/// The pieces of a cell array; `notes` is their common width, once it is known.
fn pieces(path: &Path, file: &MatFile, name: &str, notes: &mut Option<usize>) -> Result<Vec<Piece>, Error> {
    let mut pieces = vec![];
    file.visit_cells(file.cells(name)?, |cell| {
        let field = format!("{name}[{}]", cell.index);
        let wrong = |problem: String| Error::field(path, &field, problem);
        let &[steps, width] = cell.dimensions else {
            return Err(wrong(format!("has the shape {:?}; (steps, notes) is expected", cell.dimensions)));
        };
        if steps < 2 || width == 0 {
            return Err(wrong(format!("a piece of {steps} steps and {width} notes predicts nothing")));
        }
        match notes {
            Some(notes) if *notes != width => {
                return Err(wrong(format!("has {width} notes, the first piece has {notes}")));
            }
            _ => *notes = Some(width),
        }
        if let Some(at) = cell.values.iter().position(|&value| value != 0.0 && value != 1.0) {
            let value = cell.values.get(at).copied().unwrap_or(f64::NAN);
            let problem = format!("is {value}; 0 or 1 is expected");
            let field = format!("{field}[{}, {}]", at % steps, at / steps);
            return Err(Error::field(path, field, problem));
        }
        pieces.push(Piece(cell.values.iter().map(|&value| u8::from(value == 1.0)).collect()));
        Ok(())
    })?;
    if pieces.is_empty() {
        return Err(Error::field(path, name, "holds no pieces"));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
