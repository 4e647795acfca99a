//! Spectra of maps and of kernels, ordered by frequency.

use super::{Dense, DenseSizes, Part, Spectral, checked, push, run};
use crate::{
    gpu::{Gpu, LaunchDims},
    kernel::{DENSE_KERNELS, DENSE_MAPS, DENSE_SPECTRA, DENSE_TAPS},
    tiling::TilingTable,
};
use candle_core::{Result, Tensor};

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
        let operand_of = checked(operand.read(), samples * groups * per_group * rows * columns)?;
        let [row_twiddles, column_twiddles] = spectral.transform.twiddles(gpu);
        let mut arguments = vec![
            operand_of,
            gpu.read(tiling).argument(),
            gpu.read(&spectral.mirrors).argument(),
            row_twiddles,
            column_twiddles,
            gpu.write(&mut spectra),
        ];
        push(&mut arguments, &[samples, groups, per_group, rows, columns])?;
        arguments.extend(spectral.transform.sizes()?);
        push(&mut arguments, &[spectral.bins])?;
        run(gpu, &DENSE_SPECTRA, Self::launch(spectral, samples * pieces, groups, per_group)?, &arguments)?;
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
        let [row_twiddles, column_twiddles] = spectral.transform.twiddles(gpu);
        let (tiling, mirrors) = (gpu.read(tiling).argument(), gpu.read(&spectral.mirrors).argument());
        let mut arguments =
            vec![from_of, bias_of, tiling, mirrors, row_twiddles, column_twiddles, gpu.write(&mut maps)];
        push(&mut arguments, &[samples, groups, per_group, rows, columns])?;
        arguments.extend(spectral.transform.sizes()?);
        push(&mut arguments, &[spectral.bins, usize::from(bias.is_some())])?;
        run(gpu, &DENSE_MAPS, Self::launch(spectral, samples * pieces, groups, per_group)?, &arguments)?;
        gpu.tensor(maps, (samples, groups * per_group * rows * columns))
    }

    /// Spectra of kernels as real matrices: [bins x groups, 2 x per_in, 2 x per_out].
    pub(super) fn kernels(&self, gpu: &Gpu, spectral: &Spectral, weights: &Tensor) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let mut kernels = gpu.alloc(4 * spectral.bins * groups * per_in * per_out)?;
        let operand = gpu.operand(weights)?;
        let [row_twiddles, column_twiddles] = spectral.transform.twiddles(gpu);
        let mut arguments = vec![
            checked(operand.read(), groups * per_out * per_in * self.taps.all)?,
            gpu.read(&spectral.tiling.offsets).argument(),
            gpu.read(&self.taps.tap_indices).argument(),
            gpu.read(&spectral.mirrors).argument(),
            row_twiddles,
            column_twiddles,
            gpu.write(&mut kernels),
        ];
        push(&mut arguments, &[groups, per_in, per_out])?;
        arguments.extend(spectral.transform.sizes()?);
        push(&mut arguments, &[spectral.bins, self.taps.count, self.taps.all])?;
        run(gpu, &DENSE_KERNELS, Self::launch(spectral, per_in, groups, per_out)?, &arguments)?;
        gpu.tensor(kernels, (spectral.bins * groups, 2 * per_in, 2 * per_out))
    }

    /// The gradient of the weights from products of spectra, [bins x groups, 2 x per_in, 2 x per_out].
    pub(super) fn tap_gradients(&self, gpu: &Gpu, spectral: &Spectral, products: &Tensor) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let mut dw = gpu.alloc(groups * per_out * per_in * self.taps.all)?;
        let operand = gpu.operand(products)?;
        let [row_twiddles, column_twiddles] = spectral.transform.twiddles(gpu);
        let mut arguments = vec![
            checked(operand.read(), 4 * spectral.bins * groups * per_in * per_out)?,
            gpu.read(&spectral.tiling.offsets).argument(),
            gpu.read(&self.taps.slots).argument(),
            gpu.read(&spectral.mirrors).argument(),
            row_twiddles,
            column_twiddles,
            gpu.write(&mut dw),
        ];
        push(&mut arguments, &[groups, per_in, per_out])?;
        arguments.extend(spectral.transform.sizes()?);
        push(&mut arguments, &[spectral.bins, self.taps.all])?;
        run(gpu, &DENSE_TAPS, Self::launch(spectral, per_in, groups, per_out)?, &arguments)?;
        gpu.tensor(dw, groups * per_out * per_in * self.taps.all)
    }
}
