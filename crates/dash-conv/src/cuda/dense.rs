//! Computes dense and grouped convolutions by matrix products, with kernels around them.

mod columns;
mod spectra;

use super::{
    depthwise::{Convolution, TapTable},
    segments::{Tiling, TilingTable},
    transform::{Transform, reversed_digits},
};
use candle_core::{Result, Tensor};
use dash_cuda::{DeviceBuffer, DeviceSlice, Element, Error, Gpu, expect};

const NAME: &str = "dense convolution";

/// Bytes that intermediate results take at most, if a single sample does not take more: samples are computed in turn.
const AT_A_TIME: usize = 1 << 30;

/// How a dense convolution is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DenseMethod {
    /// What each tap sees is written down: one product per sample.
    Columns,
    /// Fourier transforms of pieces of maps in shared memory: one product per frequency.
    Transforms(Box<Tiling>),
}

/// Sizes of a dense convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DenseSizes {
    /// Samples.
    pub(crate) batch: usize,
    /// Groups of channels.
    pub(crate) groups: usize,
    /// Input channels of a group.
    pub(crate) per_in: usize,
    /// Output channels of a group.
    pub(crate) per_out: usize,
    /// Rows and columns of an input map.
    pub(crate) size: [usize; 2],
    /// Distance between outputs per axis.
    pub(crate) stride: [usize; 2],
}

/// A convolution over taps in which each output channel sees all input channels of its group.
///
/// x is `[batch, groups x per_in, rows, columns]`, weights `[groups x per_out, per_in, all taps]`; results have
/// ceil(n / stride) positions per axis, and maps are zero outside.
pub(crate) struct Dense {
    sizes: DenseSizes,
    taps: TapTable,
    spectral: Option<Spectral>,
    /// See [`AT_A_TIME`].
    at_a_time: usize,
}

/// Transforms with their frequencies.
struct Spectral {
    transform: Transform,
    tiling: TilingTable,
    /// Of each frequency kept: where it is, and where its opposite.
    mirrors: DeviceBuffer<i32>,
    bins: usize,
}

/// Maps that are transformed.
#[derive(Clone, Copy)]
enum Part {
    X,
    /// The gradient of y, cut as y is: for the gradient of the weights.
    Y,
    /// The same, cut as the gradient of x needs it.
    Gradient,
}

impl Spectral {
    fn new(gpu: &Gpu, tiling: TilingTable) -> std::result::Result<Spectral, Error> {
        let size = tiling.size;
        let [rows, columns] = size.map(reversed_digits);
        let mut mirrors = Vec::new();
        let opposite = |k: usize, n: usize| (n - k) % n;
        for (r, &row) in rows.iter().enumerate() {
            for (c, &column) in columns.iter().enumerate() {
                let (mr, mc) = (opposite(r, size[0]), opposite(c, size[1]));
                if (r, c) > (mr, mc) {
                    continue;
                }
                let (Some(mirror_row), Some(mirror_column)) = (rows.get(mr), columns.get(mc)) else {
                    continue;
                };
                for place in [row * size[1] + column, mirror_row * size[1] + mirror_column] {
                    mirrors.push(i32::try_from(place).map_err(|_| too_large(place))?);
                }
            }
        }
        let bins = mirrors.len() / 2;
        Ok(Spectral { transform: Transform::new(gpu, size)?, tiling, mirrors: gpu.upload(&mirrors)?, bins })
    }
}

fn too_large(count: usize) -> Error {
    Error::Operands { operation: NAME, what: format!("{count} is more than a kernel can count") }
}

impl Dense {
    /// A convolution with taps of which those at `tap_indices` of `all_taps` meet data, at these distinct `offsets`.
    ///
    /// # Errors
    /// If a place is outside, there are not as many offsets as places, a size is zero, or the GPU fails.
    pub(crate) fn new(
        gpu: &Gpu,
        sizes: DenseSizes,
        (offsets, tap_indices, all_taps): (&[[i32; 2]], &[usize], usize),
        method: DenseMethod,
    ) -> std::result::Result<Dense, Error> {
        let DenseSizes { batch, groups, per_in, per_out, size, stride } = sizes;
        if stride.contains(&0) || size.contains(&0) || [batch, groups, per_in, per_out].contains(&0) {
            return Err(Error::Operands { operation: NAME, what: "a size or a stride is zero".to_owned() });
        }
        let taps = TapTable::new(gpu, NAME, (offsets, tap_indices, all_taps))?;
        let mut conv = Dense { sizes, taps, spectral: None, at_a_time: AT_A_TIME };
        if let DenseMethod::Transforms(tiling) = method {
            let tiling = TilingTable::new(gpu, NAME, &tiling, [size, conv.out_size()], offsets)?;
            conv.spectral = Some(Spectral::new(gpu, tiling)?);
        }
        Ok(conv)
    }

