//! Computes sums of activations, means over their positions, and dropout.

use crate::{
    error::{Error, expect},
    gpu::{DeviceBuffer, Gpu},
    kernels::{Add, Dropout, MeanBackward, MeanForward},
    launch::LaunchDims,
    memory::DeviceSlice,
};

/// a + b, element by element.
///
/// # Errors
/// If they differ in length, or the GPU fails.
pub fn add(gpu: &Gpu, a: DeviceSlice<'_, f32>, b: DeviceSlice<'_, f32>) -> Result<DeviceBuffer<f32>, Error> {
    expect("add", "b", b.len(), a.len())?;
    let mut out = gpu.alloc(a.len())?;
    let (count, add) = (a.len(), Add { a, b, out: gpu.write(&mut out), count: a.len() });
    // SAFETY: all three have as many numbers as the count says.
    #[allow(unsafe_code)]
    unsafe {
        add.launch(gpu, LaunchDims::over(count))?;
    }
    Ok(out)
}

/// The mean of each plane of `n` elements of `x`.
///
/// # Errors
/// If `x` does not consist of whole planes, or the GPU fails.
pub fn mean_forward(gpu: &Gpu, x: DeviceSlice<'_, f32>, n: usize) -> Result<DeviceBuffer<f32>, Error> {
    const NAME: &str = "mean-over-positions";
    let planes = x.len() / n.max(1);
    expect(NAME, "the input", x.len(), planes * n)?;
    let mut means = gpu.alloc(planes)?;
    let forward = MeanForward { x, means: gpu.write(&mut means), planes, n };
    let blocks = u32::try_from(planes).unwrap_or(u32::MAX).clamp(1, 1 << 16);
    // SAFETY: x has `planes` planes of `n` numbers, the result one number for each.
    #[allow(unsafe_code)]
    unsafe {
        forward.launch(gpu, LaunchDims::sums([blocks, 1, 1], 1))?;
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
    let backward = MeanBackward { grad, dx: gpu.write(&mut dx), count, n };
    // SAFETY: dx has n numbers for each of the gradient.
    #[allow(unsafe_code)]
    unsafe {
        backward.launch(gpu, LaunchDims::over(count))?;
    }
    Ok(dx)
}

/// x with each element either set to zero or multiplied by `scale`. Element i is dropped if word i % `stream` of the
/// stream i / `stream` of the ChaCha generator (8 rounds) with this key is below `threshold`.
///
/// # Errors
/// If `stream` is not a multiple of 16, or the GPU fails.
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
        let what = format!("streams of {stream} elements are not whole blocks of the generator");
        return Err(Error::Operands { operation: NAME, what });
    }
    let mut y = gpu.alloc(x.len())?;
    let [k0, k1, k2, k3, k4, k5, k6, k7] = key;
    let (y_, count, scale) = (gpu.write(&mut y), x.len(), f64::from(scale));
    let dropout = Dropout { x, y: y_, count, stream, k0, k1, k2, k3, k4, k5, k6, k7, threshold, scale };
    // SAFETY: y is as long as x.
    #[allow(unsafe_code)]
    unsafe {
        dropout.launch(gpu, LaunchDims::over(count.div_ceil(16)))?;
    }
    Ok(y)
}
