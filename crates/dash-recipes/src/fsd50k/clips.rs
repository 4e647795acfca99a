//! Reads the tables: the chunks of each clip, and its labels.

use super::files::{FileId, Files};
use crate::Error;
use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::Path,
};

/// The file with the numbers of the labels.
pub(super) const LABELS: &str = "lbl_map.json";

/// A recording that was cut into chunks.
#[derive(Clone, Debug)]
pub(super) struct Clip {
    /// What identifies it in the dataset: its name if all names are numbers, else its place among them.
    pub(super) id: i64,
    /// Numbers of its labels, ascending.
    labels: Vec<usize>,
    pub(super) chunks: Vec<FileId>,
}

impl Clip {
    /// 0 or 1 for each of `count` labels.
    pub(super) fn multi_hot(&self, count: usize) -> Vec<u8> {
        let mut labels = vec![0; count];
        for &label in &self.labels {
            if let Some(slot) = labels.get_mut(label) {
                *slot = 1;
            }
        }
        labels
    }
}

/// Names of the labels by number, from a JSON object of numbers by name.
pub(super) fn labels(files: &Files) -> Result<Vec<String>, Error> {
    let id = files.table(LABELS)?;
    let path = files.locate(id);
    let wrong = |field: &str, problem: String| Error::field(&path, field, problem);
    let numbers: BTreeMap<String, usize> = serde_json::from_slice(&files.bytes(id)?)
        .map_err(|e| wrong("labels", format!("is not a JSON object of numbers by name: {e}")))?;
    if numbers.is_empty() {
        return Err(wrong("labels", "there are none".to_owned()));
    }
    let mut names = vec![None; numbers.len()];
    for (name, &number) in &numbers {
        match names.get_mut(number) {
            Some(Some(other)) => {
                return Err(wrong(name, format!("has the number {number}, as {other:?} has")));
            }
            Some(place) => *place = Some(name.clone()),
            None => {
                let most = numbers.len() - 1;
                return Err(wrong(name, format!("has the number {number}; 0 to {most} are expected")));
            }
        }
    }
    Ok(names.into_iter().flatten().collect())
}

/// Files that no other table may name.
pub(super) type Taken = HashSet<FileId>;

/// The clips of a table, by name.
pub(super) fn read(
    files: &Files,
    table: &str,
    labels: &[String],
    taken: &mut Taken,
) -> Result<BTreeMap<String, Clip>, Error> {
    let id = files.table(table)?;
    let path = files.locate(id);
    let numbers: BTreeMap<&str, usize> =
        labels.iter().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
    let mut reader = csv::Reader::from_reader(files.stream(id)?);
    let headers = reader.headers().map_err(damaged(&path))?.clone();
    let column = |name: &str| {
        headers.iter().position(|header| header.trim() == name).ok_or_else(|| {
            dash_formats::Error::MissingField {
                path: path.clone(),
                field: name.to_owned(),
                found: format!("the columns {}", headers.iter().take(10).collect::<Vec<_>>().join(", ")),
            }
        })
    };
    let (file_column, label_column, clip_column) = (column("files")?, column("labels")?, column("ext")?);
    let mut clips: BTreeMap<String, Clip> = BTreeMap::new();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(damaged(&path))?;
        let cell = |column: usize| record.get(column).unwrap_or_default().trim();
        let wrong = |column: &str, problem: String| Error::field(&path, format!("{column}[{row}]"), problem);
        let file = files.recording(cell(file_column)).map_err(|problem| wrong("files", problem))?;
        if !taken.insert(file) {
            return Err(wrong("files", format!("{:?} is listed twice", cell(file_column))));
        }
        let mut marked = vec![];
        for name in cell(label_column).split(',').map(str::trim) {
            let number = numbers.get(name).copied();
            marked.push(number.ok_or_else(|| {
                wrong("labels", format!("{name:?} is not one of the {} of `{LABELS}`", labels.len()))
            })?);
        }
        marked.sort_unstable();
        marked.dedup();
        let name = cell(clip_column);
        if name.is_empty() {
            return Err(wrong("ext", "the chunk is of no clip".to_owned()));
        }
        match clips.get_mut(name) {
            None => {
                clips.insert(name.to_owned(), Clip { id: 0, labels: marked, chunks: vec![file] });
            }
            Some(clip) if clip.labels != marked => {
                return Err(wrong("labels", format!("are not those of other chunks of the clip {name:?}")));
            }
            Some(clip) => clip.chunks.push(file),
        }
    }
    if clips.is_empty() {
        return Err(Error::field(&path, "files", "there are none"));
    }
    Ok(clips)
}

fn damaged(path: &Path) -> impl Fn(csv::Error) -> Error {
    let path = path.to_owned();
    move |error| {
        let problem = error.to_string();
        match error.into_kind() {
            csv::ErrorKind::Io(source) if source.kind() != io::ErrorKind::InvalidData => {
                Error::io(&path)(source)
            }
            _ => Error::table(&path, format!("is not a table: {problem}")),
        }
    }
}

/// The clips in the order of their ids.
pub(super) fn in_order(clips: BTreeMap<String, Clip>) -> Vec<Clip> {
    let number = |name: &String| name.parse::<i64>().ok().filter(|number| number.to_string() == *name);
    let all_numbers = clips.keys().all(|name| number(name).is_some());
    let identified = clips.into_iter().zip(0..).map(|((name, clip), place)| Clip {
        id: number(&name).filter(|_| all_numbers).unwrap_or(place),
        ..clip
    });
    let mut clips: Vec<Clip> = identified.collect();
    clips.sort_by_key(|clip| clip.id);
    clips
}
