//! What taps see, as columns of matrices.

use super::{Dense, DenseSizes, checked, push, run};
use crate::{
    card::{Card, Launch, long},
    kernel::{ADD_BIAS, COLUMNS_OF_MAPS, MAPS_OF_COLUMNS, PACKED_TAPS, SUM_ROWS, UNPACKED_TAPS},
};
use candle_core::{Result, Tensor};

impl Dense {
    /// Weights of taps that meet data: [groups, per_out, per_in x taps].
    pub(super) fn packed(&self, card: &Card, weights: &Tensor) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let rows = groups * per_out * per_in;
        let mut packed = card.reserve(rows * self.taps.count)?;
        let operand = card.operand(weights)?;
        let mut arguments = vec![
            checked(operand.read(), rows * self.taps.all)?,
            card.read(&self.taps.places).argument(),
            card.write(&mut packed),
        ];
        push(&mut arguments, &[rows, self.taps.count, self.taps.all])?;
        run(card, &PACKED_TAPS, Launch::over(rows * self.taps.count), &arguments)?;
        card.tensor(packed, (groups, per_out, per_in * self.taps.count))
    }

    /// y with a bias per channel, [batch, channels x plane].
    pub(super) fn biased(&self, card: &Card, y: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let DenseSizes { batch, groups, per_out, .. } = self.sizes;
        let (channels, plane) = (groups * per_out, self.planes()[1]);
        let count = batch * channels * plane;
        let mut out = card.reserve(count)?;
        let (y, bias) = (card.operand(y)?, card.operand(bias)?);
        let mut arguments = vec![
            checked(y.read(), count)?,
            checked(bias.read(), channels)?,
            card.write(&mut out),
            long(count),
        ];
        push(&mut arguments, &[channels, plane])?;
        run(card, &ADD_BIAS, Launch::over(count), &arguments)?;
        card.tensor(out, (batch, channels * plane))
    }

    /// The sum over samples of products, [samples x groups, per_out, per_in x taps].
    pub(super) fn over_samples(&self, card: &Card, products: &Tensor, samples: usize) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let count = groups * per_out * per_in * self.taps.count;
        let mut out = card.reserve(count)?;
        let operand = card.operand(products)?;
        let mut arguments = vec![checked(operand.read(), samples * count)?, card.write(&mut out)];
        push(&mut arguments, &[samples])?;
        arguments.push(long(count));
        run(card, &SUM_ROWS, Launch::over(count), &arguments)?;
        card.tensor(out, count)
    }

    pub(super) fn unpacked(&self, card: &Card, packed: &Tensor) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let rows = groups * per_out * per_in;
        let mut weights = card.reserve(rows * self.taps.all)?;
        let operand = card.operand(packed)?;
        let mut arguments = vec![
            checked(operand.read(), rows * self.taps.count)?,
            card.read(&self.taps.slots).argument(),
            card.write(&mut weights),
        ];
        push(&mut arguments, &[rows, self.taps.count, self.taps.all])?;
        run(card, &UNPACKED_TAPS, Launch::over(rows * self.taps.all), &arguments)?;
        card.tensor(weights, rows * self.taps.all)
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
    pub(super) fn columns(&self, card: &Card, x: &Tensor) -> Result<Tensor> {
        let (DenseSizes { groups, per_in, stride, .. }, [plane, out_plane]) = (self.sizes, self.planes());
        let samples = x.dim(0)?;
        let shape = (samples * groups, per_in * self.taps.count, out_plane);
        if self.taps.is_centre && stride == [1, 1] {
            return x.reshape(shape);
        }
        let maps = samples * groups * per_in;
        let mut columns = card.reserve(maps * self.taps.count * out_plane)?;
        let operand = card.operand(x)?;
        let mut arguments = vec![
            checked(operand.read(), maps * plane)?,
            card.read(&self.taps.offsets).argument(),
            card.write(&mut columns),
        ];
        push(&mut arguments, &self.geometry(maps))?;
        run(card, &COLUMNS_OF_MAPS, Launch::over(maps * self.taps.count * out_plane), &arguments)?;
        card.tensor(columns, shape)
    }

    /// The sums of what `columns` took from each position.
    pub(super) fn maps_of_columns(&self, card: &Card, columns: &Tensor, samples: usize) -> Result<Tensor> {
        let (DenseSizes { groups, per_in, stride, .. }, [plane, out_plane]) = (self.sizes, self.planes());
        if self.taps.is_centre && stride == [1, 1] {
            return columns.reshape((samples, ()));
        }
        let maps = samples * groups * per_in;
        let mut x = card.reserve(maps * plane)?;
        let operand = card.operand(columns)?;
        let mut arguments = vec![
            checked(operand.read(), maps * self.taps.count * out_plane)?,
            card.read(&self.taps.offsets).argument(),
            card.write(&mut x),
        ];
        push(&mut arguments, &self.geometry(maps))?;
        run(card, &MAPS_OF_COLUMNS, Launch::over(maps * plane), &arguments)?;
        card.tensor(x, (samples, groups * per_in * plane))
    }
}
