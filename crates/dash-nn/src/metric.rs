//! Metrics as accumulators over samples: neither order nor batch size changes a value.

mod batches;
mod distances;
mod masks;
mod scores;

pub use batches::BatchMean;

use crate::{Error, Targets, ops};
use candle_core::{Device, Tensor};
use dash_core::{card::Scaling, pipeline::Metric};
use distances::Distances;
use masks::{Losses, Masks};
use scores::Scores;
use std::sync::Arc;

/// Name of a metric in results.
pub fn metric_name(metric: Metric) -> &'static str {
    metric.result_name()
}

/// Direction of a metric.
pub fn lower_is_better(metric: Metric) -> bool {
    match metric {
        Metric::ZeroOneError
        | Metric::MacroF1
        | Metric::Auroc
        | Metric::AveragePrecision
        | Metric::RelativeL2
        | Metric::FalseNegativeRate
        | Metric::MaskedBinaryCrossEntropy
        | Metric::Mae8 => true,
    }
}

/// Collects what a metric needs, sample by sample.
#[derive(Clone, Debug)]
pub enum Accumulator {
    /// Counts of predictions for [`Metric::ZeroOneError`] and [`Metric::MacroF1`].
    Counts(Counts),
    /// Outputs and labels for [`Metric::Auroc`] and [`Metric::AveragePrecision`].
    Scores(Scores),
    /// Errors of samples for [`Metric::RelativeL2`].
    Errors(Errors),
    /// Counts of positions for [`Metric::FalseNegativeRate`].
    Masks(Masks),
    /// Losses of samples for [`Metric::MaskedBinaryCrossEntropy`].
    Losses(Losses),
    /// Errors of samples for [`Metric::Mae8`].
    Distances(Distances),
}

/// Predictions counted by class.
#[derive(Clone, Debug)]
pub struct Counts {
    metric: Metric,
    /// Per class: samples that are of it and predicted as it, that are of it, predicted as it.
    classes: Vec<[u64; 3]>,
    not_a_number: bool,
}

/// Relative errors of all samples.
#[derive(Clone, Debug)]
pub struct Errors {
    scaling: Option<Arc<Scaling>>,
    errors: Vec<f64>,
}

impl Accumulator {
    /// An empty accumulator; `outputs` is the number of classes or labels, or of channels of a field.
    pub fn new(metric: Metric, outputs: usize, scaling: Option<Arc<Scaling>>) -> Accumulator {
        match metric {
            Metric::ZeroOneError | Metric::MacroF1 => {
                Accumulator::Counts(Counts { metric, classes: vec![[0; 3]; outputs], not_a_number: false })
            }
            Metric::Auroc | Metric::AveragePrecision => Accumulator::Scores(Scores::new(metric, outputs)),
            Metric::RelativeL2 => Accumulator::Errors(Errors { scaling, errors: Vec::new() }),
            Metric::FalseNegativeRate => Accumulator::Masks(Masks::default()),
            Metric::MaskedBinaryCrossEntropy => Accumulator::Losses(Losses::default()),
            Metric::Mae8 => Accumulator::Distances(Distances::new(scaling)),
        }
    }

    /// The metric.
    pub fn metric(&self) -> Metric {
        match self {
            Accumulator::Counts(counts) => counts.metric,
            Accumulator::Scores(scores) => scores.metric(),
            Accumulator::Errors(_) => Metric::RelativeL2,
            Accumulator::Masks(_) => Metric::FalseNegativeRate,
            Accumulator::Losses(_) => Metric::MaskedBinaryCrossEntropy,
            Accumulator::Distances(_) => Metric::Mae8,
        }
    }

