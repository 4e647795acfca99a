//! Losses on a GPU: as those of [`super::loss`] and [`super::masked`], with the gradient found together with the loss.

use crate::{Error, Targets};
use candle_core::{Result, Tensor};
use dash_core::{card::Scaling, pipeline::Loss};
use dash_cuda::{Gpu, class_loss, field_loss, label_loss, scale_by};

/// The loss of a batch of outputs on a GPU, differentiable; `None` if loss and targets do not fit each other.
pub(crate) fn loss_on(
    gpu: &Gpu,
    output: &Tensor,
    loss: Loss,
    targets: &Targets,
    scaling: Option<&Scaling>,
) -> std::result::Result<Option<Tensor>, Error> {
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
                label_loss(gpu, outputs, &labels, 1.0, super::masked::MOST)
            }
            (Loss::RelativeL2, Targets::Field(field)) => {
                field_loss(gpu, outputs, field, decoded, length, true)
            }
            (Loss::MeanSquaredError, Targets::Field(field)) => {
                field_loss(gpu, outputs, field, decoded, length, false)
            }
            _ => return Ok(None),
        }
    };
    let (value, gradient) = found.map_err(candle_core::Error::from)?;
    let (value, gradient) = (gpu.tensor(value, ())?, gpu.tensor(gradient, output.shape())?);
    let on = gpu.clone();
    let rule = move |grad: &Tensor| -> Result<Tensor> {
        let grad = grad.flatten_all()?;
        let scaled = scale_by(&on, on.operand(&gradient)?.read(), on.operand(&grad)?.read())?;
        on.tensor(scaled, gradient.shape())
    };
    Ok(Some(gpu.node_of_one("loss", &output, &value, rule)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Objective, ops::testing::ramp};
    use candle_core::{Device, Var};
    use dash_core::pipeline::Metric;
    use dash_cuda::Emulator;
    use std::sync::Arc;

    /// Three times the loss, so that gradients of losses other than 1 are tested, and its gradient.
    fn both(loss: &Tensor, output: &Var) -> (f32, Vec<f32>) {
        let loss = (loss * 3.0).unwrap();
        let grads = loss.backward().unwrap();
        let grad = grads.get(output).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        (loss.to_scalar().unwrap(), grad)
    }

    #[test]
    fn all_losses_and_their_gradients_are_those_of_the_cpu() {
        let scaling =
            Scaling { mean: ramp(12, 8), scale: ramp(12, 9).iter().map(|v| v.abs() + 0.5).collect() };
        let scaling = Some(Arc::new(scaling));
        let bits = |n, salt| ramp(n, salt).iter().map(|&v| u8::from(v > 0.2)).collect::<Vec<u8>>();
        let class = || Targets::Class((0..6).map(|i| i % 4).collect());
        let field = || Targets::Field(ramp(36, 5));
        let mask = Targets::Mask { values: bits(36, 6), ignore: bits(36, 7) };
        let cases = [
            (Loss::CrossEntropy, class(), vec![6, 4], None),
            (Loss::Focal { gamma: 2.0 }, class(), vec![6, 4], None),
            (Loss::Focal { gamma: 0.0 }, class(), vec![6, 4], None),
            (
                Loss::BinaryCrossEntropy { positive_weight: 3.0 },
                Targets::Labels(bits(24, 4)),
                vec![6, 4],
                None,
            ),
            (Loss::RelativeL2, field(), vec![3, 1, 3, 4], None),
            (Loss::RelativeL2, field(), vec![3, 1, 3, 4], scaling.clone()),
            (Loss::MeanSquaredError, field(), vec![3, 1, 12], None),
            (Loss::MeanSquaredError, field(), vec![3, 1, 12], scaling),
            (Loss::MaskedBinaryCrossEntropy, mask, vec![3, 1, 3, 4], None),
        ];
        for (loss, targets, shape, scaling) in cases {
            let count = shape.iter().product::<usize>();
            // Some so large that a masked loss has reached its most.
            let output: Vec<f32> = ramp(count, 1).iter().map(|v| 200.0 * v.powi(5)).collect();
            let output = Var::from_vec(output, shape, &Device::Cpu).unwrap();
            let objective = Objective { loss, metric: Metric::ZeroOneError, scaling: scaling.clone() };
            let (value, grad) = both(&objective.loss(&output, targets.clone()).unwrap(), &output);
            let gpu = Gpu::Emulator(Emulator::default());
            let there = loss_on(&gpu, &output, loss, &targets, scaling.as_deref()).unwrap().unwrap();
            let (value_there, grad_there) = both(&there, &output);
            assert!((value - value_there).abs() <= 1e-6 * value.abs().max(1.0), "{loss:?}");
            let size = grad.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
            for (here, there) in grad.iter().zip(&grad_there) {
                assert!((here - there).abs() <= 1e-6 * size, "{loss:?}: {there} against {here}");
            }
        }
    }

    #[test]
    fn targets_that_do_not_fit_are_refused() {
        let gpu = Gpu::Emulator(Emulator::default());
        let output = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let on = |loss, targets| loss_on(&gpu, &output, loss, &targets, None);
        assert!(on(Loss::CrossEntropy, Targets::Class(vec![0, 3])).is_err());
        assert!(on(Loss::CrossEntropy, Targets::Class(vec![0, -1])).is_err());
        assert!(on(Loss::CrossEntropy, Targets::Class(vec![0])).is_err());
        assert!(on(Loss::MeanSquaredError, Targets::Field(vec![0.0; 5])).is_err());
        let labels = Targets::Labels(vec![0, 1, 2, 0, 0, 0]);
        assert!(on(Loss::BinaryCrossEntropy { positive_weight: 1.0 }, labels).is_err());
        assert!(on(Loss::CrossEntropy, Targets::Field(vec![0.0; 6])).unwrap().is_none());
    }
}
