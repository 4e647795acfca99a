//! Clips gradients, and takes steps of stochastic gradient descent.

use crate::{
    error::{Error, expect},
    gpu::{DeviceBuffer, Gpu},
    kernels::{ClipScale, Descend, SquareSums},
    launch::LaunchDims,
    memory::DeviceSlice,
};

/// Elements per block of a sum.
const PART: usize = 1 << 14;

/// The scale that limits the L2 norm over all gradients to `max_norm`: min(1, max_norm / (norm + 1e-6)), one element.
///
/// # Errors
/// If the GPU fails.
pub fn clip_scale(
    gpu: &Gpu,
    gradients: &[DeviceSlice<'_, f32>],
    max_norm: f64,
) -> Result<DeviceBuffer<f32>, Error> {
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
            let sums = gpu.write(&mut sums).skip(first);
            let squares = SquareSums { x: *gradient, sums, count: gradient.len() };
            squares.launch(gpu, LaunchDims::sums([blocks as u32, 1, 1], 1))?;
            first += blocks;
        }
        let clip = ClipScale { sums: gpu.read(&sums), scale: gpu.write(&mut scale), max_norm, count: total };
        clip.launch(gpu, LaunchDims::sums([1, 1, 1], 1))?;
    }
    Ok(scale)
}

/// Stochastic gradient descent in PyTorch's convention, with Nesterov's momentum: g' = scale g + decay p; buffer =
/// momentum buffer + g'; p -= rate (g' + momentum buffer).
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Weight decay.
    pub decay: f64,
    /// Momentum.
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
        let descend = Descend {
            p: values,
            grad: gradient,
            buffer,
            scale,
            new_p: gpu.write(&mut new_values),
            new_buffer: gpu.write(&mut new_buffer),
            decay: self.decay,
            momentum: self.momentum,
            rate: self.rate,
            count,
        };
        // SAFETY: lengths were compared; both results are as long.
        #[allow(unsafe_code)]
        unsafe {
            descend.launch(gpu, LaunchDims::over(count))?;
        }
        Ok([new_values, new_buffer])
    }
}
