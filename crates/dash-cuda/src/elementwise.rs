//! Sums of activations, means over their positions, and dropout.

use crate::{
    gpu::{DeviceBuffer, DeviceSlice, Error, Gpu, KernelArg, LaunchDims, expect, int, long},
    kernel::{ADD, DROPOUT, MEAN_BACKWARD, MEAN_FORWARD},
};

/// a + b, number by number.
///
/// # Errors
/// If there are not as many of both, or the GPU fails.
pub fn add(gpu: &Gpu, a: DeviceSlice<'_, f32>, b: DeviceSlice<'_, f32>) -> Result<DeviceBuffer<f32>, Error> {
    expect("add", "b", b.len(), a.len())?;
    let mut out = gpu.alloc(a.len())?;
    let arguments = [a.argument(), b.argument(), gpu.write(&mut out), long(a.len())];
    // SAFETY: all three have as many numbers as the count says.
    #[allow(unsafe_code)]
    unsafe {
        gpu.launch(&ADD, LaunchDims::over(a.len()), &arguments)?;
    }
    Ok(out)
}

/// The mean of each of the planes of `n` numbers that `x` consists of.
///
/// # Errors
/// If `x` does not consist of whole planes, or the GPU fails.
pub fn mean_forward(gpu: &Gpu, x: DeviceSlice<'_, f32>, n: usize) -> Result<DeviceBuffer<f32>, Error> {
    const NAME: &str = "mean-over-positions";
    let planes = x.len() / n.max(1);
    expect(NAME, "the input", x.len(), planes * n)?;
    let mut means = gpu.alloc(planes)?;
    let arguments = [x.argument(), gpu.write(&mut means), int(NAME, planes)?, int(NAME, n)?];
    let blocks = u32::try_from(planes).unwrap_or(u32::MAX).clamp(1, 1 << 16);
    // SAFETY: x has `planes` planes of `n` numbers, the result one number for each.
    #[allow(unsafe_code)]
    unsafe {
        gpu.launch(&MEAN_FORWARD, LaunchDims::sums([blocks, 1, 1], 1), &arguments)?;
    }
    Ok(means)
}

/// The gradient in x of [`mean_forward`], given that of the means.
///
/// # Errors
/// If the GPU fails.
pub fn mean_backward(gpu: &Gpu, grad: DeviceSlice<'_, f32>, n: usize) -> Result<DeviceBuffer<f32>, Error> {
    let count = grad.len() * n;
    let mut dx = gpu.alloc(count)?;
    let arguments = [grad.argument(), gpu.write(&mut dx), long(count), int("mean-over-positions", n)?];
    // SAFETY: dx has n numbers for each of the gradient.
    #[allow(unsafe_code)]
    unsafe {
        gpu.launch(&MEAN_BACKWARD, LaunchDims::over(count), &arguments)?;
    }
    Ok(dx)
}

/// x with each number either dropped or multiplied with `scale`. Number i is dropped if word i % `stream` of the
/// stream i / `stream` of the ChaCha generator (8 rounds) with this key is below `threshold`.
///
/// # Errors
/// If `stream` is no multiple of 16, or the GPU fails.
pub fn dropout(
    gpu: &Gpu,
    x: DeviceSlice<'_, f32>,
    key: [u32; 8],
    stream: usize,
    threshold: u32,
    scale: f32,
) -> Result<DeviceBuffer<f32>, Error> {
    const NAME: &str = "dropout";
    if stream == 0 || !stream.is_multiple_of(16) {
        let what = format!("streams of {stream} numbers are no whole blocks of the generator");
        return Err(Error::Operands { operation: NAME, what });
    }
    let mut y = gpu.alloc(x.len())?;
    let mut arguments = vec![x.argument(), gpu.write(&mut y), long(x.len()), int(NAME, stream)?];
    arguments.extend(key.map(|word| KernelArg::I32(word.cast_signed())));
    arguments.extend([KernelArg::I32(threshold.cast_signed()), KernelArg::F64(f64::from(scale))]);
    // SAFETY: y is as long as x.
    #[allow(unsafe_code)]
    unsafe {
        gpu.launch(&DROPOUT, LaunchDims::over(x.len().div_ceil(16)), &arguments)?;
    }
    Ok(y)
}
