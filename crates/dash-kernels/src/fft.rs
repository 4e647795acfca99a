//! Depthwise convolution by Fourier transforms of whole maps in shared memory.

use crate::{
    card::{Argument, Card, Error, Launch, Memory, Read, THREADS, int},
    kernel::{FFT_CONVOLVE, FFT_KERNELS, FFT_WEIGHT_SUMS},
};
use std::f64::consts::TAU;

const NAME: &str = "depthwise convolution by transforms";

/// The least length of at least `n` that has no factors but 2, 3 and 5.
pub(crate) fn smooth(n: usize) -> usize {
    let is_smooth = |mut n: usize| {
        for factor in [2, 3, 5] {
            while n.is_multiple_of(factor) {
                n /= factor;
            }
        }
        n == 1
    };
    (n.max(1)..).find(|&n| is_smooth(n)).unwrap_or(n)
}

/// Rows and columns of the transforms for maps of this size and taps that reach this far; they take 8 bytes of shared
/// memory per number.
pub fn transform_size(size: [usize; 2], reach: [usize; 2]) -> [usize; 2] {
    [smooth(size[0] + reach[0]), smooth(size[1] + reach[1])]
}

/// Where each frequency is after a transform of a length without factors but 2, 3 and 5: the order of reversed digits,
/// in the radices of `radix_of` in `transform.h`.
pub(crate) fn smooth_digits(n: usize) -> Vec<usize> {
    let radix = [4, 2, 3].into_iter().find(|&radix| n.is_multiple_of(radix)).unwrap_or(5);
    if n < 2 || !n.is_multiple_of(radix) {
        return (0..n).collect();
    }
    let part = smooth_digits(n / radix);
    (0..n).filter_map(|k| Some(k % radix * (n / radix) + part.get(k / radix)?)).collect()
}

/// Transforms of one size.
#[derive(Debug)]
pub(crate) struct Transform {
    size: [usize; 2],
    /// Of rows and of columns: exp(-2 pi i k / n), real and imaginary parts in turn.
    waves: [Memory<f32>; 2],
}

/// What kernels of transforms need to know of a convolution.
pub(crate) struct Maps<'a> {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) size: [usize; 2],
    pub(crate) out: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) taps: usize,
    pub(crate) all_taps: usize,
    pub(crate) offsets: &'a Memory<i32>,
    pub(crate) places: &'a Memory<i32>,
}

impl Transform {
    pub(crate) fn new(card: &Card, size: [usize; 2]) -> Result<Transform, Error> {
        let waves = |n: usize| {
            let angle = |k: usize| TAU * k as f64 / n as f64;
            let both = |k: usize| [angle(k).cos() as f32, -angle(k).sin() as f32];
            card.upload(&(0..n).flat_map(both).collect::<Vec<_>>())
        };
        Ok(Transform { size, waves: [waves(size[0])?, waves(size[1])?] })
    }

    fn len(&self) -> usize {
        self.size[0] * self.size[1]
    }

    fn launch(&self, channels: usize, others: usize) -> Result<Launch, Error> {
        let number = |n: usize| {
            u32::try_from(n).map_err(|_| Error::Operands { operation: NAME, what: format!("{n} blocks") })
        };
        self.launch_blocks([number(channels)?, number(others)?, 1])
    }

    /// Blocks with a complex map each, of fewer threads where there is little to do.
    pub(crate) fn launch_blocks(&self, grid: [u32; 3]) -> Result<Launch, Error> {
        let shared = u32::try_from(8 * self.len());
        let shared =
            shared.map_err(|_| Error::Operands { operation: NAME, what: format!("{:?}", self.size) })?;
        let threads = (self.len() / 4).next_multiple_of(32).clamp(32, THREADS as usize) as u32;
        Ok(Launch { grid, block: [threads, 1, 1], shared })
    }

    pub(crate) fn sizes(&self) -> Result<[Argument; 2], Error> {
        Ok([int(NAME, self.size[0])?, int(NAME, self.size[1])?])
    }

    pub(crate) fn waves(&self, card: &Card) -> [Argument; 2] {
        [card.read(&self.waves[0]).argument(), card.read(&self.waves[1]).argument()]
    }

