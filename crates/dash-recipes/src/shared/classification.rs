//! What recipes with one class per sample share: classes from labels, held-out rows, writing the splits.

use super::{numpy_random::RandomState, pickle::field};
use crate::Error;
use dash_core::{
    card::{ElementType, Split, Target, TensorField},
    event::Event,
    pipeline::Protocol,
};
use dash_data::{DatasetRow, DatasetWriter, RowLayout, RowTarget};
use dash_formats::pickle::Value;
use std::path::{Path, PathBuf};

/// The labels of a file and where they are in it.
pub(crate) struct Labels {
    pub(crate) path: PathBuf,
    pub(crate) field: String,
    pub(crate) values: Vec<i64>,
}

impl Labels {
    /// Compares the number of labels with that of the samples of `data`.
    pub(crate) fn check_count(&self, samples: usize, data: &str) -> Result<(), Error> {
        if self.values.len() == samples {
            return Ok(());
        }
        let problem = format!("{} labels for the {samples} samples of {data}", self.values.len());
        Err(Error::field(&self.path, &self.field, problem))
    }
}

/// A field of a dict that holds integers.
pub(crate) fn integer_labels(
    path: &Path,
    dict: Value<'_>,
    name: &str,
) -> Result<Labels, dash_formats::Error> {
    let value = field(path, dict, name)?;
    let values = value.integers().ok_or_else(|| {
        dash_formats::Error::field(
            path,
            name,
            format!("is {}; a list or array of integers is expected", value.kind()),
        )
    })?;
    let values = values.map_err(|at| {
        dash_formats::Error::field(path, format!("{name}[{at}]"), "the label is not an integer")
    })?;
    Ok(Labels { path: path.to_owned(), field: name.to_owned(), values })
}

/// The classes of a dataset: all integers from the smallest to the largest label of its files, so that a
/// class which a small file happens to miss does not shift the others.
pub(crate) struct Classes {
    first: i64,
    names: Vec<String>,
}

impl Classes {
    pub(crate) fn of(parts: &[&Labels]) -> Result<Classes, Error> {
        let mut range: Option<(i64, i64)> = None;
        let mut samples = 0;
        for part in parts {
            for (at, &label) in part.values.iter().enumerate() {
                if label < 0 {
                    let problem = format!("the label {label} is negative");
                    return Err(Error::field(&part.path, format!("{}[{at}]", part.field), problem));
                }
                let (first, last) = range.unwrap_or((label, label));
                range = Some((first.min(label), last.max(label)));
                // A class has a sample; a label far off is a mistake, not thousands of classes.
                let beyond =
                    |edge: i64| usize::try_from(edge.abs_diff(label)).is_ok_and(|n| n >= MOST_CLASSES);
                if beyond(first) || beyond(last) {
                    let problem = format!("the label {label} is far from the others, {first} to {last}");
                    return Err(Error::field(&part.path, format!("{}[{at}]", part.field), problem));
                }
            }
            samples += part.values.len();
        }
        match (range, parts.first()) {
            (Some((first, last)), _) if last > first && (last - first) as usize <= samples => {
                Ok(Classes { first, names: (first..=last).map(|label| label.to_string()).collect() })
            }
            (Some((first, last)), Some(part)) => {
                let problem = format!("labels from {first} to {last} in {samples} samples are not classes");
                Err(Error::field(&part.path, &part.field, problem))
            }
            (_, Some(part)) => Err(Error::field(&part.path, &part.field, "there are no labels")),
            (_, None) => Ok(Classes { first: 0, names: vec![] }),
        }
    }

