//! Metrics are accumulators over samples: neither the order of the samples nor the batch size changes a value.
//!
//! A metric is one file: a type with [`MetricState`], a line in [`state_of`], and an entry of the table in
//! `dash_core::pipeline::Metric`.

mod auroc;
mod average_precision;
mod batch_mean;
mod class_counts;
mod false_negative_rate;
mod macro_f1;
mod mae8;
mod masked_binary_cross_entropy;
mod ranking;
mod relative_l2;
mod state;
mod zero_one_error;

pub use batch_mean::BatchMean;

use crate::{Error, Targets, backend::cpu};
use candle_core::{Device, Tensor};
use dash_core::{card::Scaling, pipeline::Metric};
use state::{MetricState, Outputs};
use std::sync::Arc;

/// An empty state of `metric` for networks with `outputs` outputs.
fn state_of(metric: Metric, outputs: usize, scaling: Option<Arc<Scaling>>) -> Box<dyn MetricState> {
    match metric {
        Metric::ZeroOneError => Box::new(zero_one_error::ZeroOneError::new(outputs)),
        Metric::MacroF1 => Box::new(macro_f1::MacroF1::new(outputs)),
        Metric::Auroc => Box::new(auroc::Auroc::new(outputs)),
        Metric::AveragePrecision => Box::new(average_precision::AveragePrecision::new(outputs)),
        Metric::RelativeL2 => Box::new(relative_l2::RelativeL2::new(scaling)),
        Metric::FalseNegativeRate => Box::new(false_negative_rate::FalseNegativeRate::default()),
        Metric::MaskedBinaryCrossEntropy => {
            Box::new(masked_binary_cross_entropy::MaskedBinaryCrossEntropy::default())
        }
        Metric::Mae8 => Box::new(mae8::Mae8::new(scaling)),
    }
}

/// Accumulates a metric, batch by batch.
#[derive(Debug)]
pub struct Accumulator {
    metric: Metric,
    outputs: usize,
    scaling: Option<Arc<Scaling>>,
    state: Box<dyn MetricState>,
}

impl Accumulator {
    /// An empty accumulator. `outputs` is the number of classes or labels, or of channels of a field or mask; `scaling`
    /// decodes outputs and targets of a field.
    pub fn new(metric: Metric, outputs: usize, scaling: Option<Arc<Scaling>>) -> Accumulator {
        Accumulator { metric, outputs, scaling: scaling.clone(), state: state_of(metric, outputs, scaling) }
    }

    /// An accumulator of the same metric without samples.
    pub fn empty(&self) -> Accumulator {
        Accumulator::new(self.metric, self.outputs, self.scaling.clone())
    }

    /// The metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Adds the outputs of a batch: [B, K] for classes and labels, [B, C, ...] for fields and masks.
    ///
    /// # Errors
    /// If the targets are not of the metric's kind, or their number differs from that of the outputs.
    pub fn add(&mut self, output: &Tensor, targets: &Targets) -> Result<(), Error> {
        let output = output.to_device(&Device::Cpu)?.contiguous()?;
        let values = cpu::Values::of("metric", &output)?;
        self.state.add(&Outputs { values: values.as_slice(), dims: output.dims() }, targets)
    }

    /// The value over all samples so far; NaN without samples, or if an output was NaN.
    pub fn value(&self) -> f64 {
        self.state.value()
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
            Metric::AveragePrecision,
            Metric::RelativeL2,
            Metric::FalseNegativeRate,
            Metric::MaskedBinaryCrossEntropy,
            Metric::Mae8,
        ] {
            assert!(Accumulator::new(metric, 2, None).value().is_nan(), "{metric:?}");
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
