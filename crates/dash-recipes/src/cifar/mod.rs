//! Reads CIFAR-100 and CIFAR-10, Python editions: pickles, unpacked or in one archive.

use crate::{
    DatasetRecipe, Error,
    shared::{
        cifar_edition::{CHANNELS, Edition, EditionFiles, EditionSource, HUNDRED, PickleFile, TEN},
        classification::{End, Part, Samples, check_finite, held_out, layout, write_splits},
    },
};
use dash_core::{
    card::{DatasetCard, InputScaling},
    pipeline::{Cifar10, Cifar100},
};
use dash_data::{CardDetails, Ingest, raw::describe_source};
use dash_formats::pickle::PickleArray;
use std::path::{Path, PathBuf};

const LICENCE: &str = "no licence is stated (cite Krizhevsky 2009, Learning Multiple Layers of Features from Tiny \
                       Images)";

/// The largest value of a pixel.
const WHITE: f64 = 255.0;

/// The settings of either edition.
struct Cifar<'a> {
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

impl DatasetRecipe for Cifar100 {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        Cifar::from(self).sources()
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        Cifar::from(self).ingest(cx)
    }
}

impl DatasetRecipe for Cifar10 {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        Cifar::from(self).sources()
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        Cifar::from(self).ingest(cx)
    }
}

impl Cifar<'_> {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(self.source()?.paths(&self.edition))
    }

    fn source(&self) -> Result<EditionSource, Error> {
        self.edition.source(self.raw, self.archive, "dataset.archive")
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        let source = self.source()?;
        let EditionFiles { first, more, test, meta } = self.edition.open(&source)?;
        let names = self.edition.names(&meta)?;
        let (mut train_images, mut train_classes) = (Images::default(), vec![]);
        for file in std::iter::once(&first).chain(&more) {
            train_images.add(&self.edition, file, &names, &mut train_classes)?;
        }
        let (mut test_images, mut test_classes) = (Images::default(), vec![]);
        test_images.add(&self.edition, &test, &names, &mut test_classes)?;
        if train_images.pixels != test_images.pixels {
            let problem = format!(
                "images of {} pixels, those of the training file have {}",
                test_images.pixels, train_images.pixels
            );
            return Err(Error::field(&test.path, "data", problem));
        }
        let side = train_images.pixels.isqrt();
        let order = match self.permuted {
            true => Some(bit_reversal(side).ok_or_else(|| {
                let problem = format!("{side} rows and columns are not a power of two");
                Error::configuration("dataset.permuted", problem)
            })?),
            false => None,
        };
        let marks = held_out(train_classes.len(), self.validation_fraction, self.split_seed, End::First)?;
        let scaling = scaling(self);
        // Images are padded with black; networks see normalised values.
        let black: Vec<f32> = scaling.offset.iter().map(|&offset| offset as f32).collect();
        let mut writer = cx.writer(layout(vec![CHANNELS, side, side], &names, vec!["sample"]));
        if train_images.are_bytes() && test_images.are_bytes() {
            writer.store_bytes(Some(scaling));
        } else {
            train_images.scaling = Some(scaling.clone());
            test_images.scaling = Some(scaling);
        }
        train_images.order.clone_from(&order);
        test_images.order.clone_from(&order);
        write_splits(
            &mut writer,
            Part { samples: &mut train_images, classes: train_classes, held_out: Some(marks) },
            Part { samples: &mut test_images, classes: test_classes, held_out: None },
        )?;
        let mut notes = vec![
            ("split_seed".to_owned(), self.split_seed.into()),
            ("validation_fraction".to_owned(), self.validation_fraction.into()),
            ("mean".to_owned(), serde_json::json!(self.mean)),
            ("deviation".to_owned(), serde_json::json!(self.deviation)),
            ("padding_value".to_owned(), serde_json::json!(black)),
        ];
        if let Some(order) = order {
            // Row r and column c of an image in this dataset are row_order[r] and column_order[c] of the
            // original, which random changes of training images are made to.
            notes.push(("row_order".to_owned(), serde_json::json!(order)));
            notes.push(("column_order".to_owned(), serde_json::json!(order)));
        }
        Ok(writer.finish(CardDetails {
            sources: source
                .paths(&self.edition)
                .iter()
                .map(|path| describe_source(self.raw, path))
                .collect::<Result<_, _>>()?,
            target_scaling: None,
            notes: notes.into_iter().collect(),
            licence: LICENCE,
        })?)
    }
}

/// What networks see of a pixel: (pixel / 255 - mean) / deviation.
fn scaling(config: &Cifar<'_>) -> InputScaling {
    InputScaling {
        scale: config.deviation.iter().map(|deviation| 1.0 / (WHITE * deviation)).collect(),
        offset: config.mean.iter().zip(config.deviation).map(|(mean, deviation)| -mean / deviation).collect(),
    }
}

/// 0, 4, 2, 6, 1, 5, 3, 7 for 8: the numbers whose bits are those of the position, read backwards; `None`
/// if `n` is not a power of two.
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
        file: &'a PickleFile,
        names: &[String],
        classes: &mut Vec<usize>,
    ) -> Result<(), Error> {
        let (array, side, labels) = edition.images(file, names)?;
        let path = file.path.as_path();
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
mod tests;
