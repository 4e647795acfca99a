//! DeepSEA: one-hot encoded DNA sequences, each with the chromatin features that it has.

use crate::{DatasetRecipe, Error};
use dash_core::{
    card::{DatasetCard, ElementType, Split, SplitInfo, Target, TensorField},
    event::{Event, Listener},
    pipeline::{Deepsea, Protocol},
};
use dash_data::{
    CardDetails, DatasetRow, Ingest, RowLayout, RowTarget,
    raw::{describe_source, required_file},
};
use dash_formats::npy::{NpyArray, NpzArchive};
use std::path::{Path, PathBuf};

/// Names of the labels, one per line, beside the benchmark's file.
const TRACKS: &str = "tracks.txt";

const LICENCE: &str =
    "not stated by the benchmark; cite Zhou and Troyanskaya 2015 (DeepSEA, Nature Methods 12)";

impl DatasetRecipe for Deepsea {
    fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        let archive = required_file(&self.raw, &self.file)?;
        let tracks = tracks(self, &archive);
        Ok([Some(archive), tracks].into_iter().flatten().collect())
    }

    fn ingest(&self, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
        let (protocol, listener) = (cx.protocol, cx.listener);
        let path = required_file(&self.raw, &self.file)?;
        let archive = NpzArchive::open(&path)?;
        let train = Part::open(&archive, &path, "train")?;
        let [validation, test] = ["val", "test"].map(|name| Part::open(&archive, &path, name));
        let (mut train, mut validation, mut test) = (train, validation?, test?);
        validation.check_same(&train, &path)?;
        test.check_same(&train, &path)?;
        let (labels, tracks) = labels(self, &path, train.labels)?;

        let layout = RowLayout::new(
            TensorField {
                column: "input".to_owned(),
                shape: vec![train.channels, train.length],
                element: ElementType::F32,
            },
            Target::Labels { column: "target".to_owned(), labels },
            vec!["row"],
        );
        let mut progress = Progress { listener, done: 0, total: train.rows + validation.rows + test.rows };
        if protocol == Protocol::Paper {
            // Its training split holds the validation data a second time.
            progress.total += validation.rows;
        }
        let mut writer = cx.writer(layout);
        if [&train, &validation, &test].iter().all(|part| part.x.dtype().is_byte()) {
            writer.store_bytes(None);
        }
        writer.split::<Error>(Split::Train, |push| {
            train.write(&path, true, &mut progress, push)?;
            match protocol {
                Protocol::Strict => Ok(()),
                Protocol::Paper => validation.write(&path, false, &mut progress, push),
            }
        })?;
        writer
            .split::<Error>(Split::Validation, |push| validation.write(&path, false, &mut progress, push))?;
        writer.split::<Error>(Split::Test, |push| test.write(&path, false, &mut progress, push))?;
        for (split, part) in [(Split::Train, &train), (Split::Validation, &validation), (Split::Test, &test)]
        {
            if !writer.splits().get(&split).is_some_and(tells_samples_apart) {
                let problem = format!(
                    "no label is there in some of the {} samples and missing in others: there is nothing to score",
                    part.rows
                );
                return Err(Error::field(&path, part.member('y'), problem));
            }
        }
        let sources = [Some(&path), tracks.as_ref()].into_iter().flatten();
        Ok(writer.finish(CardDetails {
            sources: sources.map(|source| describe_source(&self.raw, source)).collect::<Result<_, _>>()?,
            target_scaling: None,
            notes: [("encoding".to_owned(), "one-hot, channel by position".into())].into(),
            licence: LICENCE,
        })?)
    }
}

fn tracks(config: &Deepsea, archive: &Path) -> Option<PathBuf> {
    let path = archive.with_file_name(TRACKS);
    (config.labels.is_none() && path.is_file()).then_some(path)
}

/// Whether at least one label is neither everywhere nor nowhere.
fn tells_samples_apart(info: &SplitInfo) -> bool {
    info.class_counts.iter().any(|&count| 0 < count && count < info.rows)
}

/// Names of the `count` labels, and the file that they are from.
fn labels(config: &Deepsea, archive: &Path, count: usize) -> Result<(Vec<String>, Option<PathBuf>), Error> {
    if let Some(labels) = &config.labels {
        if labels.len() != count {
            let problem = format!("has {} names, `y_train` has {count} labels", labels.len());
            return Err(Error::configuration("dataset.labels", problem));
        }
        return Ok((labels.clone(), None));
    }
    let Some(path) = tracks(config, archive) else {
        return Ok(((0..count).map(|label| label.to_string()).collect(), None));
    };
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() != count {
        let problem = format!(
            "{} names, `y_train` has {count} labels; `dataset.labels` names them instead",
            names.len()
        );
        return Err(Error::field(&path, "lines", problem));
    }
    Ok((names, Some(path)))
}

