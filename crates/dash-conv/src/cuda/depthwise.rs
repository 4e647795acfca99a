//! Computes depthwise convolutions tap by tap, and the gradient of a bias.

use super::{
    fft::{Direction, Maps, Transforms},
    kernels::{ChannelSums, ChannelTotals, TapsConvolve, TapsWeightGradient, TapsWeightSums},
    segments::Tiling,
};
use candle_core::Tensor;
use dash_cuda::{DeviceBuffer, DeviceSlice, Error, Gpu, LaunchDims, MOST_THREADS, SHARED, THREADS, expect};

const NAME: &str = "depthwise convolution";

/// Outputs of a thread, as `TILE` of `taps.cu`.
const TILE: usize = 8;

/// Taps that a depthwise convolution over taps may have at most: what blocks have room for.
pub(crate) const MOST_TAPS: usize = SHARED / 16;

/// Values of a channel that are worth a block.
const PART: usize = 1 << 14;

/// How a depthwise convolution is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TapMethod {
    /// Shift and add over taps.
    Taps,
    /// Fourier transforms of pieces of maps in shared memory.
    Transforms(Box<Tiling>),
}

/// A convolution on a GPU.
pub(crate) trait Convolution: Send + Sync {
    /// conv(x, weights) + bias; the shape is the caller's to give.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    fn forward(&self, gpu: &Gpu, x: &Tensor, weights: &Tensor, bias: &Tensor) -> candle_core::Result<Tensor>;

    /// The gradients in x, if wanted, and in the weights, given that of the result.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    fn gradients(
        &self,
        gpu: &Gpu,
        x: &Tensor,
        weights: &Tensor,
        grad: &Tensor,
        want_dx: bool,
    ) -> candle_core::Result<(Option<Tensor>, Tensor)>;
}

/// The taps that meet data, on a GPU.
pub(crate) struct TapTable {
    /// How many meet data, and how many there are.
    pub(crate) count: usize,
    pub(crate) all: usize,
    pub(crate) offsets: DeviceBuffer<i32>,
    pub(crate) tap_indices: DeviceBuffer<i32>,
    /// Of each tap, which of the offsets it is, or -1.
    pub(crate) slots: DeviceBuffer<i32>,
    /// The least and the largest offset per axis.
    pub(crate) range: [[i32; 2]; 2],
    /// Whether there is one tap, at the centre.
    pub(crate) is_centre: bool,
}

impl TapTable {
    pub(crate) fn new(
        gpu: &Gpu,
        operation: &'static str,
        (offsets, tap_indices, all): (&[[i32; 2]], &[usize], usize),
    ) -> Result<TapTable, Error> {
        expect(operation, "the list of places", tap_indices.len(), offsets.len())?;
        let wrong = |what: String| Error::Operands { operation, what };
        let mut slots = vec![-1; all];
        let mut at = Vec::with_capacity(tap_indices.len());
        for (slot, &place) in tap_indices.iter().enumerate() {
            let number = |n: usize| i32::try_from(n).map_err(|_| wrong(format!("{n} taps")));
            let entry = slots.get_mut(place).ok_or_else(|| wrong(format!("there is no tap {place}")))?;
            *entry = number(slot)?;
            at.push(number(place)?);
        }
        let range = [0, 1].map(|axis| {
            let along = || offsets.iter().map(|offset| offset[axis]);
            [along().min().unwrap_or(0), along().max().unwrap_or(0)]
        });
        Ok(TapTable {
            count: tap_indices.len(),
            all,
            offsets: gpu.upload(&offsets.concat())?,
            tap_indices: gpu.upload(&at)?,
            slots: gpu.upload(&slots)?,
            range,
            is_centre: offsets == [[0, 0]],
        })
    }
}

/// A depthwise convolution over taps: every channel is convolved with taps of its own.
///
/// x is `[batch, channels, rows, columns]`, weights `[channels, all taps]`; results have ceil(n / stride) positions per
/// axis, and maps are zero outside.
pub(crate) struct Depthwise {
    batch: usize,
    channels: usize,
    size: [usize; 2],
    stride: [usize; 2],
    taps: TapTable,
    transforms: Option<Transforms>,
}

