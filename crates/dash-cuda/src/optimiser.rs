//! Clipping, and stochastic gradient descent.

use crate::{
    gpu::{DeviceBuffer, DeviceSlice, Error, Gpu, KernelArg, LaunchDims, expect, int, long},
    kernel::{CLIP_SCALE, DESCEND, SQUARE_SUMS},
};

/// Numbers that are worth a block of a sum.
const PART: usize = 1 << 14;

/// What gradients must be multiplied with for their norm, over all of them, to be at most `max_norm`: one number.
///
/// # Errors
/// If the GPU fails.
pub fn clip_scale(
    gpu: &Gpu,
    gradients: &[DeviceSlice<'_, f32>],
    max_norm: f64,
) -> Result<DeviceBuffer<f32>, Error> {
    const NAME: &str = "gradient-norm";
    let blocks = |gradient: &DeviceSlice<'_, f32>| gradient.len().div_ceil(PART).clamp(1, 1024);
    let total: usize = gradients.iter().map(blocks).sum();
    let mut sums = gpu.alloc::<f64>(total)?;
    let mut scale = gpu.alloc::<f32>(1)?;
    let mut first = 0;
    // SAFETY: each tensor has as many sums as blocks, one after the other.
    #[allow(unsafe_code)]
    unsafe {
        for gradient in gradients {
            let blocks = blocks(gradient);
            let arguments = [gradient.argument(), gpu.write_from(&mut sums, first), long(gradient.len())];
            gpu.launch(&SQUARE_SUMS, LaunchDims::sums([blocks as u32, 1, 1], 1), &arguments)?;
            first += blocks;
        }
        let arguments =
            [gpu.read(&sums).argument(), gpu.write(&mut scale), KernelArg::F64(max_norm), int(NAME, total)?];
        gpu.launch(&CLIP_SCALE, LaunchDims::sums([1, 1, 1], 1), &arguments)?;
    }
    Ok(scale)
}

/// Stochastic gradient descent in PyTorch's convention, with Nesterov's momentum: g' = scale g + decay p; buffer =
/// momentum buffer + g'; p -= rate (g' + momentum buffer).
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Decay of the weights.
    pub decay: f64,
    /// Share of the buffer that stays.
    pub momentum: f64,
    /// Learning rate.
    pub rate: f64,
}

impl SgdStep {
    /// The new values and the new buffer.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    pub fn step(
        &self,
        gpu: &Gpu,
        [values, gradient, buffer]: [DeviceSlice<'_, f32>; 3],
        scale: DeviceSlice<'_, f32>,
    ) -> Result<[DeviceBuffer<f32>; 2], Error> {
        const NAME: &str = "sgd";
        let count = values.len();
        expect(NAME, "the gradient", gradient.len(), count)?;
        expect(NAME, "the buffer", buffer.len(), count)?;
        expect(NAME, "the scale", scale.len(), 1)?;
        let (mut new_values, mut new_buffer) = (gpu.alloc(count)?, gpu.alloc(count)?);
        let arguments = [
            values.argument(),
            gradient.argument(),
            buffer.argument(),
            scale.argument(),
            gpu.write(&mut new_values),
            gpu.write(&mut new_buffer),
            KernelArg::F64(self.decay),
            KernelArg::F64(self.momentum),
            KernelArg::F64(self.rate),
            long(count),
        ];
        // SAFETY: lengths were compared; both results are as long.
        #[allow(unsafe_code)]
        unsafe {
            gpu.launch(&DESCEND, LaunchDims::over(count), &arguments)?;
        }
        Ok([new_values, new_buffer])
    }
}