    /// Adds the outputs of a batch: [B, K] for classes and labels, [B, C, ...] for fields and
    /// masks.
    pub fn add(&mut self, output: &Tensor, targets: &Targets) -> Result<(), Error> {
        let output = output.to_device(&Device::Cpu)?.contiguous()?;
        let values = ops::Values::of("metric", &output)?;
        let rows = output.dims().first().copied().unwrap_or(0);
        match (self, targets) {
            (Accumulator::Counts(counts), Targets::Class(classes)) => {
                let k = counts.classes.len();
                if output.dims() != [classes.len(), k] {
                    return Err(Error::Target(format!(
                        "output {:?} for {} samples of {k} classes",
                        output.dims(),
                        classes.len()
                    )));
                }
                for (row, &class) in values.as_slice().chunks(k.max(1)).zip(classes) {
                    counts.add(row, class)?;
                }
                Ok(())
            }
            (Accumulator::Scores(scores), Targets::Labels(labels)) => {
                if output.dims() != [rows, scores.width()] || labels.len() != output.elem_count() {
                    return Err(Error::Target(format!(
                        "output {:?} for {} values of {} labels",
                        output.dims(),
                        labels.len(),
                        scores.width()
                    )));
                }
                scores.add(values.as_slice(), labels);
                Ok(())
            }
            (Accumulator::Errors(errors), Targets::Field(field)) => {
                let len = field.len() / rows.max(1);
                let scaled = |s: &Arc<Scaling>| s.mean.len() == len && s.scale.len() == len;
                if output.elem_count() != field.len() || !errors.scaling.as_ref().is_none_or(scaled) {
                    return Err(Error::Target(format!(
                        "output {:?}, {} target values, or scaling disagree",
                        output.dims(),
                        field.len()
                    )));
                }
                errors.errors.extend(ops::relative_l2_errors(
                    values.as_slice(),
                    field,
                    len,
                    errors.scaling.as_deref(),
                ));
                Ok(())
            }
            (Accumulator::Masks(masks), Targets::Mask { values: mask, ignore }) => {
                check_mask(&output, mask, ignore)?;
                masks.add(values.as_slice(), mask, ignore);
                Ok(())
            }
            (Accumulator::Losses(losses), Targets::Mask { values: mask, ignore }) => {
                check_mask(&output, mask, ignore)?;
                losses.add(values.as_slice(), mask, ignore, rows);
                Ok(())
            }
            (Accumulator::Distances(distances), Targets::Field(field)) => {
                let side = match *output.dims() {
                    [_, 1, side, columns] if side == columns && output.elem_count() == field.len() => side,
                    _ => {
                        return Err(Error::Target(format!(
                            "output {:?} for {} distances; a square map per sample is expected",
                            output.dims(),
                            field.len()
                        )));
                    }
                };
                distances.add(values.as_slice(), field, side)
            }
            (accumulator, _) => Err(Error::unsuitable_metric(accumulator.metric(), targets.kind())),
        }
    }

    /// The value over all samples so far; NaN without samples, or if an output was not a number.
    pub fn value(&self) -> f64 {
        match self {
            Accumulator::Counts(counts) if counts.not_a_number => f64::NAN,
            Accumulator::Counts(counts) => match counts.metric {
                Metric::MacroF1 => counts.one_minus_macro_f1(),
                _ => counts.error_percent(),
            },
            Accumulator::Scores(scores) => scores.value(),
            Accumulator::Masks(masks) => masks.false_negative_rate(),
            Accumulator::Losses(losses) => losses.mean(),
            Accumulator::Errors(Errors { errors, .. }) => mean(errors),
            Accumulator::Distances(distances) => distances.value(),
        }
    }
}

/// There must be a byte of both masks for each output.
fn check_mask(output: &Tensor, mask: &[u8], ignore: &[u8]) -> Result<(), Error> {
    if output.elem_count() == mask.len() && ignore.len() == mask.len() {
        return Ok(());
    }
    Err(Error::Target(format!(
        "output {:?} for a mask of {} and {} ignored positions",
        output.dims(),
        mask.len(),
        ignore.len()
    )))
}

/// The mean, in the order of size, so that it does not depend on that of the samples; NaN of none.
fn mean(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.iter().sum::<f64>() / sorted.len() as f64
}

impl Counts {
    fn add(&mut self, logits: &[f32], class: i64) -> Result<(), Error> {
        if logits.iter().any(|v| v.is_nan()) {
            self.not_a_number = true;
        }
        let mut best = 0;
        for (i, v) in logits.iter().enumerate() {
            // Ties go to the first class.
            if *v > logits[best] {
                best = i;
            }
        }
        let known = self.classes.len();
        let truth = usize::try_from(class).ok().filter(|&t| t < known);
        let truth = truth.ok_or_else(|| Error::Target(format!("class {class} of {known}")))?;
        self.classes[truth][0] += u64::from(truth == best);
        self.classes[truth][1] += 1;
        self.classes[best][2] += 1;
        Ok(())
    }

