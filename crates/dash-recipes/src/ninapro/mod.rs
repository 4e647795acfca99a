//! Reads NinaPro DB5: windows of surface EMG in numpy files, split by the benchmark.

use crate::{
    DatasetRecipe, Error,
    shared::classification::{
        Classes, Labels, Part, Samples, Take, check_finite, layout, warn_of_missing_classes, write,
    },
};
use dash_core::{
    card::{DatasetCard, Split},
    pipeline::{Ninapro, Protocol},
};
use dash_data::{
    CardDetails, Ingest,
    raw::{describe_source, find_file},
};
use dash_formats::npy;
use std::path::{Path, PathBuf};

const LICENCE: &str =
    "terms of the source files (NinaPro DB5, Pizzolato et al. 2017; CC BY-ND per NAS-Bench-360)";

impl DatasetRecipe for Ninapro {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(pairs(self)?.into_iter().flatten().collect())
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        let files = pairs(self)?;
        let [train, validation, test] = &files;
        let (mut train, train_labels) = read(train)?;
        let (mut validation, validation_labels) = read(validation)?;
        let (mut test, test_labels) = read(test)?;
        let shape = [train.channels, train.time];
        for other in [&validation, &test] {
            if [other.channels, other.time] != shape {
                let [channels, time] = shape;
                let problem = format!(
                    "windows of {} times and {} channels, those of the training file have {time} and {channels}",
                    other.time, other.channels
                );
                return Err(Error::field(&other.path, "array", problem));
            }
        }
        let classes = Classes::of(&[&train_labels, &validation_labels, &test_labels])?;
        let layout = layout(vec![1, shape[0], shape[1]], classes.names(), vec!["file", "sample"]);
        let mut writer = cx.writer(layout);
        let part = |samples, labels: &Labels, held_out: bool| Part {
            samples,
            classes: classes.indices(labels),
            held_out: held_out.then(|| vec![true; labels.values.len()]),
        };
        let mut train = part(&mut train, &train_labels, false);
        let mut validation = part(&mut validation, &validation_labels, true);
        let mut test = part(&mut test, &test_labels, false);
        match writer.protocol() {
            Protocol::Strict => write(&mut writer, Split::Train, &mut [(&mut train, Take::All, 0)])?,
            Protocol::Paper => {
                let both = &mut [(&mut train, Take::All, 0), (&mut validation, Take::All, 1)];
                write(&mut writer, Split::Train, both)?;
            }
        }
        write(&mut writer, Split::Validation, &mut [(&mut validation, Take::All, 1)])?;
        write(&mut writer, Split::Test, &mut [(&mut test, Take::All, 2)])?;
        warn_of_missing_classes(&writer);
        let sources =
            files.iter().flatten().map(|path| describe_source(&self.raw, path)).collect::<Result<_, _>>()?;
        Ok(writer.finish(CardDetails {
            sources,
            target_scaling: None,
            notes: [
                ("axes".to_owned(), serde_json::json!(["one plane", "electrode", "time"])),
                ("files".to_owned(), serde_json::json!(["training", "validation", "test"])),
            ]
            .into(),
            licence: LICENCE,
        })?)
    }
}

fn pairs(config: &Ninapro) -> Result<[[PathBuf; 2]; 3], Error> {
    let file = |name: &Path, key: &str| -> Result<PathBuf, Error> {
        Ok(find_file(&config.raw, name, &format!("dataset.{key}"))?)
    };
    Ok([
        [file(&config.train_file, "train_file")?, file(&config.train_label_file, "train_label_file")?],
        [
            file(&config.validation_file, "validation_file")?,
            file(&config.validation_label_file, "validation_label_file")?,
        ],
        [file(&config.test_file, "test_file")?, file(&config.test_label_file, "test_label_file")?],
    ])
}

/// Windows (samples, time, channels) of a file.
struct Windows {
    path: PathBuf,
    array: npy::NpyArray,
    time: usize,
    channels: usize,
}

fn read([data, label]: &[PathBuf; 2]) -> Result<(Windows, Labels), Error> {
    let array = npy::NpyArray::open(data)?;
    let &[samples, time, channels] = array.shape() else {
        let problem = format!("the shape {:?}; (samples, time, channels) is expected", array.shape());
        return Err(Error::field(data, "array", problem));
    };
    if samples == 0 {
        return Err(Error::field(data, "array", "there are no windows"));
    }
    let mut values = npy::NpyArray::open(label)?;
    if values.shape().len() != 1 {
        let problem = format!("the shape {:?}; one label per sample is expected", values.shape());
        return Err(Error::field(label, "array", problem));
    }
    let values = values.ints(0, values.len())?;
    let labels = Labels { path: label.to_owned(), field: "array".to_owned(), values };
    labels.check_count(samples, &data.display().to_string())?;
    Ok((Windows { path: data.to_owned(), array, time, channels }, labels))
}

impl Samples for Windows {
    fn inputs(&mut self, first: usize, count: usize) -> Result<Vec<f32>, Error> {
        let values = self.array.rows(first, count)?;
        let length = self.time * self.channels;
        check_finite(&self.path, "array", &values, first, length)?;
        // Channels become the first spatial axis.
        let mut out = Vec::with_capacity(values.len());
        for window in values.chunks_exact(length.max(1)) {
            for channel in 0..self.channels {
                out.extend(window.iter().skip(channel).step_by(self.channels));
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