    /// Spectra of the taps of all channels.
    pub(crate) fn kernels(
        &self,
        card: &Card,
        maps: &Maps<'_>,
        weights: Read<'_, f32>,
    ) -> Result<Memory<f32>, Error> {
        let mut spectra = card.reserve(2 * maps.channels * self.len())?;
        let ([row_waves, column_waves], [rows, columns]) = (self.waves(card), self.sizes()?);
        let arguments = [
            weights.argument(),
            card.read(maps.offsets).argument(),
            card.read(maps.places).argument(),
            row_waves,
            column_waves,
            card.write(&mut spectra),
            rows,
            columns,
            int(NAME, maps.taps)?,
            int(NAME, maps.all_taps)?,
        ];
        // SAFETY: the caller compared the lengths of weights and tables; spectra has a map per channel.
        #[allow(unsafe_code)]
        unsafe {
            card.launch(&FFT_KERNELS, self.launch(maps.channels, 1)?, &arguments)?;
        }
        Ok(spectra)
    }

    /// y = conv(x) + bias, or without a bias the gradient in x for that in y.
    pub(crate) fn convolve(
        &self,
        card: &Card,
        maps: &Maps<'_>,
        x: Read<'_, f32>,
        weights: Read<'_, f32>,
        bias: Option<Read<'_, f32>>,
    ) -> Result<Memory<f32>, Error> {
        let spectra = self.kernels(card, maps, weights)?;
        let one = [1, 1];
        let (from, from_stride, to, to_stride) = match bias {
            Some(_) => (maps.size, one, maps.out, maps.stride),
            None => (maps.out, maps.stride, maps.size, one),
        };
        let mut y = card.reserve(maps.batch * maps.channels * to[0] * to[1])?;
        let ([row_waves, column_waves], [rows, columns]) = (self.waves(card), self.sizes()?);
        let mut arguments = vec![
            x.argument(),
            card.read(&spectra).argument(),
            // Not read where there is none.
            bias.unwrap_or(weights).argument(),
            row_waves,
            column_waves,
            card.write(&mut y),
        ];
        for size in [
            maps.batch,
            maps.channels,
            from[0],
            from[1],
            from_stride[0],
            from_stride[1],
            to[0],
            to[1],
            to_stride[0],
            to_stride[1],
        ] {
            arguments.push(int(NAME, size)?);
        }
        let biased = Argument::I32(i32::from(bias.is_some()));
        let conjugated = Argument::I32(i32::from(bias.is_none()));
        arguments.extend([rows, columns, conjugated, biased]);
        // SAFETY: the caller compared lengths; y is as long as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            card.launch(&FFT_CONVOLVE, self.launch(maps.channels, maps.batch.div_ceil(2))?, &arguments)?;
        }
        Ok(y)
    }

    /// The gradient of each tap's weight over the samples of each of `parts` parts, [parts, channels, taps].
    pub(crate) fn weight_sums(
        &self,
        card: &Card,
        maps: &Maps<'_>,
        [x, grad]: [Read<'_, f32>; 2],
        parts: usize,
    ) -> Result<Memory<f64>, Error> {
        let blocks = parts * maps.channels;
        let mut scratch = card.reserve::<f32>(4 * blocks * self.len())?;
        let mut sums = card.reserve::<f64>((blocks * maps.taps).max(1))?;
        let ([row_waves, column_waves], [rows, columns]) = (self.waves(card), self.sizes()?);
        let mut arguments = vec![
            x.argument(),
            grad.argument(),
            card.read(maps.offsets).argument(),
            row_waves,
            column_waves,
            card.write(&mut scratch),
            card.write(&mut sums),
        ];
        for size in [
            maps.batch,
            maps.channels,
            maps.size[0],
            maps.size[1],
            maps.out[0],
            maps.out[1],
            maps.stride[0],
            maps.stride[1],
        ] {
            arguments.push(int(NAME, size)?);
        }
        arguments.extend([rows, columns, int(NAME, maps.taps)?, int(NAME, parts)?]);
        // SAFETY: the caller compared lengths; scratch has two complex maps per block.
        #[allow(unsafe_code)]
        unsafe {
            card.launch(&FFT_WEIGHT_SUMS, self.launch(maps.channels, parts)?, &arguments)?;
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_least_that_have_small_factors() {
        let found: Vec<usize> = [1, 7, 11, 49, 61, 120, 1061].map(smooth).to_vec();
        assert_eq!(found, [1, 8, 12, 50, 64, 120, 1080]);
        assert_eq!(transform_size([32, 1], [31, 0]), [64, 1]);
        // 8 = 4 x 2: k = q + 4 j is at 2 q + j.
        assert_eq!(smooth_digits(8), [0, 2, 4, 6, 1, 3, 5, 7]);
        assert_eq!(smooth_digits(6), [0, 3, 1, 4, 2, 5]);
    }
}
