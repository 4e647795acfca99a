//! What taps see, as columns of matrices.

use super::{Dense, DenseSizes, checked, push, run};
use crate::{
    gpu::{Gpu, LaunchDims, long},
    kernel::{ADD_BIAS, COLUMNS_OF_MAPS, MAPS_OF_COLUMNS, PACKED_TAPS, SUM_ROWS, UNPACKED_TAPS},
};
use candle_core::{Result, Tensor};

impl Dense {
    /// Weights of taps that meet data: [groups, per_out, per_in x taps].
    pub(super) fn packed(&self, gpu: &Gpu, weights: &Tensor) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let rows = groups * per_out * per_in;
        let mut packed = gpu.alloc(rows * self.taps.count)?;
        let operand = gpu.operand(weights)?;
        let mut arguments = vec![
            checked(operand.read(), rows * self.taps.all)?,
            gpu.read(&self.taps.tap_indices).argument(),
            gpu.write(&mut packed),
        ];
        push(&mut arguments, &[rows, self.taps.count, self.taps.all])?;
        run(gpu, &PACKED_TAPS, LaunchDims::over(rows * self.taps.count), &arguments)?;
        gpu.tensor(packed, (groups, per_out, per_in * self.taps.count))
    }

    /// y with a bias per channel, [batch, channels x plane].
    pub(super) fn biased(&self, gpu: &Gpu, y: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let DenseSizes { batch, groups, per_out, .. } = self.sizes;
        let (channels, plane) = (groups * per_out, self.planes()[1]);
        let count = batch * channels * plane;
        let mut out = gpu.alloc(count)?;
        let (y, bias) = (gpu.operand(y)?, gpu.operand(bias)?);
        let mut arguments = vec![
            checked(y.read(), count)?,
            checked(bias.read(), channels)?,
            gpu.write(&mut out),
            long(count),
        ];
        push(&mut arguments, &[channels, plane])?;
        run(gpu, &ADD_BIAS, LaunchDims::over(count), &arguments)?;
        gpu.tensor(out, (batch, channels * plane))
    }

    /// The sum over samples of products, [samples x groups, per_out, per_in x taps].
    pub(super) fn over_samples(&self, gpu: &Gpu, products: &Tensor, samples: usize) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let count = groups * per_out * per_in * self.taps.count;
        let mut out = gpu.alloc(count)?;
        let operand = gpu.operand(products)?;
        let mut arguments = vec![checked(operand.read(), samples * count)?, gpu.write(&mut out)];
        push(&mut arguments, &[samples])?;
        arguments.push(long(count));
        run(gpu, &SUM_ROWS, LaunchDims::over(count), &arguments)?;
        gpu.tensor(out, count)
    }

    pub(super) fn unpacked(&self, gpu: &Gpu, packed: &Tensor) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let rows = groups * per_out * per_in;
        let mut weights = gpu.alloc(rows * self.taps.all)?;
        let operand = gpu.operand(packed)?;
        let mut arguments = vec![
            checked(operand.read(), rows * self.taps.count)?,
            gpu.read(&self.taps.slots).argument(),
            gpu.write(&mut weights),
        ];
        push(&mut arguments, &[rows, self.taps.count, self.taps.all])?;
        run(gpu, &UNPACKED_TAPS, LaunchDims::over(rows * self.taps.all), &arguments)?;
        gpu.tensor(weights, rows * self.taps.all)
    }

    /// The weights of all groups for each sample; a single group is not copied.
    pub(super) fn repeated(&self, weights: &Tensor, samples: usize) -> Result<Tensor> {
        let (groups, rows, columns) = weights.dims3()?;
        if groups == 1 {
            return weights.broadcast_as((samples, rows, columns));
        }
        let all = weights.unsqueeze(0)?.broadcast_as((samples, groups, rows, columns))?;
        all.contiguous()?.reshape((samples * groups, rows, columns))
    }

    /// Sizes of maps and outputs, as kernels take them.
    fn geometry(&self, maps: usize) -> [usize; 8] {
        let ([rows, columns], [out_rows, out_columns], stride) =
            (self.sizes.size, self.out_size(), self.sizes.stride);
        [maps, rows, columns, out_rows, out_columns, stride[0], stride[1], self.taps.count]
    }

    /// What taps see: [samples x groups, per_in x taps, output plane].
    pub(super) fn columns(&self, gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
        let (DenseSizes { groups, per_in, stride, .. }, [plane, out_plane]) = (self.sizes, self.planes());
        let samples = x.dim(0)?;
        let shape = (samples * groups, per_in * self.taps.count, out_plane);
        if self.taps.is_centre && stride == [1, 1] {
            return x.reshape(shape);
        }
        let maps = samples * groups * per_in;
        let mut columns = gpu.alloc(maps * self.taps.count * out_plane)?;
        let operand = gpu.operand(x)?;
        let mut arguments = vec![
            checked(operand.read(), maps * plane)?,
            gpu.read(&self.taps.offsets).argument(),
            gpu.write(&mut columns),
        ];
        push(&mut arguments, &self.geometry(maps))?;
        run(gpu, &COLUMNS_OF_MAPS, LaunchDims::over(maps * self.taps.count * out_plane), &arguments)?;
        gpu.tensor(columns, shape)
    }

    /// The sums of what `columns` took from each position.
    pub(super) fn maps_of_columns(&self, gpu: &Gpu, columns: &Tensor, samples: usize) -> Result<Tensor> {
        let (DenseSizes { groups, per_in, stride, .. }, [plane, out_plane]) = (self.sizes, self.planes());
        if self.taps.is_centre && stride == [1, 1] {
            return columns.reshape((samples, ()));
        }
        let maps = samples * groups * per_in;
        let mut x = gpu.alloc(maps * plane)?;
        let operand = gpu.operand(columns)?;
        let mut arguments = vec![
            checked(operand.read(), maps * self.taps.count * out_plane)?,
            gpu.read(&self.taps.offsets).argument(),
            gpu.write(&mut x),
        ];
        push(&mut arguments, &self.geometry(maps))?;
        run(gpu, &MAPS_OF_COLUMNS, LaunchDims::over(maps * plane), &arguments)?;
        gpu.tensor(x, (samples, groups * per_in * plane))
    }
}
