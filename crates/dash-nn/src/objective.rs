//! What training minimises and how outputs are decoded.

use crate::{Accumulator, Error, ops};
use candle_core::Tensor;
use dash_core::{
    card::{Scaling, TargetKind},
    pipeline::{Loss, Metric},
};
use dash_cuda::Gpu;
use std::sync::Arc;

/// What a batch should be predicted as.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// One class per sample.
    Class(Vec<i64>),
    /// 0 or 1 for each label, sample after sample.
    Labels(Vec<u8>),
    /// The values of one field per sample, sample after sample, in the order of the output.
    Field(Vec<f32>),
    /// 0 or 1 for each position, sample after sample, in the order of the output.
    Mask {
        /// What is there.
        values: Vec<u8>,
        /// 1 where neither loss nor metric look.
        ignore: Vec<u8>,
    },
}

impl Targets {
    /// What they are.
    pub fn kind(&self) -> TargetKind {
        match self {
            Targets::Class(_) => TargetKind::Class,
            Targets::Labels(_) => TargetKind::Labels,
            Targets::Field(_) => TargetKind::Field,
            Targets::Mask { .. } => TargetKind::Mask,
        }
    }

    /// Number of values of all samples.
    pub fn len(&self) -> usize {
        match self {
            Targets::Class(classes) => classes.len(),
            Targets::Labels(labels) => labels.len(),
            Targets::Field(field) => field.len(),
            Targets::Mask { values, .. } => values.len(),
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those of the samples at `places`, of `rows` in all.
    pub fn select(&self, places: &[usize], rows: usize) -> Targets {
        fn pick<T: Clone>(values: &[T], places: &[usize], rows: usize) -> Vec<T> {
            let length = values.len() / rows.max(1);
            let sample =
                |&place: &usize| values.get(place * length..(place + 1) * length).unwrap_or_default();
            places.iter().flat_map(sample).cloned().collect()
        }
        match self {
            Targets::Class(classes) => Targets::Class(pick(classes, places, rows)),
            Targets::Labels(labels) => Targets::Labels(pick(labels, places, rows)),
            Targets::Field(field) => Targets::Field(pick(field, places, rows)),
            Targets::Mask { values, ignore } => {
                Targets::Mask { values: pick(values, places, rows), ignore: pick(ignore, places, rows) }
            }
        }
    }

    /// Those of `count` samples from `first` on, of `rows` in all.
    pub(crate) fn part(&self, first: usize, count: usize, rows: usize) -> Targets {
        fn cut<T: Clone>(values: &[T], first: usize, count: usize, rows: usize) -> Vec<T> {
            let length = values.len() / rows.max(1);
            values.get(first * length..(first + count) * length).unwrap_or_default().to_vec()
        }
        match self {
            Targets::Class(classes) => Targets::Class(cut(classes, first, count, rows)),
            Targets::Labels(labels) => Targets::Labels(cut(labels, first, count, rows)),
            Targets::Field(field) => Targets::Field(cut(field, first, count, rows)),
            Targets::Mask { values, ignore } => Targets::Mask {
                values: cut(values, first, count, rows),
                ignore: cut(ignore, first, count, rows),
            },
        }
    }
}

/// Loss, metric and decoding of a task.
#[derive(Clone, Debug)]
pub struct Objective {
    /// What training minimises.
    pub loss: Loss,
    /// What is reported and selected by.
    pub metric: Metric,
    /// Decodes outputs and targets before loss and metric.
    pub scaling: Option<Arc<Scaling>>,
}

impl Objective {
    /// Whether loss and metric are for such targets.
    ///
    /// # Errors
    /// If one is not.
    pub fn check(&self, target: TargetKind) -> Result<(), Error> {
        if self.loss.spec().target != target {
            return Err(Error::unsuitable_loss(self.loss, target));
        }
        if self.metric.spec().target != target {
            return Err(Error::unsuitable_metric(self.metric, target));
        }
        Ok(())
    }

    /// The loss of a batch, differentiable in `output`: [B, K] for classes and labels, [B, C, ...] for
    /// fields and masks.
    pub fn loss(&self, output: &Tensor, targets: Targets) -> Result<Tensor, Error> {
        if let Some(gpu) = Gpu::of(output.device()) {
            let found = ops::loss_on(&gpu, output, self.loss, &targets, self.scaling.as_deref())?;
            return found.ok_or_else(|| Error::unsuitable_loss(self.loss, targets.kind()));
        }
        match (self.loss, targets) {
            (Loss::CrossEntropy, Targets::Class(classes)) => {
                Ok(ops::cross_entropy(output, indices(&classes)?)?)
            }
            (Loss::Focal { gamma }, Targets::Class(classes)) => {
                Ok(ops::focal(output, indices(&classes)?, gamma)?)
            }
            (Loss::BinaryCrossEntropy { positive_weight }, Targets::Labels(labels)) => {
                Ok(ops::binary_cross_entropy(output, labels, positive_weight)?)
            }
            (Loss::RelativeL2, Targets::Field(field)) => {
                Ok(ops::relative_l2(output, field, self.scaling.clone())?)
            }
            (Loss::MeanSquaredError, Targets::Field(field)) => {
                Ok(ops::mean_squared_error(output, field, self.scaling.clone())?)
            }
            (Loss::MaskedBinaryCrossEntropy, Targets::Mask { values, ignore }) => {
                Ok(ops::masked_binary_cross_entropy(output, values, ignore)?)
            }
            (loss, targets) => Err(Error::unsuitable_loss(loss, targets.kind())),
        }
    }

    /// An empty accumulator of the metric for a network with `outputs` outputs.
    pub fn accumulator(&self, outputs: usize) -> Accumulator {
        Accumulator::new(self.metric, outputs, self.scaling.clone())
    }
}

fn indices(classes: &[i64]) -> Result<Vec<u32>, Error> {
    let index = |&c: &i64| u32::try_from(c).map_err(|_| Error::Target(format!("class {c} is negative")));
    classes.iter().map(index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn targets_are_selected_sample_by_sample() {
        let labels = Targets::Labels(vec![1, 0, 0, 1, 1, 1]);
        assert_eq!(labels.select(&[2, 0], 3), Targets::Labels(vec![1, 1, 1, 0]));
        let mask = Targets::Mask { values: vec![1, 2, 3, 4], ignore: vec![5, 6, 7, 8] };
        assert_eq!(mask.select(&[1], 2), Targets::Mask { values: vec![3, 4], ignore: vec![7, 8] });
        assert_eq!(Targets::Class(vec![4, 5]).select(&[], 2), Targets::Class(vec![]));
    }

    #[test]
    fn losses_and_targets_must_agree() {
        let out = Tensor::zeros((1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let with = |loss| Objective { loss, metric: Metric::ZeroOneError, scaling: None };
        let class = || Targets::Class(vec![1]);
        let field = || Targets::Field(vec![1.0, 1.0]);
        let labels = || Targets::Labels(vec![1, 0]);
        let mask = || Targets::Mask { values: vec![1, 0], ignore: vec![0, 1] };
        let binary = Loss::BinaryCrossEntropy { positive_weight: 3.0 };
        for (loss, targets, message) in [
            (Loss::CrossEntropy, field(), "loss `cross-entropy` needs a class, the dataset has a field"),
            (Loss::RelativeL2, class(), "loss `relative-l2` needs a field, the dataset has a class"),
            (
                Loss::MeanSquaredError,
                labels(),
                "loss `mean-squared-error` needs a field, the dataset has labels",
            ),
            (binary, class(), "loss `binary-cross-entropy` needs labels, the dataset has a class"),
            (
                Loss::MaskedBinaryCrossEntropy,
                field(),
                "loss `masked-binary-cross-entropy` needs a mask, the dataset has a field",
            ),
            (binary, mask(), "loss `binary-cross-entropy` needs labels, the dataset has a mask"),
        ] {
            let kind = targets.kind();
            assert_eq!(with(loss).loss(&out, targets).unwrap_err().to_string(), message);
            assert_eq!(with(loss).check(kind).unwrap_err().to_string(), message);
        }
        with(Loss::CrossEntropy).check(TargetKind::Class).unwrap();
        let metric = with(binary).check(TargetKind::Labels).unwrap_err();
        assert_eq!(metric.to_string(), "metric `zero-one-error` needs a class, the dataset has labels");
        assert!(matches!(
            with(Loss::CrossEntropy).loss(&out, Targets::Class(vec![-1])),
            Err(Error::Target(_))
        ));
        let value = |t: Tensor| t.to_scalar::<f32>().unwrap();
        assert_eq!(value(with(Loss::CrossEntropy).loss(&out, class()).unwrap()), 2f32.ln());
        assert_eq!(value(with(Loss::RelativeL2).loss(&out, field()).unwrap()), 1.0);
        assert_eq!(value(with(Loss::MeanSquaredError).loss(&out, field()).unwrap()), 1.0);
        assert_eq!(value(with(binary).loss(&out, labels()).unwrap()), 2.0 * 2f32.ln());
        let masked = with(Loss::MaskedBinaryCrossEntropy).loss(&out, mask()).unwrap();
        assert_eq!(value(masked), 0.5 * 2f32.ln());
    }
}