    fn out_size(&self) -> [usize; 2] {
        let DenseSizes { size, stride, .. } = self.sizes;
        [size[0].div_ceil(stride[0]), size[1].div_ceil(stride[1])]
    }

    fn planes(&self) -> [usize; 2] {
        [self.sizes.size, self.out_size()].map(|[rows, columns]| rows * columns)
    }

    /// Samples that are computed at a time.
    fn samples_at_a_time(&self) -> usize {
        let DenseSizes { batch, groups, per_in, per_out, .. } = self.sizes;
        let numbers = match &self.spectral {
            Some(Spectral { bins, tiling, .. }) => {
                let [pieces, gradients] = tiling.pieces;
                2 * bins * groups * pieces.max(gradients) * (per_in + 2 * per_out)
            }
            // With the products of weights' gradients, and the weights of several groups again for each sample.
            None => {
                let weights = groups * per_out * per_in * self.taps.count;
                2 * groups * per_in * self.taps.count * self.planes()[1] + 2 * weights
            }
        };
        (self.at_a_time / (4 * numbers.max(1))).clamp(1, batch)
    }

    /// Contiguous tensors with a sample per row.
    fn by_sample(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.contiguous()?.reshape((self.sizes.batch, ()))
    }

    /// What `compute` finds for some samples at a time, of all; each result has a row per sample.
    fn in_turn(&self, mut compute: impl FnMut(usize, usize) -> Result<Tensor>) -> Result<Tensor> {
        let all = self.in_turn_if_any(|first, count| compute(first, count).map(Some))?;
        all.ok_or_else(|| candle_core::Error::msg("a batch without samples"))
    }

    /// The same where nothing may be wanted.
    fn in_turn_if_any(
        &self,
        mut compute: impl FnMut(usize, usize) -> Result<Option<Tensor>>,
    ) -> Result<Option<Tensor>> {
        let (step, batch) = (self.samples_at_a_time(), self.sizes.batch);
        let mut parts = Vec::new();
        for first in (0..batch).step_by(step) {
            let count = step.min(batch - first);
            if let Some(part) = compute(first, count)? {
                parts.push(part.reshape((count, ()))?);
            }
        }
        match parts.len() {
            0 => Ok(None),
            1 => Ok(parts.pop()),
            _ => Tensor::cat(&parts, 0).map(Some),
        }
    }
}

impl Convolution for Dense {
    fn forward(&self, gpu: &Gpu, x: &Tensor, weights: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (x, weights, bias) = (self.by_sample(x)?, weights.contiguous()?, bias.contiguous()?);
        match &self.spectral {
            Some(spectral) => {
                let kernels = self.kernels(gpu, spectral, &weights)?;
                self.in_turn(|first, count| {
                    let x = self.spectra(gpu, spectral, &x.narrow(0, first, count)?, Part::X)?;
                    self.maps(gpu, spectral, &x.matmul(&kernels)?, Some(&bias))
                })
            }
            None => {
                let weights = self.packed(gpu, &weights)?;
                let y = self.in_turn(|first, count| {
                    let columns = self.columns(gpu, &x.narrow(0, first, count)?)?;
                    self.repeated(&weights, count)?.matmul(&columns)
                })?;
                self.biased(gpu, &y, &bias)
            }
        }
    }

