//! Losses by name.

use super::{
    entropy::{binary_cross_entropy, cross_entropy, focal},
    field::{mean_squared_error, relative_l2},
    masked::masked_binary_cross_entropy,
};
use crate::{
    error::{Error, Result},
    targets::Targets,
};
use candle_core::Tensor;
use dash_core::{card::Scaling, pipeline::Loss};
use std::sync::Arc;

pub(super) fn loss(
    output: &Tensor,
    loss: Loss,
    targets: Targets,
    scaling: Option<&Arc<Scaling>>,
) -> Result<Tensor> {
    Ok(match (loss, targets) {
        (Loss::CrossEntropy, Targets::Class(classes)) => cross_entropy(output, indices(&classes)?)?,
        (Loss::Focal { gamma }, Targets::Class(classes)) => focal(output, indices(&classes)?, gamma)?,
        (Loss::BinaryCrossEntropy { positive_weight }, Targets::Labels(labels)) => {
            binary_cross_entropy(output, labels, positive_weight)?
        }
        (Loss::RelativeL2, Targets::Field(field)) => relative_l2(output, field, scaling.cloned())?,
        (Loss::MeanSquaredError, Targets::Field(field)) => {
            mean_squared_error(output, field, scaling.cloned())?
        }
        (Loss::MaskedBinaryCrossEntropy, Targets::Mask { values, ignore }) => {
            masked_binary_cross_entropy(output, values, ignore)?
        }
        (loss, targets) => return Err(Error::unsuitable_loss(loss, targets.kind())),
    })
}

fn indices(classes: &[i64]) -> Result<Vec<u32>> {
    let index = |&c: &i64| u32::try_from(c).map_err(|_| Error::Target(format!("class {c} is negative")));
    classes.iter().map(index).collect()
}
