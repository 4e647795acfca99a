//! Polyphonic music: piano rolls in MATLAB cell arrays, each step predicted from those before.

use crate::{DatasetRecipe, Error};
use dash_core::{
    card::{DatasetCard, ElementType, Split, Target, TensorField},
    event::Event,
    pipeline::{Music, Protocol},
};
use dash_data::{
    CardDetails, DatasetRow, Ingest, RowLayout, RowTarget,
    raw::{describe_source, required_file},
};
use dash_formats::matlab::MatFile;
use std::path::{Path, PathBuf};

const LICENCE: &str = "terms of the source files (cite Boulanger-Lewandowski, Bengio, Vincent 2012)";

impl DatasetRecipe for Music {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(vec![required_file(&self.raw, &self.file)?])
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        let (protocol, listener) = (cx.protocol, cx.listener);
        let path = required_file(&self.raw, &self.file)?;
        let file = MatFile::open(&path)?;
        let mut notes = None;
        let mut part = |name| pieces(&path, &file, name, &mut notes);
        let [train, validation, test] = [part("traindata")?, part("validdata")?, part("testdata")?];
        let notes = notes.unwrap_or(0);
        let all = || [&train, &validation, &test].into_iter().flatten();
        let longest = all().map(|piece| piece.steps(notes)).max().unwrap_or(0);
        let steps = self.steps.unwrap_or(longest);
        if steps < 2 {
            return Err(Error::configuration(
                "dataset.steps",
                "must be at least 2: a step predicts the next",
            ));
        }
        let tensor = |column: &str| TensorField {
            column: column.to_owned(),
            shape: vec![notes, steps - 1],
            element: ElementType::U8,
        };
        let layout = RowLayout::new(
            tensor("input"),
            Target::Mask { tensor: tensor("target"), ignore: None },
            vec!["part", "piece"],
        );
        let mut writer = cx.writer(layout);
        writer.store_bytes(None);
        // Pieces, the number of their part, and whether tuning may train on them.
        type Pieces<'p> = (&'p [Piece], i64, bool);
        let mut of_training: Vec<Pieces<'_>> = vec![(&train, 0, true)];
        if protocol == Protocol::Paper {
            of_training.push((&validation, 1, false));
        }
        for (split, parts) in [
            (Split::Train, of_training),
            (Split::Validation, vec![(validation.as_slice(), 1, true)]),
            (Split::Test, vec![(test.as_slice(), 2, true)]),
        ] {
            writer.split::<Error>(split, |push| {
                let total = parts.iter().map(|(pieces, ..)| pieces.len()).sum();
                let mut done = 0;
                for &(pieces, part, tuning) in &parts {
                    for (number, piece) in pieces.iter().enumerate() {
                        let input: Vec<f32> = piece.roll(notes, steps, 0).map(f32::from).collect();
                        let target: Vec<u8> = piece.roll(notes, steps, 1).collect();
                        push(DatasetRow {
                            input: &input,
                            target: RowTarget::Mask { values: &target, ignore: &[] },
                            background: 0.0,
                            ids: &[part, number as i64],
                            tuning,
                        })?;
                        done += 1;
                        listener.on(&Event::Progress {
                            what: format!("{} pieces", split.name()),
                            done,
                            total,
                        });
                    }
                }
                Ok(())
            })?;
        }
        let cut = all().filter(|piece| piece.steps(notes) > steps).count();
        Ok(writer.finish(CardDetails {
            sources: vec![describe_source(&self.raw, &path)?],
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
        })?)
    }
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
    file.visit_cells::<Error>(file.cells(name)?, |cell| {
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
mod tests;
