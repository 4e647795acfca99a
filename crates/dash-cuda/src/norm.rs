//! Computes batch normalisation, with a ReLU at its end or without.

use crate::{
    error::{Error, expect},
    gpu::{DeviceBuffer, Gpu},
    kernels::{
        NormApply, NormGiven, NormGradient, NormGradientFactors, NormGradientSums, NormMoments, NormSums,
    },
    launch::{LaunchDims, THREADS},
    memory::DeviceSlice,
};

const NAME: &str = "batch-norm";

/// Values of a channel per block.
const PART: usize = 1 << 14;

/// The normalisation of activations [batch, channels, positions]: y = (x - mean) / sqrt(variance + epsilon) * weight +
/// bias, and if `relu` no less than 0.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Samples.
    pub batch: usize,
    /// Channels, each normalised on its own.
    pub channels: usize,
    /// Positions of a map.
    pub positions: usize,
    /// Added to variances.
    pub epsilon: f64,
    /// Whether a ReLU follows.
    pub relu: bool,
}

/// Gradients of a normalisation.
pub struct NormGradients {
    /// Gradient of the input, if it was wanted.
    pub x: Option<DeviceBuffer<f32>>,
    /// Gradient of the weight.
    pub weight: DeviceBuffer<f32>,
    /// Gradient of the bias.
    pub bias: DeviceBuffer<f32>,
}

impl Norm {
    fn count(&self) -> usize {
        self.batch * self.channels * self.positions
    }

    /// Blocks that share the sums of a channel; they depend on the problem, not on the GPU.
    fn parts(&self) -> usize {
        (self.batch * self.positions).div_ceil(PART).clamp(1, 256)
    }

