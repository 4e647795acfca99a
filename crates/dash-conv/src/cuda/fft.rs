//! Computes depthwise convolutions by Fourier transforms of tiles in shared memory.

use super::{
    kernels::{FftConvolve, FftKernels, FftWeightSums},
    segments::{Tiling, TilingTable},
    transform::Transform,
};
use dash_cuda::{DeviceBuffer, DeviceSlice, Error, Gpu, SHARED};

const NAME: &str = "depthwise convolution by transforms";

/// Transforms for maps that are cut in one way.
#[derive(Debug)]
pub(crate) struct Transforms {
    transform: Transform,
    tiling: TilingTable,
    maps: Maps,
}

/// What kernels of transforms need to know of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maps {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) size: [usize; 2],
    pub(crate) out: [usize; 2],
    pub(crate) taps: usize,
    pub(crate) all_taps: usize,
}

/// Which of the two a map is of.
#[derive(Clone, Copy)]
pub(crate) enum Direction<'a> {
    /// y = conv(x) + bias.
    Forward(DeviceSlice<'a, f32>),
    /// The gradient in x for that in y.
    Back,
}

impl Transforms {
    /// For taps at `offsets`.
    pub(crate) fn new(
        gpu: &Gpu,
        maps: Maps,
        tiling: &Tiling,
        offsets: &[[i32; 2]],
    ) -> Result<Transforms, Error> {
        let tiling = TilingTable::new(gpu, NAME, tiling, [maps.size, maps.out], offsets)?;
        Ok(Transforms { transform: Transform::new(gpu, tiling.size)?, tiling, maps })
    }

    /// Pieces of pairs of samples.
    fn jobs(&self, pieces: usize) -> usize {
        self.maps.batch.div_ceil(2) * pieces
    }

    /// Spectra of the taps of all channels.
    fn kernels(
        &self,
        gpu: &Gpu,
        weights: DeviceSlice<'_, f32>,
        tap_indices: &DeviceBuffer<i32>,
    ) -> Result<DeviceBuffer<f32>, Error> {
        let Maps { channels, taps, all_taps, .. } = self.maps;
        let mut spectra = gpu.alloc(2 * channels * self.transform.len())?;
        let ([row_twiddles, column_twiddles], [n_rows, n_columns]) =
            (self.transform.twiddles(gpu), self.transform.size());
        let kernels = FftKernels {
            weights,
            offsets: gpu.read(&self.tiling.offsets),
            tap_indices: gpu.read(tap_indices),
            row_twiddles,
            column_twiddles,
            spectra: gpu.write(&mut spectra),
            channels,
            n_rows,
            n_columns,
            taps,
            all_taps,
        };
        let shared = self.transform.shared(channels, 1);
        let launch = self.transform.launch([channels.div_ceil(shared.maps), 1], shared, 1)?;
        // SAFETY: the caller compared the lengths of weights and tables; spectra has a map per channel.
        #[allow(unsafe_code)]
        unsafe {
            kernels.launch(gpu, launch)?;
        }
        Ok(spectra)
    }

    /// y from x, or the gradient in x from that in y.
    pub(crate) fn convolve(
        &self,
        gpu: &Gpu,
        x: DeviceSlice<'_, f32>,
        weights: DeviceSlice<'_, f32>,
        tap_indices: &DeviceBuffer<i32>,
        direction: Direction<'_>,
    ) -> Result<DeviceBuffer<f32>, Error> {
        let spectra = self.kernels(gpu, weights, tap_indices)?;
        let (maps, tiling) = (self.maps, &self.tiling);
        let (from, to, from_cut, to_cut, pieces, bias, back) = match direction {
            Direction::Forward(bias) => {
                (maps.size, maps.out, &tiling.x, &tiling.y, tiling.pieces[0], bias, false)
            }
            // The bias is not read.
            Direction::Back => {
                (maps.out, maps.size, &tiling.grad, &tiling.dx, tiling.pieces[1], weights, true)
            }
        };
        let mut y = gpu.alloc(maps.batch * maps.channels * to[0] * to[1])?;
        let ([row_twiddles, column_twiddles], [n_rows, n_columns]) =
            (self.transform.twiddles(gpu), self.transform.size());
        let convolve = FftConvolve {
            x,
            spectra: gpu.read(&spectra),
            bias,
            from_cut: gpu.read(from_cut),
            to_cut: gpu.read(to_cut),
            row_twiddles,
            column_twiddles,
            y: gpu.write(&mut y),
            batch: maps.batch,
            channels: maps.channels,
            rows: from[0],
            columns: from[1],
            to_rows: to[0],
            to_columns: to[1],
            n_rows,
            n_columns,
            conjugated: back,
            biased: !back,
        };
        let jobs = self.jobs(pieces);
        let shared = self.transform.shared(jobs, 1);
        let launch = self.transform.launch([jobs.div_ceil(shared.maps) * maps.channels, 1], shared, 1)?;
        // SAFETY: the caller compared lengths; cuts are inside of their maps, and y is as long as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            convolve.launch(gpu, launch)?;
        }
        Ok(y)
    }

    /// The gradient of each tap's weight over the jobs of each of `parts` parts, [parts, channels, taps].
    pub(crate) fn weight_sums(
        &self,
        gpu: &Gpu,
        [x, grad]: [DeviceSlice<'_, f32>; 2],
        parts: usize,
    ) -> Result<DeviceBuffer<f64>, Error> {
        let maps = self.maps;
        let jobs = self.jobs(self.tiling.pieces[0]);
        let shared = self.transform.shared(jobs.div_ceil(parts), 3);
        let resident = 3 * 8 * shared.maps * self.transform.len() <= SHARED;
        let blocks = parts * maps.channels;
        let beside = if resident { 1 } else { 4 * blocks * shared.maps * self.transform.len() };
        let mut scratch = gpu.alloc::<f32>(beside)?;
        let mut sums = gpu.alloc::<f64>((blocks * maps.taps).max(1))?;
        let ([row_twiddles, column_twiddles], [n_rows, n_columns]) =
            (self.transform.twiddles(gpu), self.transform.size());
        let weight_sums = FftWeightSums {
            x,
            grad,
            x_cut: gpu.read(&self.tiling.x),
            grad_cut: gpu.read(&self.tiling.y),
            offsets: gpu.read(&self.tiling.offsets),
            row_twiddles,
            column_twiddles,
            scratch: gpu.write(&mut scratch),
            sums: gpu.write(&mut sums),
            batch: maps.batch,
            channels: maps.channels,
            rows: maps.size[0],
            columns: maps.size[1],
            out_rows: maps.out[0],
            out_columns: maps.out[1],
            n_rows,
            n_columns,
            taps: maps.taps,
            parts,
            resident,
        };
        let each = if resident { 3 } else { 1 };
        let launch = self.transform.launch([maps.channels, parts], shared, each)?;
        // SAFETY: the caller compared lengths; scratch has two complex maps per map of a block that is not resident.
        #[allow(unsafe_code)]
        unsafe {
            weight_sums.launch(gpu, launch)?;
        }
        Ok(sums)
    }
}
