//! Transforms maps and kernels to spectra that are ordered by frequency, and back.

use super::{Dense, DenseSizes, Part, Spectral, checked};
use crate::cuda::{
    kernels::{DenseKernels, DenseMaps, DenseSpectra, DenseTaps},
    segments::TilingTable,
};
use candle_core::{Result, Tensor};
use dash_cuda::{Gpu, LaunchDims};

impl Dense {
    /// Blocks for pairs of channels.
    fn launch(spectral: &Spectral, others: usize, groups: usize, per_group: usize) -> Result<LaunchDims> {
        let pairs = per_group.div_ceil(2);
        let shared = spectral.transform.shared(pairs, 1);
        let blocks = others * groups * pairs.div_ceil(shared.maps);
        Ok(spectral.transform.launch([blocks, 1], shared, 1)?)
    }

    /// Spectra of pieces of maps: [bins x groups, samples x pieces, 2 x channels of a group].
    pub(super) fn spectra(
        &self,
        gpu: &Gpu,
        spectral: &Spectral,
        maps: &Tensor,
        part: Part,
    ) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, size, .. } = self.sizes;
        let TilingTable { x, y, grad, pieces, .. } = &spectral.tiling;
        let (tiling, pieces, per_group, [rows, columns]) = match part {
            Part::X => (x, pieces[0], per_in, size),
            Part::Y => (y, pieces[0], per_out, self.out_size()),
            Part::Gradient => (grad, pieces[1], per_out, self.out_size()),
        };
        let samples = maps.dim(0)?;
        let mut spectra = gpu.alloc(2 * spectral.bins * groups * samples * pieces * per_group)?;
        let operand = gpu.operand(maps)?;
        let ([row_twiddles, column_twiddles], [n_rows, n_columns]) =
            (spectral.transform.twiddles(gpu), spectral.transform.size());
        let dims = Self::launch(spectral, samples * pieces, groups, per_group)?;
        let transform = DenseSpectra {
            x: checked(operand.read(), samples * groups * per_group * rows * columns)?,
            cut: gpu.read(tiling),
            mirrors: gpu.read(&spectral.mirrors),
            row_twiddles,
            column_twiddles,
            spectra: gpu.write(&mut spectra),
            samples,
            groups,
            per_group,
            rows,
            columns,
            n_rows,
            n_columns,
            bins: spectral.bins,
        };
        // SAFETY: operands were compared with sizes, and the result has as many elements as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            transform.launch(gpu, dims)?;
        }
        gpu.tensor(spectra, (spectral.bins * groups, samples * pieces, 2 * per_group))
    }

    /// The maps of spectra as above: outputs with a bias, or without one gradients of inputs.
    pub(super) fn maps(
        &self,
        gpu: &Gpu,
        spectral: &Spectral,
        spectra: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, size, .. } = self.sizes;
        let TilingTable { y, dx, pieces, .. } = &spectral.tiling;
        let (tiling, pieces, per_group, [rows, columns]) = match bias {
            Some(_) => (y, pieces[0], per_out, self.out_size()),
            None => (dx, pieces[1], per_in, size),
        };
        let samples = spectra.dim(1)? / pieces;
        let mut maps = gpu.alloc(samples * groups * per_group * rows * columns)?;
        let (from, bias_) = (gpu.operand(spectra)?, bias.map(|bias| gpu.operand(bias)).transpose()?);
        let from_of = checked(from.read(), 2 * spectral.bins * groups * samples * pieces * per_group)?;
        let bias_of = match &bias_ {
            Some(bias) => checked(bias.read(), groups * per_group)?,
            // Not read where there is none.
            None => from_of,
        };
        let ([row_twiddles, column_twiddles], [n_rows, n_columns]) =
            (spectral.transform.twiddles(gpu), spectral.transform.size());
        let dims = Self::launch(spectral, samples * pieces, groups, per_group)?;
        let inverse = DenseMaps {
            spectra: from_of,
            bias: bias_of,
            cut: gpu.read(tiling),
            mirrors: gpu.read(&spectral.mirrors),
            row_twiddles,
            column_twiddles,
            y: gpu.write(&mut maps),
            samples,
            groups,
            per_group,
            rows,
            columns,
            n_rows,
            n_columns,
            bins: spectral.bins,
            biased: bias.is_some(),
        };
        // SAFETY: operands were compared with sizes, and the result has as many elements as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            inverse.launch(gpu, dims)?;
        }
        gpu.tensor(maps, (samples, groups * per_group * rows * columns))
    }

    /// Spectra of kernels as real matrices: [bins x groups, 2 x per_in, 2 x per_out].
    pub(super) fn kernels(&self, gpu: &Gpu, spectral: &Spectral, weights: &Tensor) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let mut kernels = gpu.alloc(4 * spectral.bins * groups * per_in * per_out)?;
        let operand = gpu.operand(weights)?;
        let ([row_twiddles, column_twiddles], [n_rows, n_columns]) =
            (spectral.transform.twiddles(gpu), spectral.transform.size());
        let dims = Self::launch(spectral, per_in, groups, per_out)?;
        let transform = DenseKernels {
            weights: checked(operand.read(), groups * per_out * per_in * self.taps.all)?,
            offsets: gpu.read(&spectral.tiling.offsets),
            tap_indices: gpu.read(&self.taps.tap_indices),
            mirrors: gpu.read(&spectral.mirrors),
            row_twiddles,
            column_twiddles,
            kernels: gpu.write(&mut kernels),
            groups,
            per_in,
            per_out,
            n_rows,
            n_columns,
            bins: spectral.bins,
            taps: self.taps.count,
            all_taps: self.taps.all,
        };
        // SAFETY: operands were compared with sizes, and the result has as many elements as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            transform.launch(gpu, dims)?;
        }
        gpu.tensor(kernels, (spectral.bins * groups, 2 * per_in, 2 * per_out))
    }

    /// The gradient of the weights from products of spectra, [bins x groups, 2 x per_in, 2 x per_out].
    pub(super) fn tap_gradients(&self, gpu: &Gpu, spectral: &Spectral, products: &Tensor) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let mut dw = gpu.alloc(groups * per_out * per_in * self.taps.all)?;
        let operand = gpu.operand(products)?;
        let ([row_twiddles, column_twiddles], [n_rows, n_columns]) =
            (spectral.transform.twiddles(gpu), spectral.transform.size());
        let dims = Self::launch(spectral, per_in, groups, per_out)?;
        let gradient = DenseTaps {
            products: checked(operand.read(), 4 * spectral.bins * groups * per_in * per_out)?,
            offsets: gpu.read(&spectral.tiling.offsets),
            slots: gpu.read(&self.taps.slots),
            mirrors: gpu.read(&spectral.mirrors),
            row_twiddles,
            column_twiddles,
            dw: gpu.write(&mut dw),
            groups,
            per_in,
            per_out,
            n_rows,
            n_columns,
            bins: spectral.bins,
            all_taps: self.taps.all,
        };
        // SAFETY: operands were compared with sizes, and the result has as many elements as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            gradient.launch(gpu, dims)?;
        }
        gpu.tensor(dw, groups * per_out * per_in * self.taps.all)
    }
}