    fn check(
        &self,
        x: DeviceSlice<'_, f32>,
        of_channels: &[(&str, DeviceSlice<'_, f32>)],
    ) -> Result<(), Error> {
        expect(NAME, "the input", x.len(), self.count())?;
        of_channels.iter().try_for_each(|(what, values)| expect(NAME, what, values.len(), self.channels))
    }

    /// A block per channel and part.
    fn sums(&self) -> Result<LaunchDims, Error> {
        let size = |n: usize| {
            u32::try_from(n).map_err(|_| Error::Operands { operation: NAME, what: format!("{n} channels") })
        };
        Ok(LaunchDims::sums([size(self.channels)?, size(self.parts())?, 1], 2))
    }

    /// A row of blocks per plane.
    fn planes(&self) -> LaunchDims {
        let planes = self.batch * self.channels;
        let rows = u32::try_from(planes).unwrap_or(u32::MAX).clamp(1, 65_535);
        let threads = if self.positions <= 128 { 64 } else { THREADS };
        let blocks = self.positions.div_ceil(4 * threads as usize).clamp(1, 64) as u32;
        LaunchDims { grid: [blocks, rows, 1], block: [threads, 1, 1], shared: 0 }
    }

    /// Mean and variance of each channel of `x`, and the running statistics with the share `factor` of the new ones; the
    /// running variance takes the unbiased estimate.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    pub fn moments(
        &self,
        gpu: &Gpu,
        x: DeviceSlice<'_, f32>,
        [mean, variance]: [DeviceSlice<'_, f32>; 2],
        factor: f64,
    ) -> Result<(DeviceBuffer<f64>, [DeviceBuffer<f32>; 2]), Error> {
        self.check(x, &[("the running mean", mean), ("the running variance", variance)])?;
        if x.is_empty() {
            return Err(Error::Operands { operation: NAME, what: "there are no values".to_owned() });
        }
        let Norm { batch, channels, positions: n, .. } = *self;
        let parts = self.parts();
        let mut sums = gpu.alloc::<f64>(2 * channels * parts)?;
        let mut moments = gpu.alloc::<f64>(2 * channels)?;
        let mut new_mean = gpu.alloc::<f32>(channels)?;
        let mut new_variance = gpu.alloc::<f32>(channels)?;
        // SAFETY: lengths were compared, sums has two numbers per channel and part, moments two per channel.
        #[allow(unsafe_code)]
        unsafe {
            NormSums { x, sums: gpu.write(&mut sums), batch, channels, n, parts }
                .launch(gpu, self.sums()?)?;
            let moments = NormMoments {
                x,
                sums: gpu.read(&sums),
                moments: gpu.write(&mut moments),
                old_mean: mean,
                old_variance: variance,
                running_mean: gpu.write(&mut new_mean),
                running_variance: gpu.write(&mut new_variance),
                factor,
                batch,
                channels,
                n,
                parts,
            };
            moments.launch(gpu, LaunchDims::over(channels))?;
        }
        Ok((moments, [new_mean, new_variance]))
    }

    /// The moments that a given mean and variance per channel stand for.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    pub fn given(
        &self,
        gpu: &Gpu,
        mean: DeviceSlice<'_, f32>,
        variance: DeviceSlice<'_, f32>,
    ) -> Result<DeviceBuffer<f64>, Error> {
        expect(NAME, "the mean", mean.len(), self.channels)?;
        expect(NAME, "the variance", variance.len(), self.channels)?;
        let mut moments = gpu.alloc::<f64>(2 * self.channels)?;
        let given = NormGiven {
            running_mean: mean,
            running_variance: variance,
            moments: gpu.write(&mut moments),
            channels: self.channels,
        };
        // SAFETY: lengths were compared.
        #[allow(unsafe_code)]
        unsafe {
            given.launch(gpu, LaunchDims::over(self.channels))?;
        }
        Ok(moments)
    }

    /// The normalised input.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    pub fn apply(
        &self,
        gpu: &Gpu,
        x: DeviceSlice<'_, f32>,
        moments: DeviceSlice<'_, f64>,
        [weight, bias]: [DeviceSlice<'_, f32>; 2],
    ) -> Result<DeviceBuffer<f32>, Error> {
        self.check(x, &[("the weight", weight), ("the bias", bias)])?;
        expect(NAME, "the moments", moments.len(), 2 * self.channels)?;
        let mut y = gpu.alloc(x.len())?;
        let apply = NormApply {
            x,
            moments,
            weight,
            bias,
            y: gpu.write(&mut y),
            epsilon: self.epsilon,
            relu: self.relu,
            planes: self.batch * self.channels,
            channels: self.channels,
            n: self.positions,
        };
        // SAFETY: lengths were compared; y is as long as x.
        #[allow(unsafe_code)]
        unsafe {
            apply.launch(gpu, self.planes())?;
        }
        Ok(y)
    }

    /// Gradients in x (if wanted), weight and bias, given the moments of x and the gradient of the result.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    pub fn gradients(
        &self,
        gpu: &Gpu,
        [x, grad]: [DeviceSlice<'_, f32>; 2],
        moments: DeviceSlice<'_, f64>,
        [weight, bias]: [DeviceSlice<'_, f32>; 2],
        want_dx: bool,
    ) -> Result<NormGradients, Error> {
        self.check(x, &[("the weight", weight), ("the bias", bias)])?;
        expect(NAME, "the gradient", grad.len(), x.len())?;
        expect(NAME, "the moments", moments.len(), 2 * self.channels)?;
        let Norm { batch, channels, positions: n, epsilon, relu } = *self;
        let parts = self.parts();
        let mut sums = gpu.alloc::<f64>(2 * channels * parts)?;
        let mut factors = gpu.alloc::<f32>(2 * channels)?;
        let mut grad_weight = gpu.alloc::<f32>(channels)?;
        let mut grad_bias = gpu.alloc::<f32>(channels)?;
        let mut dx = if want_dx { Some(gpu.alloc::<f32>(x.len())?) } else { None };
        // SAFETY: lengths were compared, the others were reserved as the kernels need them.
        #[allow(unsafe_code)]
        unsafe {
            let to = gpu.write(&mut sums);
            let gradient_sums = NormGradientSums {
                x,
                grad,
                moments,
                weight,
                bias,
                sums: to,
                epsilon,
                relu,
                batch,
                channels,
                n,
                parts,
            };
            gradient_sums.launch(gpu, self.sums()?)?;
            let gradient_factors = NormGradientFactors {
                sums: gpu.read(&sums),
                moments,
                factors: gpu.write(&mut factors),
                grad_weight: gpu.write(&mut grad_weight),
                grad_bias: gpu.write(&mut grad_bias),
                epsilon,
                count: (batch * n) as f64,
                channels,
                parts,
            };
            gradient_factors.launch(gpu, LaunchDims::over(channels))?;
            if let Some(dx) = &mut dx {
                let gradient = NormGradient {
                    x,
                    grad,
                    moments,
                    weight,
                    bias,
                    factors: gpu.read(&factors),
                    dx: gpu.write(dx),
                    epsilon,
                    relu,
                    planes: batch * channels,
                    channels,
                    n,
                };
                gradient.launch(gpu, self.planes())?;
            }
        }
        Ok(NormGradients { x: dx, weight: grad_weight, bias: grad_bias })
    }
}
