//! Reads satellite image time series: two numpy files, each with a dict of series and labels.

use crate::{
    DatasetRecipe, Error,
    shared::{
        classification::{
            Classes, End, Labels, Part, Samples, check_finite, held_out, integer_labels, layout, write_splits,
        },
        pickle::field,
    },
};
use dash_core::{card::DatasetCard, pipeline::Satellite};
use dash_data::{
    CardDetails, Ingest,
    raw::{describe_source, find_file},
};
use dash_formats::{
    npy,
    pickle::{Pickle, PickleArray},
};
use std::path::{Path, PathBuf};

const LICENCE: &str = "terms of the source files (Tan, Webb, Petitjean 2017; NAS-Bench-360 lists its copy under \
                       the GPL)";

impl DatasetRecipe for Satellite {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(files(self)?.into())
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        let [train_path, test_path] = &files(self)?;
        let (train, test) = (npy::object(train_path)?, npy::object(test_path)?);
        let (mut train_series, train_labels) = read(train_path, &train, self.standardise)?;
        let (mut test_series, test_labels) = read(test_path, &test, self.standardise)?;
        let (length, test_length) = (train_series.length(), test_series.length());
        if length != test_length {
            let problem = format!("series of length {test_length}, those of the training file have {length}");
            return Err(Error::field(test_path, "data", problem));
        }
        let classes = Classes::of(&[&train_labels, &test_labels])?;
        let marks =
            held_out(train_labels.values.len(), self.validation_fraction, self.split_seed, End::Last)?;
        let mut writer = cx.writer(layout(vec![1, length], classes.names(), vec!["sample"]));
        let part =
            |samples, labels: &Labels, held_out| Part { samples, classes: classes.indices(labels), held_out };
        write_splits(
            &mut writer,
            part(&mut train_series, &train_labels, Some(marks)),
            part(&mut test_series, &test_labels, None),
        )?;
        Ok(writer.finish(CardDetails {
            sources: vec![describe_source(&self.raw, train_path)?, describe_source(&self.raw, test_path)?],
            target_scaling: None,
            notes: [
                ("split_seed".to_owned(), self.split_seed.into()),
                ("validation_fraction".to_owned(), self.validation_fraction.into()),
                ("standardise".to_owned(), self.standardise.into()),
            ]
            .into(),
            licence: LICENCE,
        })?)
    }
}

/// The training file and the test file.
fn files(config: &Satellite) -> Result<[PathBuf; 2], Error> {
    Ok([
        find_file(&config.raw, &config.train_file, "dataset.train_file")?,
        find_file(&config.raw, &config.test_file, "dataset.test_file")?,
    ])
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
    let labels = integer_labels(path, dict, "label")?;
    labels.check_count(array.rows(), "`data`")?;
    Ok((Series { path, array, standardise }, labels))
}

#[cfg(test)]
mod tests;
