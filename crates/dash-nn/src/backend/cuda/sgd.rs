//! Clips gradients and takes steps of stochastic gradient descent on a GPU.

use crate::backend::operations::{GradientScale, SgdOperands, SgdRule};
use candle_core::{Result, Tensor};
use dash_cuda::{Gpu, SgdStep, clip_scale as scale_of};

/// The scale stays on the GPU: nothing waits for the norm.
pub(super) fn clip_scale(gpu: &Gpu, gradients: &[Tensor], max_norm: f64) -> Result<GradientScale> {
    let scale = {
        let operands: Vec<_> = gradients.iter().map(|t| gpu.operand(t)).collect::<Result<_>>()?;
        let reads: Vec<_> = operands.iter().map(|operand| operand.read()).collect();
        scale_of(gpu, &reads, max_norm)?
    };
    Ok(GradientScale::OnDevice(gpu.tensor(scale, 1)?))
}

pub(super) fn step(
    gpu: &Gpu,
    operands: &mut dyn Iterator<Item = SgdOperands<'_>>,
    rule: SgdRule,
    scale: &GradientScale,
) -> Result<()> {
    let scale = match scale {
        GradientScale::OnDevice(scale) => scale.clone(),
        GradientScale::Known(scale) => Tensor::new(&[*scale as f32], &gpu.device())?,
    };
    for SgdOperands { values: var, gradient, buffer, rate } in operands {
        let descent = SgdStep { decay: rule.weight_decay, momentum: rule.momentum, rate };
        let values = var.as_detached_tensor();
        let [new_values, new_buffer] = {
            let [p, g, b] = [gpu.operand(&values)?, gpu.operand(gradient)?, gpu.operand(buffer)?];
            let scale = gpu.operand(&scale)?;
            descent.step(gpu, [p.read(), g.read(), b.read()], scale.read())?
        };
        var.set(&gpu.tensor(new_values, values.shape())?)?;
        *buffer = gpu.tensor(new_buffer, values.shape())?;
    }
    Ok(())
}
