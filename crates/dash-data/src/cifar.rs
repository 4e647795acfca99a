//! CIFAR-100 and CIFAR-10, Python editions: pickles, unpacked or in one archive.

use crate::{
    Error, packed,
    pickle::{Pickle, PickleArray},
    points::{
        End, Labels, Part, Samples, check_finite, find, held_out, layout, warn_of_missing_classes,
        write_splits,
    },
    recipe::{About, Ingest, describe, field, listing, raw_file},
    satellite::labels,
};
use dash_core::{
    card::{DatasetCard, InputScaling},
    event::Listener,
    pipeline::{Cifar10, Cifar100, Protocol},
};
use dash_store::Staging;
use std::path::{Path, PathBuf};

const LICENCE: &str = "no licence is stated (cite Krizhevsky 2009, Learning Multiple Layers of Features from Tiny \
                       Images)";

/// Colour planes of an image: the format has no shape that could say otherwise.
pub(crate) const CHANNELS: usize = 3;

/// The largest value of a pixel.
const WHITE: f64 = 255.0;

/// What the files of an edition are called, and the fields in them.
pub(crate) struct Edition {
    recipe: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    meta: &'static str,
    /// Field of the labels.
    pub(crate) labels: &'static str,
    /// Field of the names of the classes, in the order of their labels.
    names: &'static str,
}

pub(crate) const HUNDRED: Edition = Edition {
    recipe: "cifar100",
    train: &["train"],
    test: "test",
    meta: "meta",
    labels: "fine_labels",
    names: "fine_label_names",
};

const TEN: Edition = Edition {
    recipe: "cifar10",
    train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
    test: "test_batch",
    meta: "batches.meta",
    labels: "labels",
    names: "label_names",
};

impl Edition {
    /// Names of all files: those for training, the test file, the one with the names of the classes.
    fn files(&self) -> Vec<&'static str> {
        self.train.iter().copied().chain([self.test, self.meta]).collect()
    }

    /// All pickles in a raw folder, or the archive that holds them, which `key` names.
    pub(crate) fn sources(&self, raw: &Path, archive: &Path, key: &str) -> Result<Vec<PathBuf>, Error> {
        let all = listing(raw)?;
        let names = self.files();
        let first = names.first().copied().unwrap_or_default();
        let folders: Vec<&Path> =
            all.iter().filter(|path| path.ends_with(first)).filter_map(|path| path.parent()).collect();
        // Another folder may have a file of that name as well.
        let complete = |folder: &&&Path| names.iter().all(|name| folder.join(name).is_file());
        let folder = folders.iter().find(complete).or(folders.first());
        match folder {
            Some(folder) => names.iter().map(|name| raw_file(folder, Path::new(name))).collect(),
            None => Ok(vec![find(raw, archive, key)?]),
        }
    }

    /// The pickles of the files that [`Self::sources`] has found, in the order of the edition's files, each
    /// with its path; messages name a member of an archive as if it were below the archive.
    pub(crate) fn open(&self, files: &[PathBuf]) -> Result<Vec<(PathBuf, Pickle)>, Error> {
        let names = self.files();
        match files {
            [archive] if names.len() > 1 => {
                let members = packed::members(archive, &names)?;
                let read = |(name, bytes): (&&str, Vec<u8>)| {
                    let path = archive.join(name);
                    let pickle = Pickle::from_bytes(bytes.into(), &path)?;
                    Ok((path, pickle))
                };
                names.iter().zip(members).map(read).collect()
            }
            files => files.iter().map(|path| Ok((path.clone(), Pickle::open(path)?))).collect(),
        }
    }

    /// The names of the classes, in the order of their labels.
    pub(crate) fn names(&self, path: &Path, meta: &Pickle) -> Result<Vec<String>, Error> {
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
        path: &Path,
        pickle: &'a Pickle,
        names: &[String],
    ) -> Result<(&'a PickleArray, usize, Labels), Error> {
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
        let labels = labels(path, pickle.root(), self.labels)?;
        labels.check_count(samples, "`data`")?;
        check_labels(&labels, names)?;
        Ok((array, side, labels))
    }
}

/// The settings of either edition.
pub(crate) struct Cifar<'a> {
    edition: Edition,
    raw: &'a Path,
    archive: &'a Path,
    validation_fraction: f64,
    mean: &'a [f64],
    deviation: &'a [f64],
    permuted: bool,
    split_seed: u32,
}