    fn gradients(
        &self,
        gpu: &Gpu,
        x: &Tensor,
        weights: &Tensor,
        grad: &Tensor,
        want_dx: bool,
    ) -> Result<(Option<Tensor>, Tensor)> {
        let (x, grad, weights) = (self.by_sample(x)?, self.by_sample(grad)?, weights.contiguous()?);
        let mut total: Option<Tensor> = None;
        let mut add = |part: Tensor| -> Result<()> {
            total = Some(match total.take() {
                Some(total) => (total + part)?,
                None => part,
            });
            Ok(())
        };
        let kernels = match (&self.spectral, want_dx) {
            (_, false) => None,
            (Some(spectral), _) => Some(self.kernels(gpu, spectral, &weights)?.transpose(1, 2)?),
            (None, _) => Some(self.packed(gpu, &weights)?),
        };
        let dx = self.in_turn_if_any(|first, count| {
            let (x, grad) = (x.narrow(0, first, count)?, grad.narrow(0, first, count)?);
            if let Some(spectral) = &self.spectral {
                let mut spectra = self.spectra(gpu, spectral, &grad, Part::Y)?;
                let x = self.spectra(gpu, spectral, &x, Part::X)?;
                add(x.transpose(1, 2)?.matmul(&spectra)?)?;
                drop(x);
                let Some(kernels) = &kernels else { return Ok(None) };
                if !spectral.tiling.grad_as_y {
                    spectra = self.spectra(gpu, spectral, &grad, Part::Gradient)?;
                }
                return self.maps(gpu, spectral, &spectra.matmul(kernels)?, None).map(Some);
            }
            let DenseSizes { groups, per_out, .. } = self.sizes;
            let grad = grad.reshape((count * groups, per_out, self.planes()[1]))?;
            let products = grad.matmul(&self.columns(gpu, &x)?.transpose(1, 2)?)?;
            add(self.over_samples(gpu, &products, count)?)?;
            match &kernels {
                Some(kernels) => {
                    let kernels = self.repeated(kernels, count)?.transpose(1, 2)?;
                    self.maps_of_columns(gpu, &kernels.matmul(&grad)?, count).map(Some)
                }
                None => Ok(None),
            }
        })?;
        let Some(total) = total else { candle_core::bail!("a batch without samples") };
        let dw = match &self.spectral {
            Some(spectral) => self.tap_gradients(gpu, spectral, &total)?,
            None => self.unpacked(gpu, &total.contiguous()?)?,
        };
        Ok((dx, dw))
    }
}

/// An operand that must have `expected` elements.
fn checked<T: Element>(operand: DeviceSlice<'_, T>, expected: usize) -> Result<DeviceSlice<'_, T>> {
    expect(NAME, "an operand", operand.len(), expected)?;
    Ok(operand)
}

#[cfg(test)]
mod tests {
    use super::super::segments::{Segment, Segments};
    use super::*;
    use candle_core::Device;

    #[test]
    fn samples_that_are_computed_in_turn_give_the_same() {
        let sizes = DenseSizes { batch: 5, groups: 1, per_in: 3, per_out: 2, size: [6, 7], stride: [1, 2] };
        let (offsets, tap_indices) = ([[0, -1], [2, 0], [-1, 3]], [0, 2, 3]);
        let gpu = Gpu::emulated();
        let ramp = |len: usize| {
            let values: Vec<f32> = (0..len).map(|i| ((i * 37) % 19) as f32 / 19.0 - 0.5).collect();
            Tensor::from_vec(values, len, &Device::Cpu).unwrap()
        };
        let [x, w, b, g] = [5 * 3 * 42, 2 * 3 * 4, 2, 5 * 2 * 24].map(ramp);
        // Whole maps of 6 x 7 in transforms of 8 x 10, with outputs in every second column.
        let whole =
            |len, stride| Segments { step: 1, stride, segments: vec![Segment { start: 0, len, at: 0 }] };
        let (maps, outs) = ([whole(6, 1), whole(7, 1)], [whole(6, 1), whole(4, 2)]);
        let (x_, dx_, y_, grad_) = (maps.clone(), maps, outs.clone(), outs);
        let tiling = Tiling { size: [8, 10], dilation: [1, 1], x: x_, y: y_, grad: grad_, dx: dx_ };
        for method in [DenseMethod::Columns, DenseMethod::Transforms(Box::new(tiling))] {
            let of = |at_a_time: usize, samples: usize| -> Vec<f32> {
                let conv = Dense::new(&gpu, sizes, (&offsets, &tap_indices, 4), method.clone()).unwrap();
                let conv = Dense { at_a_time, ..conv };
                assert_eq!(conv.samples_at_a_time(), samples);
                let y = conv.forward(&gpu, &x, &w, &b).unwrap();
                let (dx, dw) = conv.gradients(&gpu, &x, &w, &g, true).unwrap();
                let all = [y, dx.unwrap(), dw].map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
                all.concat()
            };
            let whole = of(AT_A_TIME, 5);
            let bytes_of_one = match &method {
                DenseMethod::Columns => 4 * 2 * (3 * 3 * 24 + 2 * 3 * 3),
                // 8 x 10 numbers, of which 4 frequencies are their own opposites.
                DenseMethod::Transforms(_) => 4 * 2 * 42 * (3 + 2 * 2),
            };
            for (at_a_time, samples) in [(2 * bytes_of_one, 2), (bytes_of_one, 1), (1, 1)] {
                for (found, expected) in of(at_a_time, samples).iter().zip(&whole) {
                    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
                }
            }
        }
    }
}