    /// Class indices from 0.
    pub(crate) fn indices(&self, labels: &Labels) -> Vec<usize> {
        labels.values.iter().map(|label| usize::try_from(label - self.first).unwrap_or(usize::MAX)).collect()
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

/// Labels further apart than this do not belong to one dataset.
const MOST_CLASSES: usize = 1 << 16;

/// Which end of a random order is held out.
#[derive(Clone, Copy)]
pub(crate) enum End {
    First,
    Last,
}

/// Which rows are held out for validation: round(fraction n) rows at one end of a permutation.
pub(crate) fn held_out(n: usize, fraction: f64, seed: u32, end: End) -> Result<Vec<bool>, Error> {
    let wrong = |problem: String| Error::configuration("dataset.validation_fraction", problem);
    let count = (fraction * n as f64).round();
    if !(count >= 1.0 && count < n as f64) {
        return Err(wrong(format!("{fraction} of {n} samples leaves a split without rows")));
    }
    let count = count as usize;
    let size = u32::try_from(n).map_err(|_| wrong(format!("{n} samples cannot be shuffled")))?;
    let order = RandomState::new(seed).permutation(size);
    let chosen = match end {
        End::First => order.get(..count),
        End::Last => order.get(n - count..),
    };
    let mut held_out = vec![false; n];
    for &row in chosen.unwrap_or_default() {
        if let Some(slot) = held_out.get_mut(row) {
            *slot = true;
        }
    }
    Ok(held_out)
}

/// Samples of one file, as the dataset holds them.
pub(crate) trait Samples {
    /// The inputs of the samples `first..first + count`.
    fn inputs(&mut self, first: usize, count: usize) -> Result<Vec<f32>, Error>;
}

/// Samples with their classes.
pub(crate) struct Part<'p> {
    pub(crate) samples: &'p mut dyn Samples,
    pub(crate) classes: Vec<usize>,
    /// Per sample whether it is held out for validation; `None` if no sample is.
    pub(crate) held_out: Option<Vec<bool>>,
}

/// Columns of a dataset of classified samples.
pub(crate) fn layout(shape: Vec<usize>, labels: &[String], ids: Vec<&'static str>) -> RowLayout {
    let input = TensorField { column: "input".to_owned(), shape, element: ElementType::F32 };
    let target = Target::Class { column: "target".to_owned(), labels: labels.to_vec() };
    RowLayout::new(input, target, ids)
}

/// Which samples of a part a split takes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Take {
    /// Samples that are not held out.
    Kept,
    /// Samples that are held out.
    HeldOut,
    /// All samples; those that are not held out are for tuning.
    All,
}

/// Samples are read in blocks of about this many elements.
const BLOCK_ELEMENTS: usize = 1 << 20;