impl<'a> From<&'a Cifar100> for Cifar<'a> {
    fn from(config: &'a Cifar100) -> Cifar<'a> {
        Cifar {
            edition: HUNDRED,
            raw: &config.raw,
            archive: &config.archive,
            validation_fraction: config.validation_fraction,
            mean: &config.mean,
            deviation: &config.deviation,
            permuted: config.permuted,
            split_seed: config.split_seed,
        }
    }
}

impl<'a> From<&'a Cifar10> for Cifar<'a> {
    fn from(config: &'a Cifar10) -> Cifar<'a> {
        Cifar {
            edition: TEN,
            raw: &config.raw,
            archive: &config.archive,
            validation_fraction: config.validation_fraction,
            mean: &config.mean,
            deviation: &config.deviation,
            permuted: config.permuted,
            split_seed: config.split_seed,
        }
    }
}

/// The raw files that [`ingest`] will read.
pub(crate) fn sources(config: &Cifar<'_>) -> Result<Vec<PathBuf>, Error> {
    config.edition.sources(config.raw, config.archive, "dataset.archive")
}

pub(crate) fn ingest(
    config: &Cifar<'_>,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<DatasetCard, Error> {
    let files = sources(config)?;
    let pickles = config.edition.open(&files)?;
    let [train @ .., (test_path, test), (meta_path, meta)] = pickles.as_slice() else {
        return Err(Error::Row { row: 2, rows: pickles.len() });
    };
    let names = config.edition.names(meta_path, meta)?;
    let (mut train_images, mut train_classes) = (Images::default(), vec![]);
    for (path, pickle) in train {
        train_images.add(&config.edition, path, pickle, &names, &mut train_classes)?;
    }
    let (mut test_images, mut test_classes) = (Images::default(), vec![]);
    test_images.add(&config.edition, test_path, test, &names, &mut test_classes)?;
    if train_images.pixels != test_images.pixels {
        let problem = format!(
            "images of {} pixels, those of the training file have {}",
            test_images.pixels, train_images.pixels
        );
        return Err(Error::field(test_path, "data", problem));
    }
    let side = train_images.pixels.isqrt();
    let order = match config.permuted {
        true => Some(bit_reversal(side).ok_or_else(|| {
            let problem = format!("{side} rows and columns are no power of two");
            Error::configuration("dataset.permuted", problem)
        })?),
        false => None,
    };
    let marks = held_out(train_classes.len(), config.validation_fraction, config.split_seed, End::First)?;
    let scaling = scaling(config);
    // Black is what images are padded with; networks see normalised values.
    let black: Vec<f32> = scaling.offset.iter().map(|&offset| offset as f32).collect();
    let mut ingest =
        Ingest::new(staging, protocol, layout(vec![CHANNELS, side, side], &names, vec!["sample"]));
    if train_images.are_bytes() && test_images.are_bytes() {
        ingest.store_bytes(Some(scaling));
    } else {
        train_images.scaling = Some(scaling.clone());
        test_images.scaling = Some(scaling);
    }
    train_images.order.clone_from(&order);
    test_images.order.clone_from(&order);
    write_splits(
        &mut ingest,
        Part { samples: &mut train_images, classes: train_classes, held_out: Some(marks) },
        Part { samples: &mut test_images, classes: test_classes, held_out: None },
        listener,
    )?;
    warn_of_missing_classes(&ingest, listener);
    let mut notes = vec![
        ("split_seed".to_owned(), config.split_seed.into()),
        ("validation_fraction".to_owned(), config.validation_fraction.into()),
        ("mean".to_owned(), serde_json::json!(config.mean)),
        ("deviation".to_owned(), serde_json::json!(config.deviation)),
        ("padding_value".to_owned(), serde_json::json!(black)),
    ];
    if let Some(order) = order {
        // Row r and column c of an image in this dataset are row_order[r] and column_order[c] of the
        // original, which random changes of training images are made to.
        notes.push(("row_order".to_owned(), serde_json::json!(order)));
        notes.push(("column_order".to_owned(), serde_json::json!(order)));
    }
    ingest.finish(About {
        recipe: config.edition.recipe,
        sources: files.iter().map(|path| describe(config.raw, path)).collect::<Result<_, _>>()?,
        target_scaling: None,
        notes: notes.into_iter().collect(),
        licence: LICENCE,
    })
}

/// What networks see of a pixel: (pixel / 255 - mean) / deviation.
fn scaling(config: &Cifar<'_>) -> InputScaling {
    InputScaling {
        scale: config.deviation.iter().map(|deviation| 1.0 / (WHITE * deviation)).collect(),
        offset: config.mean.iter().zip(config.deviation).map(|(mean, deviation)| -mean / deviation).collect(),
    }
}

