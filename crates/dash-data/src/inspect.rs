//! Summarises the rows of a dataset: ranges, moments, histograms, counts.

use crate::{DatasetFolder, Error, SplitData};
use dash_core::{
    card::{Split, Target, TensorField},
    targets::Targets,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

/// The number of rows that are read at once.
const ROWS: usize = 256;

/// A split in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SplitSummary {
    /// The split.
    pub split: Split,
    /// Its samples.
    pub rows: usize,
    /// Samples per class, or samples that have a label; empty for fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<LabelCount>,
    /// The tensors: the input, and the target if it is a field.
    pub tensors: Vec<TensorSummary>,
}

/// The number of samples of a class, or with a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LabelCount {
    /// Name of the class or label.
    pub label: String,
    /// Samples.
    pub samples: usize,
}

/// A tensor column in numbers, as networks see it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TensorSummary {
    /// Name of the column.
    pub column: String,
    /// Shape of one sample.
    pub shape: Vec<usize>,
    /// All elements together.
    pub all: Moments,
    /// Each channel.
    pub channels: Vec<Moments>,
    /// The distribution of the values.
    pub histogram: Histogram,
}

/// Range and moments of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Moments {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (population).
    pub deviation: f64,
}

/// Numbers of values in equal intervals of a range.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Histogram {
    /// Lower end of the first interval.
    pub low: f64,
    /// Upper end of the last interval, which belongs to it.
    pub high: f64,
    /// Values in each interval.
    pub counts: Vec<u64>,
}

impl DatasetFolder {
    /// Goes through the rows of a split twice: for its ranges and moments, and for histograms of `bins`
    /// intervals.
    ///
    /// # Errors
    /// If the split cannot be read.
    pub fn summary(&self, split: Split, bins: usize) -> Result<SplitSummary, Error> {
        let data = self.split(split)?;
        let card = self.card();
        let mut tensors = vec![(&card.input, false)];
        let labels: &[String] = match &card.target {
            Target::Field { tensor } | Target::Mask { tensor, .. } => {
                tensors.push((tensor, true));
                &[]
            }
            Target::Class { labels, .. } | Target::Labels { labels, .. } => labels,
        };
        let mut counts = vec![0; labels.len()];
        visit(data, &mut |batch| count(&batch.target, &mut counts))?;
        let mut summaries = vec![];
        for (tensor, is_target) in tensors {
            summaries.push(summarise(data, tensor, is_target, bins.max(1))?);
        }
        let counts =
            labels.iter().zip(counts).map(|(label, samples)| LabelCount { label: label.clone(), samples });
        Ok(SplitSummary { split, rows: data.len(), counts: counts.collect(), tensors: summaries })
    }
}

fn visit(data: &SplitData, each: &mut dyn FnMut(&crate::Batch)) -> Result<(), Error> {
    // Variable-length samples one by one: the padding of the smaller ones is not data.
    let together = if data.side(0).is_some() { 1 } else { ROWS };
    for first in (0..data.len()).step_by(together) {
        let rows: Vec<usize> = (first..data.len().min(first + together)).collect();
        each(&data.gather(&rows)?);
    }
    Ok(())
}

fn count(target: &Targets, counts: &mut [usize]) {
    match target {
        Targets::Class(classes) => {
            for &class in classes {
                if let Some(count) = usize::try_from(class).ok().and_then(|class| counts.get_mut(class)) {
                    *count += 1;
                }
            }
        }
        Targets::Labels(labels) => {
            for row in labels.chunks_exact(counts.len().max(1)) {
                for (count, &label) in counts.iter_mut().zip(row) {
                    *count += usize::from(label);
                }
            }
        }
        Targets::Field(_) | Targets::Mask { .. } => {}
    }
}

/// The numbers of a batch that belong to a tensor.
fn numbers(batch: &crate::Batch, is_target: bool) -> Cow<'_, [f32]> {
    match (&batch.target, is_target) {
        (Targets::Field(values), true) => values.into(),
        (Targets::Mask { values, .. }, true) => values.iter().map(|&v| f32::from(v)).collect(),
        (_, true) => (&[]).into(),
        (_, false) => (&batch.input).into(),
    }
}

fn summarise(
    data: &SplitData,
    tensor: &TensorField,
    is_target: bool,
    bins: usize,
) -> Result<TensorSummary, Error> {
    let channels = tensor.shape.first().copied().unwrap_or(1).max(1);
    let mut sums = vec![Sums::default(); channels];
    visit(data, &mut |batch| {
        let numbers = numbers(batch, is_target);
        let length = (numbers.len() / (channels * batch.rows.max(1))).max(1);
        for (at, values) in numbers.chunks_exact(length).enumerate() {
            if let Some(sums) = sums.get_mut(at % channels) {
                sums.add(values);
            }
        }
    })?;
    let all = sums.iter().fold(Sums::default(), |all, channel| all.with(channel)).moments();
    let mut histogram = Histogram { low: all.min, high: all.max, counts: vec![0; bins] };
    visit(data, &mut |batch| histogram.add(&numbers(batch, is_target)))?;
    Ok(TensorSummary {
        column: tensor.column.clone(),
        shape: tensor.shape.clone(),
        all,
        channels: sums.iter().map(Sums::moments).collect(),
        histogram,
    })
}

impl Histogram {
    fn add(&mut self, values: &[f32]) {
        let last = self.counts.len().saturating_sub(1);
        let width = (self.high - self.low) / self.counts.len().max(1) as f64;
        for &value in values {
            let bin = if width > 0.0 { ((f64::from(value) - self.low) / width) as usize } else { 0 };
            if let Some(count) = self.counts.get_mut(bin.min(last)) {
                *count += 1;
            }
        }
    }
}

/// Running sums, whose union is that of the numbers.
#[derive(Clone, Copy, Debug)]
struct Sums {
    count: f64,
    min: f64,
    max: f64,
    mean: f64,
    square: f64,
}

impl Default for Sums {
    fn default() -> Self {
        Sums { count: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, mean: 0.0, square: 0.0 }
    }
}

impl Sums {
    fn add(&mut self, values: &[f32]) {
        let count = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let square = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
        let (min, max) = values
            .iter()
            .map(|&v| f64::from(v))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        *self = self.with(&Sums { count, min, max, mean, square });
    }

    fn with(&self, other: &Sums) -> Sums {
        let count = self.count + other.count;
        if count == 0.0 {
            return *self;
        }
        let delta = other.mean - self.mean;
        Sums {
            count,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            mean: self.mean + delta * other.count / count,
            square: self.square + other.square + delta * delta * self.count * other.count / count,
        }
    }

    fn moments(&self) -> Moments {
        let deviation = (self.square / self.count.max(1.0)).sqrt();
        Moments { min: self.min, max: self.max, mean: self.mean, deviation }
    }
}
