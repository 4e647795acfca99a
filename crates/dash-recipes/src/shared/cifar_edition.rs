//! Reads the files of CIFAR-10 and CIFAR-100, Python editions: pickles, unpacked or in one archive.

use super::{
    classification::{Labels, integer_labels},
    pickle::field,
};
use crate::Error;
use dash_data::raw::{find_file, list_files, required_file};
use dash_formats::{
    archive,
    pickle::{Pickle, PickleArray},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Colour planes of an image; the format fixes them.
pub(crate) const CHANNELS: usize = 3;

/// Names of the files of an edition, and of the fields in them.
pub(crate) struct Edition {
    first_train: &'static str,
    more_train: &'static [&'static str],
    test: &'static str,
    meta: &'static str,
    /// Field of the labels.
    labels: &'static str,
    /// Field of the names of the classes, in the order of their labels.
    names: &'static str,
}

pub(crate) const HUNDRED: Edition = Edition {
    first_train: "train",
    more_train: &[],
    test: "test",
    meta: "meta",
    labels: "fine_labels",
    names: "fine_label_names",
};

pub(crate) const TEN: Edition = Edition {
    first_train: "data_batch_1",
    more_train: &["data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
    test: "test_batch",
    meta: "batches.meta",
    labels: "labels",
    names: "label_names",
};

/// Where the files of an edition are.
pub(crate) enum EditionSource {
    Folder(PathBuf),
    Archive(PathBuf),
}

impl EditionSource {
    /// The files on disk.
    pub(crate) fn paths(&self, edition: &Edition) -> Vec<PathBuf> {
        match self {
            EditionSource::Folder(folder) => edition.files().iter().map(|name| folder.join(name)).collect(),
            EditionSource::Archive(path) => vec![path.clone()],
        }
    }
}

/// The files of an edition.
pub(crate) struct EditionFiles {
    pub(crate) first: PickleFile,
    pub(crate) more: Vec<PickleFile>,
    pub(crate) test: PickleFile,
    /// The file with the names of the classes.
    pub(crate) meta: PickleFile,
}

/// A pickle and its path; that of a member of an archive is written as if it were below the archive.
pub(crate) struct PickleFile {
    pub(crate) path: PathBuf,
    pickle: Pickle,
}

impl Edition {
    /// Names of all files: those for training, the test file, the one with the names of the classes.
    fn files(&self) -> Vec<&'static str> {
        let train = std::iter::once(self.first_train).chain(self.more_train.iter().copied());
        train.chain([self.test, self.meta]).collect()
    }

    /// The folder with all pickles in a raw folder, or the archive that holds them, which `key` names.
    pub(crate) fn source(&self, raw: &Path, archive: &Path, key: &str) -> Result<EditionSource, Error> {
        let all = list_files(raw)?;
        let names = self.files();
        let folders: Vec<&Path> = all
            .iter()
            .filter(|path| path.ends_with(self.first_train))
            .filter_map(|path| path.parent())
            .collect();
        // Another folder may have a file of that name as well.
        let complete = |folder: &&&Path| names.iter().all(|name| folder.join(name).is_file());
        let Some(folder) = folders.iter().find(complete).or(folders.first()) else {
            return Ok(EditionSource::Archive(find_file(raw, archive, key)?));
        };
        for name in names {
            required_file(folder, Path::new(name))?;
        }
        Ok(EditionSource::Folder((*folder).to_owned()))
    }

    /// Reads the pickles.
    pub(crate) fn open(&self, source: &EditionSource) -> Result<EditionFiles, Error> {
        let names = self.files();
        let mut members = match source {
            EditionSource::Folder(_) => BTreeMap::new(),
            EditionSource::Archive(path) => names.iter().zip(archive::members(path, &names)?).collect(),
        };
        let mut open = |name: &'static str| -> Result<PickleFile, Error> {
            Ok(match source {
                EditionSource::Folder(folder) => {
                    let path = folder.join(name);
                    PickleFile { pickle: Pickle::open(&path)?, path }
                }
                EditionSource::Archive(archive) => {
                    let path = archive.join(name);
                    let bytes = members.remove(&name).unwrap_or_default();
                    PickleFile { pickle: Pickle::from_bytes(bytes.into(), &path)?, path }
                }
            })
        };
        Ok(EditionFiles {
            first: open(self.first_train)?,
            more: self.more_train.iter().copied().map(&mut open).collect::<Result<_, _>>()?,
            test: open(self.test)?,
            meta: open(self.meta)?,
        })
    }

    /// The names of the classes, in the order of their labels.
    pub(crate) fn names(&self, meta: &PickleFile) -> Result<Vec<String>, Error> {
        let (path, meta) = (&meta.path, &meta.pickle);
        let names = field(path, meta.root(), self.names)?;
        names.texts().filter(|names| !names.is_empty()).ok_or_else(|| {
            let problem = format!("is {}; a list of names is expected", names.kind());
            Error::field(path, self.names, problem)
        })
    }

    /// The images of a file, a row of numbers each, their side and their labels, each of which has one of
    /// `names`.
    pub(crate) fn images<'a>(
        &self,
        file: &'a PickleFile,
        names: &[String],
    ) -> Result<(&'a PickleArray, usize, Labels), Error> {
        let (path, pickle) = (&file.path, &file.pickle);
        let data = field(path, pickle.root(), "data")?;
        let wrong = |problem: String| Error::field(path, "data", problem);
        let array = data.as_array().filter(|array| array.dtype().is_numeric());
        let array =
            array.ok_or_else(|| wrong(format!("is {}; an array of numbers is expected", data.kind())))?;
        let &[samples, length] = array.shape() else {
            return Err(wrong(format!("the shape {:?}; (images, values) is expected", array.shape())));
        };
        let side = (length / CHANNELS).isqrt();
        if samples == 0 || side == 0 || CHANNELS * side * side != length {
            return Err(wrong(format!("the shape {:?} is not that of square images", array.shape())));
        }
        let labels = integer_labels(path, pickle.root(), self.labels)?;
        labels.check_count(samples, "`data`")?;
        check_labels(&labels, names)?;
        Ok((array, side, labels))
    }
}

fn check_labels(labels: &Labels, names: &[String]) -> Result<(), Error> {
    let unknown = |&label: &i64| usize::try_from(label).map_or(true, |label| label >= names.len());
    match labels.values.iter().position(unknown) {
        None => Ok(()),
        Some(at) => {
            let label = labels.values.get(at).copied().unwrap_or_default();
            let problem = format!("the label {label} has no name; there are {} names", names.len());
            Err(Error::field(&labels.path, format!("{}[{at}]", labels.field), problem))
        }
    }
}