/// 0, 4, 2, 6, 1, 5, 3, 7 for 8: the numbers whose bits are those of the position, read backwards; `None`
/// if `n` is no power of two.
fn bit_reversal(n: usize) -> Option<Vec<usize>> {
    if !n.is_power_of_two() {
        return None;
    }
    let unused = n.leading_zeros() + 1;
    Some((0..n).map(|position| position.reverse_bits().checked_shr(unused).unwrap_or(0)).collect())
}

/// Images of one or more files: numbers, one colour plane after the other.
#[derive(Default)]
struct Images<'a> {
    files: Vec<(&'a Path, &'a PickleArray)>,
    /// In a colour plane.
    pixels: usize,
    /// What is made of values that are not stored as bytes.
    scaling: Option<InputScaling>,
    /// Which row and column of the original stands at each row and column.
    order: Option<Vec<usize>>,
}

impl<'a> Images<'a> {
    /// Adds the images of a file, and their classes, each of which must have one of `names`.
    fn add(
        &mut self,
        edition: &Edition,
        path: &'a Path,
        pickle: &'a Pickle,
        names: &[String],
        classes: &mut Vec<usize>,
    ) -> Result<(), Error> {
        let (array, side, labels) = edition.images(path, pickle, names)?;
        let pixels = side * side;
        if !self.files.is_empty() && pixels != self.pixels {
            let problem = format!("images of {pixels} pixels, those of other files have {}", self.pixels);
            return Err(Error::field(path, "data", problem));
        }
        classes.extend(labels.values.iter().map(|&label| usize::try_from(label).unwrap_or(usize::MAX)));
        self.files.push((path, array));
        self.pixels = pixels;
        Ok(())
    }

    fn are_bytes(&self) -> bool {
        self.files.iter().all(|(_, array)| array.dtype().is_byte())
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

impl Samples for Images<'_> {
    fn inputs(&mut self, first: usize, count: usize) -> Result<Vec<f32>, Error> {
        let mut values = Vec::with_capacity(count * CHANNELS * self.pixels);
        let (mut skip, mut wanted) = (first, count);
        for (path, array) in &self.files {
            let here = array.rows().saturating_sub(skip).min(wanted);
            if here > 0 {
                let rows = array.rows_f32(skip, here).ok_or_else(|| {
                    let problem = format!("holds elements of type {}; numbers are expected", array.dtype());
                    Error::field(path, "data", problem)
                })?;
                check_finite(path, "data", &rows, skip, CHANNELS * self.pixels)?;
                values.extend(rows);
            }
            skip = skip.saturating_sub(array.rows());
            wanted -= here;
        }
        if let Some(InputScaling { scale, offset }) = &self.scaling {
            let codes = scale.iter().zip(offset).cycle();
            for (plane, (scale, offset)) in values.chunks_exact_mut(self.pixels.max(1)).zip(codes) {
                for value in plane {
                    *value = (f64::from(*value) * scale + offset) as f32;
                }
            }
        }
        if let Some(order) = &self.order {
            for plane in values.chunks_exact_mut(self.pixels.max(1)) {
                permute(plane, order);
            }
        }
        Ok(values)
    }
}

/// Puts at each row and column of a plane those that `order` names.
fn permute(plane: &mut [f32], order: &[usize]) {
    let old = plane.to_vec();
    let places = order.iter().flat_map(|row| order.iter().map(move |column| row * order.len() + column));
    for (value, place) in plane.iter_mut().zip(places) {
        *value = old.get(place).copied().unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_backwards() {
        assert_eq!(bit_reversal(1).unwrap(), [0]);
        assert_eq!(bit_reversal(2).unwrap(), [0, 1]);
        assert_eq!(bit_reversal(8).unwrap(), [0, 4, 2, 6, 1, 5, 3, 7]);
        assert_eq!(bit_reversal(32).unwrap()[..6], [0, 16, 8, 24, 4, 20]);
        for n in [0, 3, 12, 33] {
            assert_eq!(bit_reversal(n), None);
        }
        let mut plane: Vec<f32> = (0..16).map(|v| v as f32).collect();
        permute(&mut plane, &bit_reversal(4).unwrap());
        assert_eq!(plane, [0., 2., 1., 3., 8., 10., 9., 11., 4., 6., 5., 7., 12., 14., 13., 15.]);
    }
}
