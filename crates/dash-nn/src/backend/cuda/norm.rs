//! Computes batch normalisation on a GPU.

use crate::backend::{
    cpu::planes,
    operations::{Computed, NormOperands, Normalised, OperandGradients, ParamBackward, Statistics},
};
use candle_core::{Result, Tensor, bail};
use dash_cuda::{DeviceBuffer, Gpu, Norm};

const OP: &str = "batch-norm";

pub(super) fn batch_norm(gpu: &Gpu, x: &Tensor, operands: NormOperands<'_>) -> Result<Normalised> {
    let NormOperands { weight, bias, mean, variance, epsilon, relu, statistics } = operands;
    let (batch, channels, positions) = planes(OP, x.dims())?;
    if x.elem_count() == 0 {
        bail!("{OP}: no values in {:?}", x.dims())
    }
    let norm = Norm { batch, channels, positions, epsilon, relu };
    let [m, v] = [gpu.operand(mean)?, gpu.operand(variance)?];
    let momentum = match statistics {
        Statistics::Batch { momentum } => momentum,
        Statistics::Running => {
            let moments = norm.given(gpu, m.read(), v.read())?;
            let value = apply(gpu, &norm, x, &moments, [weight, bias])?;
            return Ok(Normalised { output: Computed { value, backward: None }, running: None });
        }
    };
    let (moments, [new_mean, new_variance]) =
        norm.moments(gpu, gpu.operand(x)?.read(), [m.read(), v.read()], momentum)?;
    let running = [gpu.tensor(new_mean, mean.shape())?, gpu.tensor(new_variance, variance.shape())?];
    let value = apply(gpu, &norm, x, &moments, [weight, bias])?;
    let (gpu, x) = (gpu.clone(), x.clone());
    let backward: ParamBackward = Box::new(move |grad, [weight, bias], want_input| {
        let grad = grad.contiguous()?;
        let gradients = {
            let [x, g] = [gpu.operand(&x)?, gpu.operand(&grad)?];
            let [w, b] = [gpu.operand(weight)?, gpu.operand(bias)?];
            let parameters = [w.read(), b.read()];
            norm.gradients(&gpu, [x.read(), g.read()], gpu.read(&moments), parameters, want_input)?
        };
        Ok(OperandGradients {
            input: gradients.x.map(|dx| gpu.tensor(dx, x.shape())).transpose()?,
            parameters: [
                gpu.tensor(gradients.weight, weight.shape())?,
                gpu.tensor(gradients.bias, bias.shape())?,
            ],
        })
    });
    Ok(Normalised { output: Computed { value, backward: Some(backward) }, running: Some(running) })
}

fn apply(
    gpu: &Gpu,
    norm: &Norm,
    x: &Tensor,
    moments: &DeviceBuffer<f64>,
    [weight, bias]: [&Tensor; 2],
) -> Result<Tensor> {
    let y = {
        let [x, w, b] = [gpu.operand(x)?, gpu.operand(weight)?, gpu.operand(bias)?];
        norm.apply(gpu, x.read(), gpu.read(moments), [w.read(), b.read()])?
    };
    gpu.tensor(y, x.shape())
}
