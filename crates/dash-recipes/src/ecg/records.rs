//! Reads recordings and their labels: the benchmark's pickle, or the challenge's own folder.
//!
//! The folder holds `RECORDS` with a name per line, a table of names and labels, and per recording a MATLAB
//! file with the samples in `val`, one row of them.

use crate::{Error, shared::pickle::field};
use dash_data::raw::{list_files, name_files};
use dash_formats::{
    matlab::MatFile,
    pickle::{Pickle, Value},
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// Labels in the order of their class index: normal, atrial fibrillation, other rhythm, noise.
pub(super) const LABELS: [&str; 4] = ["N", "A", "O", "~"];

/// Tables of labels, the latest version first.
const TABLES: [&str; 2] = ["REFERENCE-v3.csv", "REFERENCE.csv"];

/// Where recordings come from.
pub(super) enum Source {
    Pickle(Box<Pickle>, PathBuf),
    Folder(Folder),
}

/// The challenge's folder.
pub(super) struct Folder {
    records: Vec<PathBuf>,
    table: PathBuf,
    labels: Vec<(String, String)>,
}

impl Source {
    /// Opens a pickle or lists a folder.
    pub(super) fn open(path: &Path) -> Result<Source, Error> {
        if path.is_dir() {
            return Folder::open(path).map(Source::Folder);
        }
        Ok(Source::Pickle(Box::new(Pickle::open(path)?), path.to_owned()))
    }

    /// The files that are read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match self {
            Source::Pickle(_, path) => vec![path.clone()],
            Source::Folder(folder) => [std::slice::from_ref(&folder.table), &folder.records].concat(),
        }
    }

    /// The file that says which recordings there are.
    pub(super) fn path(&self) -> &Path {
        match self {
            Source::Pickle(_, path) => path,
            Source::Folder(folder) => &folder.table,
        }
    }

    /// All recordings with their classes, in order.
    pub(super) fn recordings(&self) -> Result<Vec<(Recording<'_>, usize)>, Error> {
        match self {
            Source::Pickle(pickle, path) => {
                let recordings = field(path, pickle.root(), "data")?;
                let recordings: Vec<_> = recordings
                    .items()
                    .ok_or_else(|| {
                        let kind = recordings.kind();
                        let problem = format!("is {kind}; a list or object array of recordings is expected");
                        Error::field(path, "data", problem)
                    })?
                    .collect();
                let classes = classes(path, pickle.root(), recordings.len())?;
                let recording = |(index, value)| Recording::Value { path, index, value };
                Ok(recordings.into_iter().enumerate().map(recording).zip(classes).collect())
            }
            Source::Folder(folder) => {
                let labels = folder.labels.iter().map(|(name, label)| {
                    class(label).map_err(|problem| Error::field(&folder.table, name, problem))
                });
                let classes: Vec<usize> = labels.collect::<Result<_, _>>()?;
                Ok(folder.records.iter().map(|path| Recording::File(path)).zip(classes).collect())
            }
        }
    }
}

/// A recording, not yet read.
#[derive(Clone, Copy)]
pub(super) enum Recording<'a> {
    Value { path: &'a Path, index: usize, value: Value<'a> },
    File(&'a Path),
}

impl Recording<'_> {
    /// Its samples.
    pub(super) fn samples(&self) -> Result<Vec<f64>, Error> {
        match self {
            Recording::Value { value, .. } => value
                .numbers()
                .ok_or_else(|| self.wrong(format!("is {}; a series of numbers is expected", value.kind()))),
            Recording::File(path) => {
                let file = MatFile::open(path)?;
                let variable = file.numeric("val")?;
                if variable.dimensions.iter().filter(|&&axis| axis != 1).count() > 1 {
                    let shape = variable.dimensions.iter().map(usize::to_string).collect::<Vec<_>>();
                    let problem = format!("has shape {}; one row of samples is expected", shape.join(" by "));
                    return Err(self.wrong(problem));
                }
                let mut samples = vec![];
                file.visit::<Error>(variable, |piece| {
                    samples.extend_from_slice(piece.values);
                    Ok(())
                })?;
                Ok(samples)
            }
        }
    }

    /// The error that something about this recording is wrong.
    pub(super) fn wrong(&self, problem: String) -> Error {
        match self {
            Recording::Value { path, index, .. } => Error::field(path, format!("data[{index}]"), problem),
            Recording::File(path) => Error::field(path, "val", problem),
        }
    }
}

