//! Satellite image time series: two numpy files, each with a dict of series and labels.

use crate::{
    Error, npy,
    pickle::{Pickle, PickleArray, Value},
    points::{
        Classes, End, Labels, Part, Samples, check_finite, find, held_out, layout, warn_of_missing_classes,
        write_splits,
    },
    recipe::{About, Ingest, describe, field},
};
use dash_core::{
    card::DatasetCard,
    event::Listener,
    pipeline::{Protocol, Satellite},
};
use dash_store::Staging;
use std::path::{Path, PathBuf};

const LICENCE: &str = "terms of the source files (Tan, Webb, Petitjean 2017; NAS-Bench-360 lists its copy under \
                       the GPL)";

/// Training and test file.
pub(crate) fn sources(config: &Satellite) -> Result<Vec<PathBuf>, Error> {
    Ok(vec![
        find(&config.raw, &config.train_file, "dataset.train_file")?,
        find(&config.raw, &config.test_file, "dataset.test_file")?,
    ])
}

pub(crate) fn ingest(
    config: &Satellite,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<DatasetCard, Error> {
    let paths = sources(config)?;
    let [train_path, test_path] = paths.as_slice() else {
        return Err(Error::Row { row: 1, rows: paths.len() });
    };
    let (train, test) = (npy::object(train_path)?, npy::object(test_path)?);
    let (mut train_series, train_labels) = read(train_path, &train, config.standardise)?;
    let (mut test_series, test_labels) = read(test_path, &test, config.standardise)?;
    let (length, test_length) = (train_series.length(), test_series.length());
    if length != test_length {
        let problem = format!("series of length {test_length}, those of the training file have {length}");
        return Err(Error::field(test_path, "data", problem));
    }
    let classes = Classes::of(&[&train_labels, &test_labels])?;
    let marks =
        held_out(train_labels.values.len(), config.validation_fraction, config.split_seed, End::Last)?;
    let mut ingest = Ingest::new(staging, protocol, layout(vec![1, length], classes.names(), vec!["sample"]));
    let part =
        |samples, labels: &Labels, held_out| Part { samples, classes: classes.indices(labels), held_out };
    write_splits(
        &mut ingest,
        part(&mut train_series, &train_labels, Some(marks)),
        part(&mut test_series, &test_labels, None),
        listener,
    )?;
    warn_of_missing_classes(&ingest, listener);
    ingest.finish(About {
        recipe: "satellite",
        sources: vec![describe(&config.raw, train_path)?, describe(&config.raw, test_path)?],
        target_scaling: None,
        notes: [
            ("split_seed".to_owned(), config.split_seed.into()),
            ("validation_fraction".to_owned(), config.validation_fraction.into()),
            ("standardise".to_owned(), config.standardise.into()),
        ]
        .into(),
        licence: LICENCE,
    })
}

/// Series as bytes of the file, decoded block by block.
struct Series<'a> {
    path: &'a Path,
    array: &'a PickleArray,
    standardise: bool,
}

impl Series<'_> {
    fn length(&self) -> usize {
        self.array.shape().get(1).copied().unwrap_or(0)
    }
}

impl Samples for Series<'_> {
    fn inputs(&mut self, first: usize, count: usize) -> Result<Vec<f32>, Error> {
        let mut values = self.array.rows_f32(first, count).ok_or_else(|| {
            let problem = format!("holds elements of type {}; numbers are expected", self.array.dtype());
            Error::field(self.path, "data", problem)
        })?;
        let length = self.length();
        check_finite(self.path, "data", &values, first, length)?;
        if self.standardise {
            values.chunks_exact_mut(length.max(1)).for_each(standardise);
        }
        Ok(values)
    }
}

/// A series minus its mean, divided by its population standard deviation; a constant one becomes zeros.
fn standardise(series: &mut [f32]) {
    let count = series.len() as f64;
    let mean = series.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let variance = series.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
    let scale = if variance > 0.0 { variance.sqrt().recip() } else { 0.0 };
    for value in series {
        *value = ((f64::from(*value) - mean) * scale) as f32;
    }
}

/// `data` and `label` of a file.
fn read<'a>(path: &'a Path, pickle: &'a Pickle, standardise: bool) -> Result<(Series<'a>, Labels), Error> {
    let root = pickle.root();
    let dict = root.only().unwrap_or(root);
    let data = field(path, dict, "data")?;
    let array = data.as_array().filter(|array| array.shape().len() == 2 && array.dtype().is_numeric());
    let array = array.ok_or_else(|| {
        let problem = format!("is {}; an array of numbers with two axes is expected", data.kind());
        Error::field(path, "data", problem)
    })?;
    if array.shape().contains(&0) {
        return Err(Error::field(path, "data", format!("the shape {:?} holds nothing", array.shape())));
    }
    let labels = labels(path, dict, "label")?;
    labels.check_count(array.rows(), "`data`")?;
    Ok((Series { path, array, standardise }, labels))
}

/// A field of a dict that holds integers.
pub(crate) fn labels(path: &Path, dict: Value<'_>, name: &str) -> Result<Labels, Error> {
    let value = field(path, dict, name)?;
    let values = value.integers().ok_or_else(|| {
        Error::field(path, name, format!("is {}; a list or array of integers is expected", value.kind()))
    })?;
    let values =
        values.map_err(|at| Error::field(path, format!("{name}[{at}]"), "the label is not an integer"))?;
    Ok(Labels { path: path.to_owned(), field: name.to_owned(), values })
}

#[cfg(test)]
mod tests {
    use super::standardise;

    #[test]
    fn series_are_standardised_with_the_population_deviation() {
        let mut series = [1.0, 3.0, 1.0, 3.0];
        standardise(&mut series);
        assert_eq!(series, [-1.0, 1.0, -1.0, 1.0]);
        let mut constant = [2.5; 3];
        standardise(&mut constant);
        assert_eq!(constant, [0.0; 3]);
    }
}