struct Progress<'a> {
    listener: &'a dyn Listener,
    done: usize,
    total: usize,
}

/// Sequences and labels of one part of the archive.
struct Part {
    name: &'static str,
    /// (rows, length, channels).
    x: NpyArray,
    /// (rows, labels).
    y: NpyArray,
    rows: usize,
    length: usize,
    channels: usize,
    labels: usize,
}

impl Part {
    fn open(archive: &NpzArchive, path: &Path, name: &'static str) -> Result<Part, Error> {
        let x = archive.array(&format!("x_{name}"))?;
        let y = archive.array(&format!("y_{name}"))?;
        let &[rows, length, channels] = x.shape() else {
            let problem = format!("has the shape {:?}; (samples, length, channels) is expected", x.shape());
            return Err(Error::field(path, format!("x_{name}"), problem));
        };
        let &[labelled, labels] = y.shape() else {
            let problem = format!("has the shape {:?}; (samples, labels) is expected", y.shape());
            return Err(Error::field(path, format!("y_{name}"), problem));
        };
        if labelled != rows {
            let problem = format!("has labels of {labelled} samples, `x_{name}` has {rows} samples");
            return Err(Error::field(path, format!("y_{name}"), problem));
        }
        if rows == 0 {
            return Err(Error::field(path, format!("x_{name}"), "has no samples"));
        }
        Ok(Part { name, x, y, rows, length, channels, labels })
    }

    /// Name of an array of this part.
    fn member(&self, field: char) -> String {
        format!("{field}_{}", self.name)
    }

    fn check_same(&self, train: &Part, path: &Path) -> Result<(), Error> {
        if (self.length, self.channels) != (train.length, train.channels) {
            let problem = format!("has the shape {:?}, `x_train` has {:?}", self.x.shape(), train.x.shape());
            return Err(Error::field(path, self.member('x'), problem));
        }
        if self.labels != train.labels {
            let problem = format!("has {} labels per sample, `y_train` has {}", self.labels, train.labels);
            return Err(Error::field(path, self.member('y'), problem));
        }
        Ok(())
    }

    /// Hands all rows to `push`, a block in memory at a time.
    fn write(
        &mut self,
        path: &Path,
        tuning: bool,
        progress: &mut Progress<'_>,
        push: &mut dyn FnMut(DatasetRow<'_>) -> Result<(), dash_data::Error>,
    ) -> Result<(), Error> {
        let mut input = vec![0.0; self.channels * self.length];
        let block = self.x.block_rows();
        for first in (0..self.rows).step_by(block) {
            let count = block.min(self.rows - first);
            let sequences = self.x.rows(first, count)?;
            let labels = self.labels(path, first, count)?;
            let samples = sequences.chunks(input.len()).zip(labels.chunks(self.labels));
            for (row, (sequence, labels)) in (first..).zip(samples) {
                self.transpose(path, row, sequence, &mut input)?;
                push(DatasetRow {
                    input: &input,
                    target: RowTarget::Labels(labels),
                    background: 0.0,
                    ids: &[row as i64],
                    tuning,
                })?;
            }
            progress.done += count;
            let Progress { listener, done, total } = *progress;
            listener.on(&Event::Progress { what: "sequences".to_owned(), done, total });
        }
        Ok(())
    }

    /// (length, channels) -> (channels, length).
    fn transpose(&self, path: &Path, row: usize, sequence: &[f32], out: &mut [f32]) -> Result<(), Error> {
        for (position, letter) in sequence.chunks(self.channels).enumerate() {
            for (channel, &value) in letter.iter().enumerate() {
                if !value.is_finite() {
                    let field = format!("{}[{row}, {position}, {channel}]", self.member('x'));
                    return Err(Error::field(path, field, "the value is not a finite number"));
                }
                if let Some(out) = out.get_mut(channel * self.length + position) {
                    *out = value;
                }
            }
        }
        Ok(())
    }

    /// The labels of rows, 0 or 1 each.
    fn labels(&mut self, path: &Path, first: usize, count: usize) -> Result<Vec<u8>, Error> {
        let values = self.y.rows(first, count)?;
        let label = |(at, &value): (usize, &f32)| {
            if value == 0.0 || value == 1.0 {
                return Ok(u8::from(value == 1.0));
            }
            let field = format!("{}[{}, {}]", self.member('y'), first + at / self.labels, at % self.labels);
            Err(Error::field(path, field, format!("the value {value} is neither 0 nor 1")))
        };
        values.iter().enumerate().map(label).collect()
    }
}

#[cfg(test)]
mod tests;
