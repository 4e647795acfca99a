//! Holds the twiddle factors of transforms in shared memory, and decides how maps share blocks.

use dash_cuda::{DeviceBuffer, DeviceSlice, Error, Gpu, LaunchDims, MOST_THREADS, SHARED, THREADS};
use std::f64::consts::TAU;

const NAME: &str = "convolution by transforms";

/// Where each frequency is after a transform of a length without factors but 2, 3 and 5: the order of reversed digits,
/// in the radices of `radix_of` in `transform.h`.
pub(crate) fn reversed_digits(n: usize) -> Vec<usize> {
    let radix = [4, 2, 3].into_iter().find(|&radix| n.is_multiple_of(radix)).unwrap_or(5);
    if n < 2 || !n.is_multiple_of(radix) {
        return (0..n).collect();
    }
    let part = reversed_digits(n / radix);
    (0..n).filter_map(|k| Some(k % radix * (n / radix) + part.get(k / radix)?)).collect()
}

/// Transforms of one size.
#[derive(Debug)]
pub(crate) struct Transform {
    size: [usize; 2],
    /// Of rows and of columns: exp(-2 pi i k / n), real and imaginary parts in turn.
    twiddles: [DeviceBuffer<f32>; 2],
}

/// How the maps of a launch share blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Threads per map.
    threads: usize,
    /// Maps per block.
    pub(crate) maps: usize,
}

impl Transform {
    pub(crate) fn new(gpu: &Gpu, size: [usize; 2]) -> Result<Transform, Error> {
        let twiddles = |n: usize| {
            let angle = |k: usize| TAU * k as f64 / n as f64;
            let both = |k: usize| [angle(k).cos() as f32, -angle(k).sin() as f32];
            gpu.upload(&(0..n).flat_map(both).collect::<Vec<_>>())
        };
        Ok(Transform { size, twiddles: [twiddles(size[0])?, twiddles(size[1])?] })
    }

    /// Numbers of a map.
    pub(crate) fn len(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// How blocks are shared where each of `of` maps needs `each` of its size.
    pub(crate) fn shared(&self, of: usize, each: usize) -> Shared {
        // A thread computes about two radix-4 butterflies of a stage.
        let threads = (self.len() / 8).next_multiple_of(32).clamp(32, MOST_THREADS);
        let room = SHARED / (8 * each * self.len()).max(1);
        Shared { threads, maps: (THREADS as usize / threads).min(room).min(of).max(1) }
    }

    /// Blocks of maps that share them, each of `each` times its size.
    pub(crate) fn launch(&self, grid: [usize; 2], shared: Shared, each: usize) -> Result<LaunchDims, Error> {
        let number = |n: usize, what: &str| {
            u32::try_from(n)
                .map_err(|_| Error::Operands { operation: NAME, what: format!("{n} {what} are too many") })
        };
        Ok(LaunchDims {
            grid: [number(grid[0], "blocks")?, number(grid[1], "blocks")?, 1],
            block: [number(shared.threads, "threads")?, number(shared.maps, "maps")?, 1],
            shared: number(8 * each * shared.maps * self.len(), "bytes")?,
        })
    }

    /// Rows and columns.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Twiddle factors of rows and of columns.
    pub(crate) fn twiddles(&self, gpu: &Gpu) -> [DeviceSlice<'_, f32>; 2] {
        [gpu.read(&self.twiddles[0]), gpu.read(&self.twiddles[1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_are_where_reversed_digits_say() {
        // 8 = 4 x 2: k = q + 4 j is at 2 q + j.
        assert_eq!(reversed_digits(8), [0, 2, 4, 6, 1, 3, 5, 7]);
        assert_eq!(reversed_digits(6), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn small_maps_share_blocks() {
        let shared = |size: [usize; 2], of, each| {
            let gpu = Gpu::emulated();
            let Shared { threads, maps } = Transform::new(&gpu, size).unwrap().shared(of, each);
            (threads, maps)
        };
        assert_eq!(shared([16, 16], 100, 1), (32, 8));
        assert_eq!(shared([16, 16], 3, 1), (32, 3));
        assert_eq!(shared([1, 1152], 100, 1), (160, 1));
        assert_eq!(shared([32, 32], 100, 3), (128, 2));
        assert_eq!(shared([150, 150], 100, 1), (512, 1));
    }
}