    fn error_percent(&self) -> f64 {
        let right: u64 = self.classes.iter().map(|c| c[0]).sum();
        let all: u64 = self.classes.iter().map(|c| c[1]).sum();
        100.0 * (all - right) as f64 / all as f64
    }

    /// F1 = 2 hits / (of the class + predicted as it), over classes with either.
    fn one_minus_macro_f1(&self) -> f64 {
        let f1: Vec<f64> = (self.classes.iter())
            .filter(|[_, of, predicted]| of + predicted > 0)
            .map(|[hits, of, predicted]| 2.0 * *hits as f64 / (of + predicted) as f64)
            .collect();
        1.0 - f1.iter().sum::<f64>() / f1.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    fn tensor(values: Vec<f32>, shape: &[usize]) -> Tensor {
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn class_value(metric: Metric, classes: usize, samples: &[(usize, i64)], batch: usize) -> f64 {
        let mut acc = Accumulator::new(metric, classes, None);
        for part in samples.chunks(batch) {
            let logits = part
                .iter()
                .flat_map(|&(p, _)| (0..classes).map(move |c| if c == p { 1.0 } else { 0.0 }))
                .collect();
            let targets = Targets::Class(part.iter().map(|s| s.1).collect());
            acc.add(&tensor(logits, &[part.len(), classes]), &targets).unwrap();
        }
        acc.value()
    }

    #[test]
    fn worked_examples() {
        // (prediction, truth); class 3 is neither predicted nor true and does not count.
        let samples = [(0, 0), (0, 0), (0, 1), (1, 1), (2, 1)];
        assert_eq!(class_value(Metric::ZeroOneError, 4, &samples, 5), 40.0);
        // F1: class 0 = 2*2/(2+3), class 1 = 2*1/(3+1), class 2 = 0.
        let expected = 1.0 - (0.8 + 0.5 + 0.0) / 3.0;
        assert!((class_value(Metric::MacroF1, 4, &samples, 2) - expected).abs() < 1e-15);
        let mut acc = Accumulator::new(Metric::RelativeL2, 1, None);
        let targets = Targets::Field(vec![3.0, 4.0, 0.0, 2.0]);
        acc.add(&tensor(vec![3.0, 4.0, 1.0, 2.0], &[2, 1, 2]), &targets).unwrap();
        assert_eq!(acc.value(), 0.25);
    }

    #[test]
    fn nothing_and_nan_are_no_number() {
        for metric in [
            Metric::ZeroOneError,
            Metric::MacroF1,
            Metric::Auroc,
            Metric::RelativeL2,
            Metric::FalseNegativeRate,
            Metric::MaskedBinaryCrossEntropy,
            Metric::Mae8,
        ] {
            assert!(Accumulator::new(metric, 2, None).value().is_nan());
        }
        let mut acc = Accumulator::new(Metric::ZeroOneError, 2, None);
        acc.add(&tensor(vec![f32::NAN, 0.0], &[1, 2]), &Targets::Class(vec![0])).unwrap();
        assert!(acc.value().is_nan());
    }

    #[test]
    fn targets_that_do_not_fit_are_refused() {
        let out = tensor(vec![0.0; 4], &[2, 2]);
        let refused = |metric, targets| {
            let mut accumulator = Accumulator::new(metric, 2, None);
            accumulator.add(&out, &targets).unwrap_err()
        };
        for (metric, targets) in [
            (Metric::MacroF1, Targets::Class(vec![0])),
            (Metric::MacroF1, Targets::Class(vec![0, 2])),
            (Metric::Auroc, Targets::Labels(vec![0; 3])),
            (Metric::RelativeL2, Targets::Field(vec![0.0; 3])),
            (Metric::Mae8, Targets::Field(vec![0.0; 4])),
            (Metric::FalseNegativeRate, Targets::Mask { values: vec![0; 3], ignore: vec![0; 3] }),
            (Metric::FalseNegativeRate, Targets::Mask { values: vec![0; 4], ignore: vec![0; 3] }),
            (Metric::MaskedBinaryCrossEntropy, Targets::Mask { values: vec![0; 3], ignore: vec![0; 4] }),
        ] {
            assert!(matches!(refused(metric, targets), Error::Target(_)));
        }
        for (metric, targets, message) in [
            (
                Metric::MacroF1,
                Targets::Field(vec![0.0; 4]),
                "metric `macro-f1` needs a class, the dataset has a field",
            ),
            (
                Metric::RelativeL2,
                Targets::Class(vec![0, 1]),
                "metric `relative-l2` needs a field, the dataset has a class",
            ),
            (
                Metric::Auroc,
                Targets::Class(vec![0, 1]),
                "metric `auroc` needs labels, the dataset has a class",
            ),
        ] {
            assert_eq!(refused(metric, targets).to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn order_and_batch_size_change_no_bit(
            samples in proptest::collection::vec((0usize..5, 0i64..5), 1..40),
            scores in proptest::collection::vec((-3i8..3, 0u8..2, -3i8..3, 0u8..2), 1..40),
            fields in proptest::collection::vec((-1f32..1.0, -1f32..1.0, 0.1f32..2.0), 1..40),
            batch in 1usize..9,
            turn in 0usize..40,
        ) {
            let mut moved = samples.clone();
            moved.rotate_left(turn % samples.len());
            for metric in [Metric::ZeroOneError, Metric::MacroF1] {
                let a = class_value(metric, 5, &samples, samples.len());
                prop_assert_eq!(a.to_bits(), class_value(metric, 5, &moved, batch).to_bits());
            }
            for metric in [Metric::Auroc, Metric::AveragePrecision] {
                let value = |samples: &[(i8, u8, i8, u8)], batch: usize| {
                    let mut acc = Accumulator::new(metric, 2, None);
                    for part in samples.chunks(batch) {
                        let out = part.iter().flat_map(|s| [f32::from(s.0), f32::from(s.2)]).collect();
                        let labels = part.iter().flat_map(|s| [s.1, s.3]).collect();
                        acc.add(&tensor(out, &[part.len(), 2]), &Targets::Labels(labels)).unwrap();
                    }
                    acc.value()
                };
                let mut moved = scores.clone();
                moved.rotate_left(turn % scores.len());
                prop_assert_eq!(value(&scores, scores.len()).to_bits(), value(&moved, batch).to_bits());
            }
            let value = |fields: &[(f32, f32, f32)], batch: usize| {
                let mut acc = Accumulator::new(Metric::RelativeL2, 1, None);
                for part in fields.chunks(batch) {
                    let out = part.iter().flat_map(|f| [f.0, f.1]).collect();
                    let target = part.iter().flat_map(|f| [f.2, 1.0]).collect();
                    acc.add(&tensor(out, &[part.len(), 1, 2]), &Targets::Field(target)).unwrap();
                }
                acc.value()
            };
            let mut moved = fields.clone();
            moved.rotate_left(turn % fields.len());
            prop_assert_eq!(value(&fields, fields.len()).to_bits(), value(&moved, batch).to_bits());
            let value = |fields: &[(f32, f32, f32)], batch: usize| {
                let mut acc = Accumulator::new(Metric::MaskedBinaryCrossEntropy, 1, None);
                for part in fields.chunks(batch) {
                    let out = part.iter().flat_map(|f| [f.0, f.1]).collect();
                    let values: Vec<u8> = part.iter().flat_map(|f| [u8::from(f.2 > 1.0), 1]).collect();
                    let ignore = vec![0; values.len()];
                    acc.add(&tensor(out, &[part.len(), 1, 2]), &Targets::Mask { values, ignore }).unwrap();
                }
                acc.value()
            };
            prop_assert_eq!(value(&fields, fields.len()).to_bits(), value(&moved, batch).to_bits());
            // Maps whose only pair is the corner.
            let value = |fields: &[(f32, f32, f32)], batch: usize| {
                let side = 25;
                let mut acc = Accumulator::new(Metric::Mae8, 1, None);
                for part in fields.chunks(batch) {
                    let (mut out, mut target) = (vec![], vec![]);
                    for f in part {
                        out.extend(std::iter::repeat_n(f.0 + f.1, side * side));
                        target.extend((0..side * side).map(|at| if at == side - 1 { f.2 } else { 0.0 }));
                    }
                    acc.add(&tensor(out, &[part.len(), 1, side, side]), &Targets::Field(target)).unwrap();
                }
                acc.value()
            };
            prop_assert_eq!(value(&fields, fields.len()).to_bits(), value(&moved, batch).to_bits());
        }
    }
}
