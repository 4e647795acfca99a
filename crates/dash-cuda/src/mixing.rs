//! Computes mixing weights, and normalises architecture gradients (DASH, section 5).

use crate::{
    error::{Error, expect},
    gpu::{DeviceBuffer, Gpu},
    kernels::{ArchGradient, MixingGradient, MixingWeights},
    launch::LaunchDims,
    memory::DeviceSlice,
};

/// softmax(alpha + noise).
///
/// # Errors
/// If there is not as much noise as there are parameters, or the GPU fails.
pub fn mixing_weights(
    gpu: &Gpu,
    alpha: DeviceSlice<'_, f32>,
    noise: &[f32],
) -> Result<DeviceBuffer<f32>, Error> {
    let candidates = alpha.len();
    expect("mixing_weights", "the noise", noise.len(), candidates)?;
    let noise = gpu.upload(noise)?;
    let mut out = gpu.alloc(candidates)?;
    let softmax = MixingWeights { alpha, noise: gpu.read(&noise), out: gpu.write(&mut out), candidates };
    // SAFETY: lengths were compared.
    #[allow(unsafe_code)]
    unsafe {
        softmax.launch(gpu, LaunchDims::over(candidates))?;
    }
    Ok(out)
}

/// The gradient in alpha of mixing weights, given their own.
///
/// # Errors
/// If there is not a gradient of each weight, or the GPU fails.
pub fn mixing_gradient(
    gpu: &Gpu,
    mixing_weights: DeviceSlice<'_, f32>,
    grad: DeviceSlice<'_, f32>,
) -> Result<DeviceBuffer<f32>, Error> {
    let candidates = mixing_weights.len();
    expect("mixing_gradient", "the gradient", grad.len(), candidates)?;
    let mut dalpha = gpu.alloc(candidates)?;
    let gradient = MixingGradient { mixing_weights, grad, dalpha: gpu.write(&mut dalpha), candidates };
    // SAFETY: lengths were compared.
    #[allow(unsafe_code)]
    unsafe {
        gradient.launch(gpu, LaunchDims::over(candidates))?;
    }
    Ok(dalpha)
}

/// A gradient of architecture parameters divided by `scale` and its norm, or as it is if `scale` is zero, plus a penalty.
///
/// # Errors
/// If there is not a penalty for each parameter, or the GPU fails.
pub fn arch_gradient(
    gpu: &Gpu,
    grad: DeviceSlice<'_, f32>,
    penalty: &[f32],
    scale: f64,
) -> Result<DeviceBuffer<f32>, Error> {
    let candidates = grad.len();
    expect("arch_gradient", "the penalty", penalty.len(), candidates)?;
    let penalty = gpu.upload(penalty)?;
    let mut out = gpu.alloc(candidates)?;
    let gradient =
        ArchGradient { grad, penalty: gpu.read(&penalty), out: gpu.write(&mut out), scale, candidates };
    // SAFETY: lengths were compared.
    #[allow(unsafe_code)]
    unsafe {
        gradient.launch(gpu, LaunchDims::over(candidates))?;
    }
    Ok(out)
}
