//! Batch normalisation, with a ReLU at its end or without.

use crate::{
    gpu::{DeviceBuffer, DeviceSlice, Error, Gpu, KernelArg, LaunchDims, THREADS, expect, int},
    kernel::{
        NORM_APPLY, NORM_GIVEN, NORM_GRADIENT, NORM_GRADIENT_FACTORS, NORM_GRADIENT_SUMS, NORM_MOMENTS,
        NORM_SUMS,
    },
};

const NAME: &str = "batch-norm";

/// Values of a channel that are worth a block.
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
    /// In the input, if it was wanted.
    pub x: Option<DeviceBuffer<f32>>,
    /// In the weight.
    pub weight: DeviceBuffer<f32>,
    /// In the bias.
    pub bias: DeviceBuffer<f32>,
}

impl Norm {
    fn count(&self) -> usize {
        self.batch * self.channels * self.positions
    }

    /// Blocks that share the sums of a channel: a matter of the problem, not of the GPU.
    fn parts(&self) -> usize {
        (self.batch * self.positions).div_ceil(PART).clamp(1, 256)
    }

    fn sizes(&self) -> Result<[KernelArg; 3], Error> {
        Ok([int(NAME, self.batch)?, int(NAME, self.channels)?, int(NAME, self.positions)?])
    }

    fn relu(&self) -> KernelArg {
        KernelArg::I32(i32::from(self.relu))
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

    /// Mean and variance of each channel of `x`; and the running ones with `factor` of the new, the running variance
    /// of an estimate without bias.
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
            return Err(Error::Operands { operation: NAME, what: "no values have no moments".to_owned() });
        }
        let (parts, [batch, channels, positions]) = (self.parts(), self.sizes()?);
        let mut sums = gpu.alloc::<f64>(2 * self.channels * parts)?;
        let mut moments = gpu.alloc::<f64>(2 * self.channels)?;
        let mut new_mean = gpu.alloc::<f32>(self.channels)?;
        let mut new_variance = gpu.alloc::<f32>(self.channels)?;
        let parts = int(NAME, parts)?;
        // SAFETY: lengths were compared, sums has two numbers per channel and part, moments two per channel.
        #[allow(unsafe_code)]
        unsafe {
            let arguments = [x.argument(), gpu.write(&mut sums), batch, channels, positions, parts];
            gpu.launch(&NORM_SUMS, self.sums()?, &arguments)?;
            let arguments = [
                x.argument(),
                gpu.read(&sums).argument(),
                gpu.write(&mut moments),
                mean.argument(),
                variance.argument(),
                gpu.write(&mut new_mean),
                gpu.write(&mut new_variance),
                KernelArg::F64(factor),
                batch,
                channels,
                positions,
                parts,
            ];
            gpu.launch(&NORM_MOMENTS, LaunchDims::over(self.channels), &arguments)?;
        }
        Ok((moments, [new_mean, new_variance]))
    }

    /// Moments that were found before, of which each has a number per channel.
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
        let arguments =
            [mean.argument(), variance.argument(), gpu.write(&mut moments), int(NAME, self.channels)?];
        // SAFETY: lengths were compared.
        #[allow(unsafe_code)]
        unsafe {
            gpu.launch(&NORM_GIVEN, LaunchDims::over(self.channels), &arguments)?;
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
        let [_, channels, positions] = self.sizes()?;
        let arguments = [
            x.argument(),
            moments.argument(),
            weight.argument(),
            bias.argument(),
            gpu.write(&mut y),
            KernelArg::F64(self.epsilon),
            self.relu(),
            int(NAME, self.batch * self.channels)?,
            channels,
            positions,
        ];
        // SAFETY: lengths were compared; y is as long as x.
        #[allow(unsafe_code)]
        unsafe {
            gpu.launch(&NORM_APPLY, self.planes(), &arguments)?;
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
        let (parts, [batch, channels, positions]) = (self.parts(), self.sizes()?);
        let mut sums = gpu.alloc::<f64>(2 * self.channels * parts)?;
        let mut factors = gpu.alloc::<f32>(2 * self.channels)?;
        let mut grad_weight = gpu.alloc::<f32>(self.channels)?;
        let mut grad_bias = gpu.alloc::<f32>(self.channels)?;
        let parts = int(NAME, parts)?;
        let mut dx = if want_dx { Some(gpu.alloc::<f32>(x.len())?) } else { None };
        let [x, grad, moments] = [x.argument(), grad.argument(), moments.argument()];
        let [weight, bias, epsilon] = [weight.argument(), bias.argument(), KernelArg::F64(self.epsilon)];
        // SAFETY: lengths were compared, the others were reserved as the kernels need them.
        #[allow(unsafe_code)]
        unsafe {
            let to = gpu.write(&mut sums);
            let arguments =
                [x, grad, moments, weight, bias, to, epsilon, self.relu(), batch, channels, positions, parts];
            gpu.launch(&NORM_GRADIENT_SUMS, self.sums()?, &arguments)?;
            let arguments = [
                gpu.read(&sums).argument(),
                moments,
                gpu.write(&mut factors),
                gpu.write(&mut grad_weight),
                gpu.write(&mut grad_bias),
                epsilon,
                KernelArg::F64((self.batch * self.positions) as f64),
                channels,
                parts,
            ];
            gpu.launch(&NORM_GRADIENT_FACTORS, LaunchDims::over(self.channels), &arguments)?;
            if let Some(dx) = &mut dx {
                let factors = gpu.read(&factors).argument();
                let planes = int(NAME, self.batch * self.channels)?;
                let to = gpu.write(dx);
                let arguments = [
                    x,
                    grad,
                    moments,
                    weight,
                    bias,
                    factors,
                    to,
                    epsilon,
                    self.relu(),
                    planes,
                    channels,
                    positions,
                ];
                gpu.launch(&NORM_GRADIENT, self.planes(), &arguments)?;
            }
        }
        Ok(NormGradients { x: dx, weight: grad_weight, bias: grad_bias })
    }
}