/// Writes one split: the chosen samples of `parts`, each with the number of its file (if there is an id
/// column for it) and its own.
pub(crate) fn write(
    writer: &mut DatasetWriter<'_>,
    split: Split,
    parts: &mut [(&mut Part<'_>, Take, i64)],
) -> Result<(), Error> {
    let length = writer.layout().input.len().max(1);
    let with_file = writer.layout().ids.len() > 1;
    let block = (BLOCK_ELEMENTS / length).max(1);
    let total = parts.iter().map(|(part, ..)| part.classes.len()).sum();
    let what = format!("{} samples", split.name());
    let (listener, mut done) = (writer.listener(), 0);
    writer.split::<Error>(split, |push| {
        for (part, take, file) in parts {
            let rows = part.classes.len();
            for first in (0..rows).step_by(block) {
                let count = block.min(rows - first);
                let inputs = part.samples.inputs(first, count)?;
                for (row, input) in (first..first + count).zip(inputs.chunks_exact(length)) {
                    let held_out = part.held_out.as_ref().is_some_and(|marks| marks.get(row) == Some(&true));
                    if (*take == Take::Kept && held_out) || (*take == Take::HeldOut && !held_out) {
                        continue;
                    }
                    let ids = [*file, row as i64];
                    push(DatasetRow {
                        input,
                        target: RowTarget::Class(part.classes.get(row).copied().unwrap_or(usize::MAX)),
                        ids: if with_file { &ids } else { &ids[1..] },
                        background: 0.0,
                        tuning: !held_out,
                    })?;
                }
                done += count;
                listener.on(&Event::Progress { what: what.clone(), done, total });
            }
        }
        Ok(())
    })
}

/// Writes the three splits of a training and a test file. The held-out samples of the training file are the
/// validation split; under the paper protocol they are trained on as well. Warns of classes without training samples.
pub(crate) fn write_splits(
    writer: &mut DatasetWriter<'_>,
    mut train: Part<'_>,
    mut test: Part<'_>,
) -> Result<(), Error> {
    let kept = match writer.protocol() {
        Protocol::Strict => Take::Kept,
        Protocol::Paper => Take::All,
    };
    write(writer, Split::Train, &mut [(&mut train, kept, 0)])?;
    write(writer, Split::Validation, &mut [(&mut train, Take::HeldOut, 0)])?;
    write(writer, Split::Test, &mut [(&mut test, Take::All, 0)])?;
    warn_of_missing_classes(writer);
    Ok(())
}

/// Warns of classes that no training sample has: a network cannot learn them.
pub(crate) fn warn_of_missing_classes(writer: &DatasetWriter<'_>) {
    let Target::Class { labels, .. } = &writer.layout().target else { return };
    let Some(info) = writer.splits().get(&Split::Train) else { return };
    let missing: Vec<&str> = labels
        .iter()
        .zip(&info.class_counts)
        .filter(|&(_, &count)| count == 0)
        .map(|(label, _)| label.as_str())
        .collect();
    if !missing.is_empty() {
        let message = format!("no training sample has the class {}", missing.join(", "));
        writer.listener().on(&Event::Warning { message });
    }
}

/// Refuses values that are not finite; `length` is the number of elements of a sample.
pub(crate) fn check_finite(
    path: &Path,
    field: &str,
    values: &[f32],
    first: usize,
    length: usize,
) -> Result<(), Error> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let (row, at) = (first + at / length.max(1), at % length.max(1));
            Err(Error::field(path, format!("{field}[{row}]"), format!("element {at} is not a finite number")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[i64]) -> Labels {
        Labels { path: "l.npy".into(), field: "label".into(), values: values.to_vec() }
    }

    #[test]
    fn classes_are_the_range_of_labels() {
        let (train, test) = (labels(&[2, 5, 2]), labels(&[3]));
        let classes = Classes::of(&[&train, &test]).unwrap();
        assert_eq!(classes.names(), ["2", "3", "4", "5"]);
        assert_eq!(classes.indices(&train), [0, 3, 0]);
        let refusal = |values: &[i64]| Classes::of(&[&labels(values)]).err().unwrap().to_string();
        assert!(refusal(&[]).contains("there are no labels"));
        assert!(refusal(&[1, -1]).contains("field `label[1]`: the label -1 is negative"));
        assert!(
            refusal(&[1, i64::MAX]).contains("field `label[1]`: the label 9223372036854775807 is far from")
        );
        assert!(refusal(&[1, 9]).contains("labels from 1 to 9 in 2 samples are not classes"));
        assert!(refusal(&[3, 3]).contains("are not classes"));
    }

    #[test]
    fn held_out_rows_are_an_end_of_numpys_permutation() {
        // numpy.random.RandomState(0).permutation(10) = 2 8 4 9 1 6 7 3 0 5.
        let rows = |end| {
            let marks = held_out(10, 0.2, 0, end).unwrap();
            (0..10).filter(|&row| marks[row]).collect::<Vec<_>>()
        };
        assert_eq!(rows(End::First), [2, 8]);
        assert_eq!(rows(End::Last), [0, 5]);
        let counts =
            |n, fraction| held_out(n, fraction, 0, End::First).unwrap().iter().filter(|&&mark| mark).count();
        assert_eq!(counts(50_000, 0.2), 10_000);
        assert_eq!(counts(900_000, 1.0 / 9.0), 100_000);
        for (n, fraction) in [(0, 0.2), (2, 0.2), (2, 0.9)] {
            assert!(held_out(n, fraction, 0, End::First).is_err());
        }
    }
}