impl Depthwise {
    /// A convolution with taps of which those at `tap_indices` of `all_taps` meet data, at these distinct `offsets`.
    ///
    /// # Errors
    /// If a place is outside, there are not as many offsets as places, or the GPU fails.
    pub(crate) fn new(
        gpu: &Gpu,
        [batch, channels]: [usize; 2],
        size: [usize; 2],
        stride: [usize; 2],
        (offsets, tap_indices, all_taps): (&[[i32; 2]], &[usize], usize),
        method: TapMethod,
    ) -> Result<Depthwise, Error> {
        if stride.contains(&0) || size.contains(&0) || batch == 0 || channels == 0 {
            let what = "a size or a stride is zero".to_owned();
            return Err(Error::Operands { operation: NAME, what });
        }
        let taps = TapTable::new(gpu, NAME, (offsets, tap_indices, all_taps))?;
        let mut conv = Depthwise { transforms: None, batch, channels, size, stride, taps };
        if let TapMethod::Transforms(tiling) = method {
            let (out, count) = (conv.out_size(), conv.taps.count);
            let maps = Maps { batch, channels, size, out, taps: count, all_taps };
            conv.transforms = Some(Transforms::new(gpu, maps, &tiling, offsets)?);
        }
        Ok(conv)
    }

    fn out_size(&self) -> [usize; 2] {
        [self.size[0].div_ceil(self.stride[0]), self.size[1].div_ceil(self.stride[1])]
    }

    fn maps(&self) -> usize {
        self.batch * self.channels
    }

    /// The lengths of x, weights, and y.
    fn lens(&self) -> [usize; 3] {
        let area = |[rows, columns]: [usize; 2]| rows * columns;
        [self.maps() * area(self.size), self.channels * self.taps.all, self.maps() * area(self.out_size())]
    }

    fn blocks(count: usize) -> Result<u32, Error> {
        u32::try_from(count).map_err(|_| Error::Operands { operation: NAME, what: format!("{count} blocks") })
    }

    /// y of x, or, without a bias, the gradient of x from that of y, by going over taps.
    fn over_taps(
        &self,
        gpu: &Gpu,
        x: DeviceSlice<'_, f32>,
        weights: DeviceSlice<'_, f32>,
        bias: Option<DeviceSlice<'_, f32>>,
    ) -> Result<DeviceBuffer<f32>, Error> {
        let back = bias.is_none();
        let walk = Walk::new(self, back, gpu.shared_limit())?;
        let [rows, columns] = walk.of;
        let [out_rows, out_columns] = walk.to;
        let mut y = gpu.alloc(self.maps() * out_rows * out_columns)?;
        let convolve = TapsConvolve {
            x,
            weights,
            // Not read where there is none.
            bias: bias.unwrap_or(weights),
            offsets: gpu.read(&self.taps.offsets),
            tap_indices: gpu.read(&self.taps.tap_indices),
            y: gpu.write(&mut y),
            batch: self.batch,
            channels: self.channels,
            rows,
            columns,
            out_rows,
            out_columns,
            stride_rows: walk.stride[0],
            stride_columns: walk.stride[1],
            spread_rows: walk.spread[0],
            spread_columns: walk.spread[1],
            taps: self.taps.count,
            all_taps: self.taps.all,
            back,
            turned: walk.turned,
            above: walk.above,
            padded_rows: walk.padded_rows,
            width: walk.width,
            lanes: walk.lanes,
            step: walk.step,
            staged: walk.staged,
        };
        let blocks = |n: usize| Self::blocks(n);
        let launch = LaunchDims {
            grid: [blocks(self.batch.div_ceil(walk.samples) * self.channels)?, 1, 1],
            block: [blocks(walk.width * walk.lanes)?, blocks(walk.samples)?, 1],
            shared: blocks(walk.shared)?,
        };
        // SAFETY: the callers compared lengths, places are below the number of all taps, and y is as long as the kernel
        // writes.
        #[allow(unsafe_code)]
        unsafe {
            convolve.launch(gpu, launch)?;
        }
        Ok(y)
    }

