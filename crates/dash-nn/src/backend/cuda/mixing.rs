//! Computes mixing weights, and normalises architecture gradients, on a GPU (DASH, section 5).

use candle_core::{Result, Tensor};
use dash_cuda::{Gpu, arch_gradient as normalised, mixing_gradient, mixing_weights as softmax};

pub(super) fn mixing_weights(gpu: &Gpu, alpha: &Tensor, noise: &[f32]) -> Result<Tensor> {
    let value = softmax(gpu, gpu.operand(&alpha.contiguous()?)?.read(), noise)?;
    let value = gpu.tensor(value, alpha.shape())?;
    let (on, found) = (gpu.clone(), value.clone());
    let rule = move |grad: &Tensor| -> Result<Tensor> {
        let dalpha = mixing_gradient(&on, on.operand(&found)?.read(), on.operand(grad)?.read())?;
        on.tensor(dalpha, grad.shape())
    };
    gpu.node_of_one("mixing-weights", alpha, &value, rule)
}

pub(super) fn arch_gradient(gpu: &Gpu, gradient: &Tensor, penalty: &[f64], scale: f64) -> Result<Tensor> {
    let penalty: Vec<f32> = penalty.iter().map(|&term| term as f32).collect();
    let found = normalised(gpu, gpu.operand(&gradient.contiguous()?)?.read(), &penalty, scale)?;
    gpu.tensor(found, gradient.shape())
}
