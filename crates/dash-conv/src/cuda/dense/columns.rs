//! Writes what each tap reads as columns of matrices (im2col), and sums columns back into maps.

use super::{Dense, DenseSizes, checked};
use crate::cuda::kernels::{AddBias, ColumnsOfMaps, MapsOfColumns, PackedTaps, SumRows, UnpackedTaps};
use candle_core::{Result, Tensor};
use dash_cuda::{Gpu, LaunchDims};

impl Dense {
    /// Weights of taps that meet data: [groups, per_out, per_in x taps].
    pub(super) fn packed(&self, gpu: &Gpu, weights: &Tensor) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let rows = groups * per_out * per_in;
        let mut packed = gpu.alloc(rows * self.taps.count)?;
        let operand = gpu.operand(weights)?;
        let pack = PackedTaps {
            weights: checked(operand.read(), rows * self.taps.all)?,
            tap_indices: gpu.read(&self.taps.tap_indices),
            packed: gpu.write(&mut packed),
            rows,
            taps: self.taps.count,
            all_taps: self.taps.all,
        };
        // SAFETY: operands were compared with sizes, and the result has as many elements as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            pack.launch(gpu, LaunchDims::over(rows * self.taps.count))?;
        }
        gpu.tensor(packed, (groups, per_out, per_in * self.taps.count))
    }

    /// y with a bias per channel, [batch, channels x plane].
    pub(super) fn biased(&self, gpu: &Gpu, y: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let DenseSizes { batch, groups, per_out, .. } = self.sizes;
        let (channels, plane) = (groups * per_out, self.planes()[1]);
        let count = batch * channels * plane;
        let mut out = gpu.alloc(count)?;
        let (y, bias) = (gpu.operand(y)?, gpu.operand(bias)?);
        let add = AddBias {
            x: checked(y.read(), count)?,
            bias: checked(bias.read(), channels)?,
            y: gpu.write(&mut out),
            count,
            channels,
            plane,
        };
        // SAFETY: operands were compared with sizes, and the result has as many elements as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            add.launch(gpu, LaunchDims::over(count))?;
        }
        gpu.tensor(out, (batch, channels * plane))
    }

    /// The sum over samples of products, [samples x groups, per_out, per_in x taps].
    pub(super) fn over_samples(&self, gpu: &Gpu, products: &Tensor, samples: usize) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let count = groups * per_out * per_in * self.taps.count;
        let mut out = gpu.alloc(count)?;
        let operand = gpu.operand(products)?;
        let x = checked(operand.read(), samples * count)?;
        let sum = SumRows { x, out: gpu.write(&mut out), rows: samples, columns: count };
        // SAFETY: operands were compared with sizes, and the result has as many elements as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            sum.launch(gpu, LaunchDims::over(count))?;
        }
        gpu.tensor(out, count)
    }

    pub(super) fn unpacked(&self, gpu: &Gpu, packed: &Tensor) -> Result<Tensor> {
        let DenseSizes { groups, per_in, per_out, .. } = self.sizes;
        let rows = groups * per_out * per_in;
        let mut weights = gpu.alloc(rows * self.taps.all)?;
        let operand = gpu.operand(packed)?;
        let unpack = UnpackedTaps {
            packed: checked(operand.read(), rows * self.taps.count)?,
            slots: gpu.read(&self.taps.slots),
            weights: gpu.write(&mut weights),
            rows,
            taps: self.taps.count,
            all_taps: self.taps.all,
        };
        // SAFETY: operands were compared with sizes, and the result has as many elements as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            unpack.launch(gpu, LaunchDims::over(rows * self.taps.all))?;
        }
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
        let [out_rows, out_columns] = self.out_size();
        let unfold = ColumnsOfMaps {
            x: checked(operand.read(), maps * plane)?,
            offsets: gpu.read(&self.taps.offsets),
            columns_out: gpu.write(&mut columns),
            maps,
            rows: self.sizes.size[0],
            columns: self.sizes.size[1],
            out_rows,
            out_columns,
            stride_rows: stride[0],
            stride_columns: stride[1],
            taps: self.taps.count,
        };
        // SAFETY: operands were compared with sizes, and the result has as many elements as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            unfold.launch(gpu, LaunchDims::over(maps * self.taps.count * out_plane))?;
        }
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
        let [out_rows, out_columns] = self.out_size();
        let fold = MapsOfColumns {
            columns_in: checked(operand.read(), maps * self.taps.count * out_plane)?,
            offsets: gpu.read(&self.taps.offsets),
            x: gpu.write(&mut x),
            maps,
            rows: self.sizes.size[0],
            columns: self.sizes.size[1],
            out_rows,
            out_columns,
            stride_rows: stride[0],
            stride_columns: stride[1],
            taps: self.taps.count,
        };
        // SAFETY: operands were compared with sizes, and the result has as many elements as the kernel writes.
        #[allow(unsafe_code)]
        unsafe {
            fold.launch(gpu, LaunchDims::over(maps * plane))?;
        }
        gpu.tensor(x, (samples, groups * per_in * plane))
    }
}
