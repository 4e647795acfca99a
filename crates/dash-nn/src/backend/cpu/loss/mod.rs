//! Computes losses with fused gradients, one file each. A loss is added by a file, a line in [`loss`], and an entry of the
//! table in `dash_core::pipeline::Loss`; without a kernel in `backend/cuda` it is refused on GPUs.

mod binary_cross_entropy;
mod cross_entropy;
mod fields;
mod focal;
mod logits;
mod masked_binary_cross_entropy;
mod mean_squared_error;
mod relative_l2;

pub(crate) use masked_binary_cross_entropy::{LARGEST_LOSS, mask_loss};
pub(crate) use relative_l2::relative_l2_errors;

use crate::{
    error::{Error, Result},
    targets::Targets,
};
use binary_cross_entropy::binary_cross_entropy;
use candle_core::Tensor;
use cross_entropy::cross_entropy;
use dash_core::{card::Scaling, pipeline::Loss};
use focal::focal;
use masked_binary_cross_entropy::masked_binary_cross_entropy;
use mean_squared_error::mean_squared_error;
use relative_l2::relative_l2;
use std::sync::Arc;

/// The loss of a batch of outputs, differentiable.
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