fn class(label: &str) -> Result<usize, String> {
    LABELS
        .iter()
        .position(|known| *known == label)
        .ok_or_else(|| format!("unknown label {label:?}; the labels are {}", LABELS.join(", ")))
}

/// Class indices of all recordings of a pickle.
fn classes(path: &Path, root: Value<'_>, recordings: usize) -> Result<Vec<usize>, Error> {
    let value = field(path, root, "label")?;
    let labels = value.texts().ok_or_else(|| {
        Error::field(path, "label", format!("is {}; a list or array of text is expected", value.kind()))
    })?;
    if labels.len() != recordings {
        return Err(Error::field(
            path,
            "label",
            format!("{} labels for the {recordings} recordings of `data`", labels.len()),
        ));
    }
    let class = |(record, label): (usize, &String)| {
        class(label).map_err(|problem| Error::field(path, format!("label[{record}]"), problem))
    };
    labels.iter().enumerate().map(class).collect()
}

impl Folder {
    fn open(folder: &Path) -> Result<Folder, Error> {
        let table = TABLES.map(|name| folder.join(name)).into_iter().find(|path| path.is_file());
        let table = table.ok_or_else(|| {
            let found = list_files(folder).map(|files| name_files(folder, &files)).unwrap_or_default();
            let problem = format!("there is no table of labels {}; {found}", TABLES.join(" or "));
            Error::raw(folder, problem)
        })?;
        let listed = labels(&table)?;
        let records = folder.join("RECORDS");
        let names = match std::fs::read_to_string(&records) {
            Ok(text) => text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect(),
            // The table has the same names.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                listed.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
            }
            Err(e) => return Err(Error::io(&records)(e)),
        };
        let by_name: HashMap<&str, &str> = listed.iter().map(|(n, l)| (n.as_str(), l.as_str())).collect();
        if by_name.len() != listed.len() {
            return Err(Error::field(&table, "name", "a recording is listed twice"));
        }
        let mut labels = vec![];
        let mut files = vec![];
        for name in names {
            // A name is the name of a file of this folder, and nothing else.
            if name.contains(['/', '\\', '\0']) || name.starts_with('.') {
                return Err(Error::field(&records, &name, "is not the name of a recording"));
            }
            let label = by_name.get(name.as_str()).ok_or_else(|| {
                Error::field(&table, &name, "is missing: there is no label for this recording")
            })?;
            let path = folder.join(format!("{name}.mat"));
            if !path.is_file() {
                let problem = "there is no such file, but RECORDS or the table of labels lists it".to_owned();
                return Err(Error::raw(path, problem));
            }
            files.push(path);
            labels.push((name, (*label).to_owned()));
        }
        Ok(Folder { records: files, table, labels })
    }
}

/// Names and labels, a pair per line.
fn labels(table: &Path) -> Result<Vec<(String, String)>, Error> {
    let text = std::fs::read(table).map_err(Error::io(table))?;
    let text = String::from_utf8(text).map_err(|_| Error::field(table, "label", "is not text in UTF-8"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| match line.split_once(',') {
            Some((name, label)) => Ok((name.trim().to_owned(), label.trim().to_owned())),
            None => {
                let line = index + 1;
                Err(Error::field(
                    table,
                    format!("line {line}"),
                    "a name and a label, parted by a comma, are expected",
                ))
            }
        })
        .collect()
}
