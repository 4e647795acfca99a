//! Combines the loss, the metric and the decoding of a task.

use crate::{
    backend::Backend,
    error::{Error, Result},
    metric::Accumulator,
    targets::Targets,
};
use candle_core::Tensor;
use dash_core::{
    card::{Scaling, TargetKind},
    pipeline::{Loss, Metric},
};
use std::sync::Arc;

/// Loss, metric and decoding of a task.
#[derive(Clone, Debug)]
pub struct Objective {
    /// The loss that training minimises.
    pub loss: Loss,
    /// The metric that is reported and that model selection uses.
    pub metric: Metric,
    /// Decodes outputs and targets before loss and metric are computed.
    pub scaling: Option<Arc<Scaling>>,
}

impl Objective {
    /// Checks that loss and metric are for targets of this kind.
    ///
    /// # Errors
    /// [`Error::Unsuitable`].
    pub fn check(&self, target: TargetKind) -> Result<()> {
        if self.loss.spec().target != target {
            return Err(Error::unsuitable_loss(self.loss, target));
        }
        if self.metric.spec().target != target {
            return Err(Error::unsuitable_metric(self.metric, target));
        }
        Ok(())
    }

    /// The loss of a batch that `backend` computed, differentiable in `output`: [B, K] for classes and labels, [B, C, ...]
    /// for fields and masks.
    ///
    /// # Errors
    /// If the loss, the targets and the output do not fit each other.
    pub fn loss(&self, backend: &Backend, output: &Tensor, targets: Targets) -> Result<Tensor> {
        backend.loss(output, self.loss, targets, self.scaling.as_ref())
    }

    /// An empty accumulator of the metric for a network with `outputs` outputs.
    pub fn accumulator(&self, outputs: usize) -> Accumulator {
        Accumulator::new(self.metric, outputs, self.scaling.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

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
            assert_eq!(with(loss).loss(&Backend::cpu(), &out, targets).unwrap_err().to_string(), message);
            assert_eq!(with(loss).check(kind).unwrap_err().to_string(), message);
        }
        with(Loss::CrossEntropy).check(TargetKind::Class).unwrap();
        let metric = with(binary).check(TargetKind::Labels).unwrap_err();
        assert_eq!(metric.to_string(), "metric `zero-one-error` needs a class, the dataset has labels");
        assert!(matches!(
            with(Loss::CrossEntropy).loss(&Backend::cpu(), &out, Targets::Class(vec![-1])),
            Err(Error::Target(_))
        ));
        let value = |t: Tensor| t.to_scalar::<f32>().unwrap();
        assert_eq!(value(with(Loss::CrossEntropy).loss(&Backend::cpu(), &out, class()).unwrap()), 2f32.ln());
        assert_eq!(value(with(Loss::RelativeL2).loss(&Backend::cpu(), &out, field()).unwrap()), 1.0);
        assert_eq!(value(with(Loss::MeanSquaredError).loss(&Backend::cpu(), &out, field()).unwrap()), 1.0);
        assert_eq!(value(with(binary).loss(&Backend::cpu(), &out, labels()).unwrap()), 2.0 * 2f32.ln());
        let masked = with(Loss::MaskedBinaryCrossEntropy).loss(&Backend::cpu(), &out, mask()).unwrap();
        assert_eq!(value(masked), 0.5 * 2f32.ln());
    }
}
