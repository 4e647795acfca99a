//! What training minimises and how outputs are decoded.

use crate::{Accumulator, Error, ops};
use candle_core::Tensor;
use dash_core::{
    card::Scaling,
    pipeline::{Loss, Metric},
};
use std::sync::Arc;

/// What a batch should be predicted as.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// One class per sample.
    Class(Vec<i64>),
    /// The values of one field per sample, sample after sample, in the order of the output.
    Field(Vec<f32>),
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
    /// The loss of a batch, differentiable in `output`: [B, K] for classes, [B, C, ...] for fields.
    pub fn loss(&self, output: &Tensor, targets: Targets) -> Result<Tensor, Error> {
        match (self.loss, targets) {
            (Loss::CrossEntropy, Targets::Class(classes)) => {
                Ok(ops::cross_entropy(output, indices(&classes)?)?)
            }
            (Loss::Focal { gamma }, Targets::Class(classes)) => {
                Ok(ops::focal(output, indices(&classes)?, gamma)?)
            }
            (Loss::RelativeL2, Targets::Field(field)) => {
                Ok(ops::relative_l2(output, field, self.scaling.clone())?)
            }
            (Loss::CrossEntropy, Targets::Field(_)) => {
                Err(Error::Target("loss `cross-entropy` needs classes, the dataset has fields".to_owned()))
            }
            (Loss::Focal { .. }, Targets::Field(_)) => {
                Err(Error::Target("loss `focal` needs classes, the dataset has fields".to_owned()))
            }
            (Loss::RelativeL2, Targets::Class(_)) => {
                Err(Error::Target("loss `relative-l2` needs fields, the dataset has classes".to_owned()))
            }
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
    fn losses_and_targets_must_agree() {
        let out = Tensor::zeros((1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let with = |loss| Objective { loss, metric: Metric::ZeroOneError, scaling: None };
        let class = || Targets::Class(vec![1]);
        let field = || Targets::Field(vec![1.0, 1.0]);
        assert!(matches!(with(Loss::CrossEntropy).loss(&out, field()), Err(Error::Target(_))));
        assert!(matches!(with(Loss::RelativeL2).loss(&out, class()), Err(Error::Target(_))));
        assert!(matches!(
            with(Loss::CrossEntropy).loss(&out, Targets::Class(vec![-1])),
            Err(Error::Target(_))
        ));
        let value = |t: Tensor| t.to_scalar::<f32>().unwrap();
        assert_eq!(value(with(Loss::CrossEntropy).loss(&out, class()).unwrap()), 2f32.ln());
        assert_eq!(value(with(Loss::RelativeL2).loss(&out, field()).unwrap()), 1.0);
    }
}
