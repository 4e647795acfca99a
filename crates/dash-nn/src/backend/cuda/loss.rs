//! Computes losses on a GPU together with their gradients.

use crate::backend::cpu::LARGEST_LOSS;
use crate::{
    error::{Error, Result},
    targets::Targets,
};
use candle_core::Tensor;
use dash_core::{card::Scaling, pipeline::Loss};
use dash_cuda::{Gpu, class_loss, field_loss, label_loss, scale_by};

/// The loss of a batch of outputs, differentiable.
pub(super) fn loss(
    gpu: &Gpu,
    output: &Tensor,
    loss: Loss,
    targets: &Targets,
    scaling: Option<&Scaling>,
) -> Result<Tensor> {
    let output = output.contiguous()?;
    let found = {
        let operand = gpu.operand(&output)?;
        let outputs = operand.read();
        let length = output.elem_count() / output.dims().first().copied().unwrap_or(1).max(1);
        let classes = |classes: &[i64]| -> Vec<i32> {
            classes.iter().map(|&class| i32::try_from(class).unwrap_or(-1)).collect()
        };
        let decoded = scaling.map(|s| [s.mean.as_slice(), s.scale.as_slice()]);
        match (loss, targets) {
            (Loss::CrossEntropy, Targets::Class(of)) => class_loss(gpu, outputs, &classes(of), length, None),
            (Loss::Focal { gamma }, Targets::Class(of)) => {
                class_loss(gpu, outputs, &classes(of), length, Some(gamma))
            }
            (Loss::BinaryCrossEntropy { positive_weight }, Targets::Labels(labels)) => {
                if let Some(label) = labels.iter().find(|&&label| label > 1) {
                    return Err(Error::Target(format!("label {label} is neither 0 nor 1")));
                }
                let labels: Vec<i32> = labels.iter().map(|&label| i32::from(label)).collect();
                label_loss(gpu, outputs, &labels, positive_weight, f64::INFINITY)
            }
            (Loss::MaskedBinaryCrossEntropy, Targets::Mask { values, ignore }) => {
                let label = |(&value, &ignore): (&u8, &u8)| i32::from(value > 0) + 2 * i32::from(ignore > 0);
                let labels: Vec<i32> = values.iter().zip(ignore).map(label).collect();
                label_loss(gpu, outputs, &labels, 1.0, LARGEST_LOSS)
            }
            (Loss::RelativeL2, Targets::Field(field)) => {
                field_loss(gpu, outputs, field, decoded, length, true)
            }
            (Loss::MeanSquaredError, Targets::Field(field)) => {
                field_loss(gpu, outputs, field, decoded, length, false)
            }
            _ if loss.spec().target == targets.kind() => {
                return Err(Error::NoGpuKernel { loss: loss.name() });
            }
            _ => return Err(Error::unsuitable_loss(loss, targets.kind())),
        }
    };
    let (value, gradient) = found.map_err(candle_core::Error::from)?;
    let (value, gradient) = (gpu.tensor(value, ())?, gpu.tensor(gradient, output.shape())?);
    let on = gpu.clone();
    let rule = move |grad: &Tensor| -> candle_core::Result<Tensor> {
        let grad = grad.flatten_all()?;
        let scaled = scale_by(&on, on.operand(&gradient)?.read(), on.operand(&grad)?.read())?;
        on.tensor(scaled, gradient.shape())
    };
    Ok(gpu.node_of_one("loss", &output, &value, rule)?)
}