    /// y = conv(x, weights) + bias.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    pub(crate) fn forward(
        &self,
        gpu: &Gpu,
        x: DeviceSlice<'_, f32>,
        weights: DeviceSlice<'_, f32>,
        bias: DeviceSlice<'_, f32>,
    ) -> Result<DeviceBuffer<f32>, Error> {
        let [x_len, weights_len, _] = self.lens();
        expect(NAME, "the input", x.len(), x_len)?;
        expect(NAME, "the weights", weights.len(), weights_len)?;
        expect(NAME, "the bias", bias.len(), self.channels)?;
        if let Some(transforms) = &self.transforms {
            return transforms.convolve(gpu, x, weights, &self.taps.tap_indices, Direction::Forward(bias));
        }
        self.over_taps(gpu, x, weights, Some(bias))
    }

    /// The gradient in x, given that of y.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    pub(crate) fn input_gradient(
        &self,
        gpu: &Gpu,
        grad: DeviceSlice<'_, f32>,
        weights: DeviceSlice<'_, f32>,
    ) -> Result<DeviceBuffer<f32>, Error> {
        let [_, weights_len, y_len] = self.lens();
        expect(NAME, "the gradient", grad.len(), y_len)?;
        expect(NAME, "the weights", weights.len(), weights_len)?;
        if let Some(transforms) = &self.transforms {
            return transforms.convolve(gpu, grad, weights, &self.taps.tap_indices, Direction::Back);
        }
        self.over_taps(gpu, grad, weights, None)
    }

    /// The gradient in the weights, given that of y.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    pub(crate) fn weight_gradient(
        &self,
        gpu: &Gpu,
        x: DeviceSlice<'_, f32>,
        grad: DeviceSlice<'_, f32>,
    ) -> Result<DeviceBuffer<f32>, Error> {
        let [x_len, weights_len, y_len] = self.lens();
        expect(NAME, "the input", x.len(), x_len)?;
        expect(NAME, "the gradient", grad.len(), y_len)?;
        // Enough blocks for the largest GPUs, however few the channels.
        let parts = self.batch.min(512usize.div_ceil(self.channels)).max(1);
        let sums = match &self.transforms {
            Some(transforms) => transforms.weight_sums(gpu, [x, grad], parts)?,
            None => self.weight_sums(gpu, [x, grad], parts)?,
        };
        let mut dw = gpu.alloc(weights_len)?;
        let gradient = TapsWeightGradient {
            sums: gpu.read(&sums),
            slots: gpu.read(&self.taps.slots),
            dw: gpu.write(&mut dw),
            channels: self.channels,
            taps: self.taps.count,
            all_taps: self.taps.all,
            parts,
        };
        // SAFETY: sums has a number per part, channel and tap, slots one per tap of all.
        #[allow(unsafe_code)]
        unsafe {
            gradient.launch(gpu, LaunchDims::over(weights_len))?;
        }
        Ok(dw)
    }

    /// The gradient of each tap's weight over the samples of each part, [parts, channels, taps].
    fn weight_sums(
        &self,
        gpu: &Gpu,
        [x, grad]: [DeviceSlice<'_, f32>; 2],
        parts: usize,
    ) -> Result<DeviceBuffer<f64>, Error> {
        let mut sums = gpu.alloc::<f64>((parts * self.channels * self.taps.count).max(1))?;
        let [out_rows, out_columns] = self.out_size();
        let (plane, padded) = (self.size[0] * self.size[1], out_columns.next_multiple_of(4));
        let bytes = 4 * (plane + out_rows * padded);
        let staged = bytes <= gpu.shared_limit();
        let pitch = if staged { padded } else { out_columns };
        let threads = self.taps.count.next_multiple_of(32).clamp(32, THREADS as usize);
        let launch = LaunchDims {
            grid: [
                Self::blocks(self.channels)?,
                Self::blocks(parts)?,
                Self::blocks(self.taps.count.div_ceil(threads))?.max(1),
            ],
            block: [threads as u32, 1, 1],
            shared: if staged { bytes as u32 } else { 0 },
        };
        let weight_sums = TapsWeightSums {
            x,
            grad,
            offsets: gpu.read(&self.taps.offsets),
            sums: gpu.write(&mut sums),
            batch: self.batch,
            channels: self.channels,
            rows: self.size[0],
            columns: self.size[1],
            out_rows,
            out_columns,
            stride_rows: self.stride[0],
            stride_columns: self.stride[1],
            taps: self.taps.count,
            parts,
            pitch,
            staged,
        };
        // SAFETY: the caller compared lengths; sums has a number per part, channel and tap.
        #[allow(unsafe_code)]
        unsafe {
            weight_sums.launch(gpu, launch)?;
        }
        Ok(sums)
    }
}

/// How threads go over taps.
struct Walk {
    /// Whether a map of one row is taken as one column, so that a thread has several of its outputs.
    turned: bool,
    /// Rows and columns of maps that are read, and that are written.
    of: [usize; 2],
    to: [usize; 2],
    stride: [usize; 2],
    spread: [usize; 2],
    /// Rows of zeros above a map in shared memory, and its rows with those around it.
    above: usize,
    padded_rows: usize,
    /// Columns and rows that threads go over, and the distance of the rows of one.
    width: usize,
    lanes: usize,
    step: usize,
    /// Samples of a block, whether their maps are in shared memory, and the bytes of that.
    samples: usize,
    staged: bool,
    shared: usize,
}

