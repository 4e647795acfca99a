//! CIFAR-100, Python edition: pickles of `train`, `test` and `meta`, unpacked or in one archive.

use crate::{
    Error, packed,
    pickle::{Array, Pickle},
    points::{
        End, Labels, Part, Samples, check_finite, find, held_out, layout, warn_of_missing_classes,
        write_splits,
    },
    recipe::{About, Ingest, describe, field, listing, raw_file},
    satellite::labels,
};
use dash_core::{
    card::Card,
    event::Listener,
    pipeline::{Cifar100, Protocol},
};
use dash_store::Staging;
use std::path::{Path, PathBuf};

const LICENCE: &str = "no licence is stated (cite Krizhevsky 2009, Learning Multiple Layers of Features from Tiny \
                       Images)";

/// Colour planes of an image: the format has no shape that could say otherwise.
pub(crate) const CHANNELS: usize = 3;

/// The largest value of a pixel.
const WHITE: f64 = 255.0;

const FILES: [&str; 3] = ["train", "test", "meta"];

/// The raw files that [`ingest`] will read.
pub(crate) fn sources(config: &Cifar100) -> Result<Vec<PathBuf>, Error> {
    files(&config.raw, &config.archive, "dataset.archive")
}

/// The three pickles in a raw folder, or the archive that holds them, which `key` names.
pub(crate) fn files(raw: &Path, archive: &Path, key: &str) -> Result<Vec<PathBuf>, Error> {
    let all = listing(raw)?;
    let folders: Vec<&Path> =
        all.iter().filter(|path| path.ends_with("train")).filter_map(|path| path.parent()).collect();
    // Another folder may have a file of that name as well.
    let complete = |folder: &&&Path| FILES.iter().all(|name| folder.join(name).is_file());
    let folder = folders.iter().find(complete).or(folders.first());
    match folder {
        Some(folder) => FILES.iter().map(|name| raw_file(folder, Path::new(name))).collect(),
        None => Ok(vec![find(raw, archive, key)?]),
    }
}

/// The pickles `train`, `test` and `meta` of the files that [`files`] has found, with their paths.
pub(crate) fn open(files: &[PathBuf]) -> Result<([PathBuf; 3], [Pickle; 3]), Error> {
    match files {
        [train, test, meta] => {
            let pickles = [Pickle::open(train)?, Pickle::open(test)?, Pickle::open(meta)?];
            Ok(([train.clone(), test.clone(), meta.clone()], pickles))
        }
        [archive, ..] => {
            let [train, test, meta] = packed::members(archive, FILES)?;
            // Messages name the member as if it were below the archive.
            let paths = FILES.map(|name| archive.join(name));
            let read = |bytes: Vec<u8>, path: &Path| Pickle::from_bytes(bytes.into(), path);
            let pickles = [read(train, &paths[0])?, read(test, &paths[1])?, read(meta, &paths[2])?];
            Ok((paths, pickles))
        }
        [] => Err(Error::Row { row: 0, rows: 0 }),
    }
}