impl Walk {
    fn new(conv: &Depthwise, back: bool, limit: usize) -> Result<Walk, Error> {
        let wrong = |what: String| Error::Operands { operation: NAME, what };
        if conv.taps.count > MOST_TAPS {
            return Err(wrong(format!("{} taps are more than a block can hold", conv.taps.count)));
        }
        let turned = conv.size[0] == 1;
        let turn = |[rows, columns]: [usize; 2]| if turned { [columns, rows] } else { [rows, columns] };
        let (size, out, stride) = (turn(conv.size), turn(conv.out_size()), turn(conv.stride));
        let (of, to, stride, spread) =
            if back { (out, size, [1, 1], stride) } else { (size, out, stride, [1, 1]) };
        let [least, largest] = conv.taps.range[usize::from(turned)].map(i64::from);
        let [least, largest] = if back { [-largest, -least] } else { [least, largest] };
        let above = (least.min(0).unsigned_abs() as usize).div_ceil(spread[0]);
        let farthest = (to[0].saturating_sub(1) * stride[0]) as i64 + largest;
        let below = farthest.max(0) as usize / spread[0] + 1;
        let padded_rows = above + below.max(of[0]);
        let taps = 16 * conv.taps.count;
        let map = 4 * padded_rows * of[1];
        let staged = taps + map <= limit;
        let large = staged && taps + map > SHARED;
        let threads = if large { MOST_THREADS } else { THREADS as usize };
        let width = to[1].min(threads);
        let lanes = to[0].div_ceil(TILE).min(threads / width).max(1);
        let room = if staged { SHARED.saturating_sub(taps) / map } else { usize::MAX };
        let samples = (THREADS as usize / (width * lanes)).min(room).min(conv.batch).max(1);
        let shared = taps + if staged { samples * map } else { 0 };
        let step = lanes.next_multiple_of(spread[0]);
        Ok(Walk {
            turned,
            of,
            to,
            stride,
            spread,
            above,
            padded_rows,
            width,
            lanes,
            step,
            samples,
            staged,
            shared,
        })
    }
}

impl Convolution for Depthwise {
    fn forward(&self, gpu: &Gpu, x: &Tensor, weights: &Tensor, bias: &Tensor) -> candle_core::Result<Tensor> {
        let (x, weights, bias) = (x.contiguous()?, weights.contiguous()?, bias.contiguous()?);
        let [x, weights, bias] = [gpu.operand(&x)?, gpu.operand(&weights)?, gpu.operand(&bias)?];
        let y = self.forward(gpu, x.read(), weights.read(), bias.read())?;
        gpu.tensor(y, self.lens()[2])
    }

    fn gradients(
        &self,
        gpu: &Gpu,
        x: &Tensor,
        weights: &Tensor,
        grad: &Tensor,
        want_dx: bool,
    ) -> candle_core::Result<(Option<Tensor>, Tensor)> {
        let (x, weights, grad) = (x.contiguous()?, weights.contiguous()?, grad.contiguous()?);
        let [x, weights, grad] = [gpu.operand(&x)?, gpu.operand(&weights)?, gpu.operand(&grad)?];
        let [x_len, weights_len, _] = self.lens();
        let dx = if want_dx {
            let dx = self.input_gradient(gpu, grad.read(), weights.read())?;
            Some(gpu.tensor(dx, x_len)?)
        } else {
            None
        };
        let dw = self.weight_gradient(gpu, x.read(), grad.read())?;
        Ok((dx, gpu.tensor(dw, weights_len)?))
    }
}

/// The sum of each channel of `x`, [batch, channels, positions]: the gradient of a bias.
///
/// # Errors
/// If `x` is not as long as that, or the GPU fails.
pub(crate) fn channel_sums(
    gpu: &Gpu,
    x: DeviceSlice<'_, f32>,
    [batch, channels, positions]: [usize; 3],
) -> Result<DeviceBuffer<f32>, Error> {
    const NAME: &str = "bias";
    expect(NAME, "the gradient", x.len(), batch * channels * positions)?;
    let parts = (batch * positions).div_ceil(PART).clamp(1, 256);
    let mut sums = gpu.alloc::<f64>(channels * parts)?;
    let mut out = gpu.alloc(channels)?;
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    // SAFETY: the length was compared, and sums has a number per channel and part.
    #[allow(unsafe_code)]
    unsafe {
        let sum = ChannelSums { x, sums: gpu.write(&mut sums), batch, channels, n: positions, parts };
        sum.launch(gpu, LaunchDims::sums([size(channels), size(parts), 1], 1))?;
        let total = ChannelTotals { sums: gpu.read(&sums), out: gpu.write(&mut out), channels, parts };
        total.launch(gpu, LaunchDims::over(channels))?;
    }
    Ok(out)
}