pub(crate) fn ingest(
    config: &Cifar100,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<Card, Error> {
    let files = sources(config)?;
    let (paths, pickles) = open(&files)?;
    let [train_path, test_path, meta_path] = &paths;
    let [train, test, meta] = &pickles;
    let (mut train_images, train_labels) = read(config, train_path, train)?;
    let (mut test_images, test_labels) = read(config, test_path, test)?;
    if train_images.pixels != test_images.pixels {
        let problem = format!(
            "images of {} pixels, those of the training file have {}",
            test_images.pixels, train_images.pixels
        );
        return Err(Error::field(test_path, "data", problem));
    }
    let names = names(meta_path, meta)?;
    check_labels(&train_labels, &names)?;
    check_labels(&test_labels, &names)?;
    // Black is what images are padded with; the dataset holds normalised values.
    let black: Vec<f32> = config
        .mean
        .iter()
        .zip(&config.deviation)
        .map(|(mean, deviation)| (-mean / deviation) as f32)
        .collect();
    let side = train_images.side;
    let marks =
        held_out(train_labels.values.len(), config.validation_fraction, config.split_seed, End::First)?;
    let layout = layout(vec![CHANNELS, side, side], &names, vec!["sample"]);
    let mut ingest = Ingest::new(staging, protocol, layout);
    let part = |samples, labels: &Labels, held_out| Part {
        samples,
        classes: labels.values.iter().map(|&label| usize::try_from(label).unwrap_or(usize::MAX)).collect(),
        held_out,
    };
    write_splits(
        &mut ingest,
        part(&mut train_images, &train_labels, Some(marks)),
        part(&mut test_images, &test_labels, None),
        listener,
    )?;
    warn_of_missing_classes(&ingest, listener);
    ingest.finish(About {
        recipe: "cifar100",
        sources: files.iter().map(|path| describe(&config.raw, path)).collect::<Result<_, _>>()?,
        target_scaling: None,
        notes: [
            ("split_seed".to_owned(), config.split_seed.into()),
            ("validation_fraction".to_owned(), config.validation_fraction.into()),
            ("mean".to_owned(), serde_json::json!(config.mean)),
            ("deviation".to_owned(), serde_json::json!(config.deviation)),
            ("padding_value".to_owned(), serde_json::json!(black)),
        ]
        .into(),
        licence: LICENCE,
    })
}

/// Images of a file: bytes, one colour plane after the other.
struct Images<'a> {
    path: &'a Path,
    array: &'a Array,
    side: usize,
    pixels: usize,
    mean: &'a [f64],
    deviation: &'a [f64],
}

fn read<'a>(config: &'a Cifar100, path: &'a Path, pickle: &'a Pickle) -> Result<(Images<'a>, Labels), Error> {
    let (array, side, labels) = images(path, pickle)?;
    let (mean, deviation) = (config.mean.as_slice(), config.deviation.as_slice());
    Ok((Images { path, array, side, pixels: side * side, mean, deviation }, labels))
}

/// The images of a file, a row of numbers each, their side and their labels.
pub(crate) fn images<'a>(path: &Path, pickle: &'a Pickle) -> Result<(&'a Array, usize, Labels), Error> {
    let data = field(path, pickle.root(), "data")?;
    let wrong = |problem: String| Error::field(path, "data", problem);
    let array = data.as_array().filter(|array| array.dtype().is_numeric());
    let array = array.ok_or_else(|| wrong(format!("is {}; an array of numbers is expected", data.kind())))?;
    let &[samples, length] = array.shape() else {
        return Err(wrong(format!("the shape {:?}; (images, values) is expected", array.shape())));
    };
    let pixels = length / CHANNELS;
    let side = pixels.isqrt();
    if samples == 0 || side == 0 || CHANNELS * side * side != length {
        return Err(wrong(format!("the shape {:?} is not that of square images", array.shape())));
    }
    let labels = labels(path, pickle.root(), "fine_labels")?;
    labels.check_count(samples, "`data`")?;
    Ok((array, side, labels))
}

/// The names of the classes, in the order of their labels.
pub(crate) fn names(path: &Path, meta: &Pickle) -> Result<Vec<String>, Error> {
    let names = field(path, meta.root(), "fine_label_names")?;
    names.texts().filter(|names| !names.is_empty()).ok_or_else(|| {
        let problem = format!("is {}; a list of names is expected", names.kind());
        Error::field(path, "fine_label_names", problem)
    })
}

pub(crate) fn check_labels(labels: &Labels, names: &[String]) -> Result<(), Error> {
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

impl Samples for Images<'_> {
    fn inputs(&mut self, first: usize, count: usize) -> Result<Vec<f32>, Error> {
        let mut values = self.array.rows_f32(first, count).ok_or_else(|| {
            let problem = format!("holds elements of type {}; numbers are expected", self.array.dtype());
            Error::field(self.path, "data", problem)
        })?;
        check_finite(self.path, "data", &values, first, CHANNELS * self.pixels)?;
        let codes = self.mean.iter().zip(self.deviation).cycle();
        for (plane, (mean, deviation)) in values.chunks_exact_mut(self.pixels).zip(codes) {
            for value in plane {
                *value = ((f64::from(*value) / WHITE - mean) / deviation) as f32;
            }
        }
        Ok(values)
    }
}
