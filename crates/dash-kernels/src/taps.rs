//! Depthwise convolution over taps, and the gradient of a bias.

use crate::{
    card::{Argument, Card, Error, Launch, Memory, Read, SHARED, THREADS, expect, int},
    cut::Cut,
    fft::{Direction, Maps, Transforms},
    kernel::{
        CHANNEL_SUMS, CHANNEL_TOTALS, TAPS_FORWARD, TAPS_INPUT_GRADIENT, TAPS_WEIGHT_GRADIENT,
        TAPS_WEIGHT_SUMS,
    },
};
use candle_core::Tensor;

const NAME: &str = "depthwise convolution";

/// Values of a channel that are worth a block.
const PART: usize = 1 << 14;

/// How a depthwise convolution is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Shift and add over taps.
    Taps,
    /// Fourier transforms of pieces of maps in shared memory.
    Transforms(Box<Cut>),
}

/// A convolution on a card.
pub trait Convolution: Send + Sync {
    /// conv(x, weights) + bias; the shape is the caller's to give.
    ///
    /// # Errors
    /// If operands do not fit, or the card fails.
    fn forward(
        &self,
        card: &Card,
        x: &Tensor,
        weights: &Tensor,
        bias: &Tensor,
    ) -> candle_core::Result<Tensor>;

    /// The gradients in x, if wanted, and in the weights, given that of the result.
    ///
    /// # Errors
    /// If operands do not fit, or the card fails.
    fn gradients(
        &self,
        card: &Card,
        x: &Tensor,
        weights: &Tensor,
        grad: &Tensor,
        want_dx: bool,
    ) -> candle_core::Result<(Option<Tensor>, Tensor)>;
}

/// The taps that meet data, on a card.
pub(crate) struct TapTable {
    /// How many meet data, and how many there are.
    pub(crate) count: usize,
    pub(crate) all: usize,
    pub(crate) offsets: Memory<i32>,
    pub(crate) places: Memory<i32>,
    /// Of each tap, which of the offsets it is, or -1.
    pub(crate) slots: Memory<i32>,
    /// Whether there is one tap, at the centre.
    pub(crate) is_centre: bool,
}

impl TapTable {
    pub(crate) fn new(
        card: &Card,
        operation: &'static str,
        (offsets, places, all): (&[[i32; 2]], &[usize], usize),
    ) -> Result<TapTable, Error> {
        expect(operation, "the list of places", places.len(), offsets.len())?;
        let wrong = |what: String| Error::Operands { operation, what };
        let mut slots = vec![-1; all];
        let mut at = Vec::with_capacity(places.len());
        for (slot, &place) in places.iter().enumerate() {
            let number = |n: usize| i32::try_from(n).map_err(|_| wrong(format!("{n} taps")));
            let entry = slots.get_mut(place).ok_or_else(|| wrong(format!("there is no tap {place}")))?;
            *entry = number(slot)?;
            at.push(number(place)?);
        }
        Ok(TapTable {
            count: places.len(),
            all,
            offsets: card.upload(&offsets.concat())?,
            places: card.upload(&at)?,
            slots: card.upload(&slots)?,
            is_centre: offsets == [[0, 0]],
        })
    }
}

/// A depthwise convolution over taps: every channel is convolved with taps of its own.
///
/// x is `[batch, channels, rows, columns]`, weights `[channels, all taps]`; results have ceil(n / stride) positions per
/// axis, and maps are zero outside.
pub struct Depthwise {
    batch: usize,
    channels: usize,
    size: [usize; 2],
    stride: [usize; 2],
    taps: TapTable,
    transforms: Option<Transforms>,
}

impl Depthwise {
    /// A convolution with taps of which those at `places` of `all_taps` meet data, at these distinct `offsets`.
    ///
    /// # Errors
    /// If a place is outside, there are not as many offsets as places, or the card fails.
    pub fn new(
        card: &Card,
        [batch, channels]: [usize; 2],
        size: [usize; 2],
        stride: [usize; 2],
        (offsets, places, all_taps): (&[[i32; 2]], &[usize], usize),
        method: Method,
    ) -> Result<Depthwise, Error> {
        if stride.contains(&0) || size.contains(&0) || batch == 0 || channels == 0 {
            let what = "a size or a stride is zero".to_owned();
            return Err(Error::Operands { operation: NAME, what });
        }
        let taps = TapTable::new(card, NAME, (offsets, places, all_taps))?;
        let mut conv = Depthwise { transforms: None, batch, channels, size, stride, taps };
        if let Method::Transforms(cut) = method {
            let (out, count) = (conv.out_size(), conv.taps.count);
            let maps = Maps { batch, channels, size, out, taps: count, all_taps };
            conv.transforms = Some(Transforms::new(card, maps, &cut, offsets)?);
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

    /// Batch, channels, sizes and strides, as kernels take them.
    fn sizes(&self) -> Result<[Argument; 8], Error> {
        let ([rows, columns], [out_rows, out_columns]) = (self.size, self.out_size());
        let all =
            [self.batch, self.channels, rows, columns, out_rows, out_columns, self.stride[0], self.stride[1]];
        let mut arguments = [Argument::I32(0); 8];
        for (argument, size) in arguments.iter_mut().zip(all) {
            *argument = int(NAME, size)?;
        }
        Ok(arguments)
    }

    fn blocks(count: usize) -> Result<u32, Error> {
        u32::try_from(count).map_err(|_| Error::Operands { operation: NAME, what: format!("{count} blocks") })
    }

    /// Blocks of one channel and some samples, whose maps of `read` numbers they read, and whether these have room in
    /// shared memory beside the taps. Threads go over `written` positions.
    fn by_samples(&self, read: usize, written: usize) -> Result<(Launch, bool), Error> {
        let taps = 3 * 4 * self.taps.count;
        if taps > SHARED {
            let what = format!("{} taps are more than a block can hold", self.taps.count);
            return Err(Error::Operands { operation: NAME, what });
        }
        let threads = written.next_power_of_two().clamp(32, THREADS as usize);
        let room = (SHARED - taps) / (4 * read);
        let samples = (THREADS as usize / threads).min(self.batch).min(room.max(1)).max(1);
        let staged = room >= samples;
        let shared = taps + if staged { 4 * read * samples } else { 0 };
        let groups = Self::blocks(self.batch.div_ceil(samples))?;
        let launch = Launch {
            grid: [Self::blocks(self.channels)?, groups, 1],
            block: [threads as u32, samples as u32, 1],
            shared: shared as u32,
        };
        Ok((launch, staged))
    }

    /// y = conv(x, weights) + bias.
    ///
    /// # Errors
    /// If operands do not fit, or the card fails.
    pub fn forward(
        &self,
        card: &Card,
        x: Read<'_, f32>,
        weights: Read<'_, f32>,
        bias: Read<'_, f32>,
    ) -> Result<Memory<f32>, Error> {
        let [x_len, weights_len, y_len] = self.lens();
        expect(NAME, "the input", x.len(), x_len)?;
        expect(NAME, "the weights", weights.len(), weights_len)?;
        expect(NAME, "the bias", bias.len(), self.channels)?;
        if let Some(transforms) = &self.transforms {
            return transforms.convolve(card, x, weights, &self.taps.places, Direction::Forward(bias));
        }
        let mut y = card.reserve(y_len)?;
        let maps = self.maps();
        let (launch, staged) = self.by_samples(x_len / maps, y_len / maps)?;
        let head = [
            x.argument(),
            weights.argument(),
            bias.argument(),
            card.read(&self.taps.offsets).argument(),
            card.read(&self.taps.places).argument(),
            card.write(&mut y),
        ];
        let tail = [int(NAME, self.taps.count)?, int(NAME, self.taps.all)?, Argument::I32(i32::from(staged))];
        // SAFETY: lengths were compared, places are below the number of all taps.
        #[allow(unsafe_code)]
        unsafe {
            card.launch(&TAPS_FORWARD, launch, &[&head[..], &self.sizes()?, &tail].concat())?;
        }
        Ok(y)
    }

    /// The gradient in x, given that of y.
    ///
    /// # Errors
    /// If operands do not fit, or the card fails.
    pub fn input_gradient(
        &self,
        card: &Card,
        grad: Read<'_, f32>,
        weights: Read<'_, f32>,
    ) -> Result<Memory<f32>, Error> {
        let [x_len, weights_len, y_len] = self.lens();
        expect(NAME, "the gradient", grad.len(), y_len)?;
        expect(NAME, "the weights", weights.len(), weights_len)?;
        if let Some(transforms) = &self.transforms {
            return transforms.convolve(card, grad, weights, &self.taps.places, Direction::Back);
        }
        let mut dx = card.reserve(x_len)?;
        let maps = self.maps();
        let (launch, staged) = self.by_samples(y_len / maps, x_len / maps)?;
        let head = [
            grad.argument(),
            weights.argument(),
            card.read(&self.taps.offsets).argument(),
            card.read(&self.taps.places).argument(),
            card.write(&mut dx),
        ];
        let tail = [int(NAME, self.taps.count)?, int(NAME, self.taps.all)?, Argument::I32(i32::from(staged))];
        // SAFETY: as in `forward`.
        #[allow(unsafe_code)]
        unsafe {
            card.launch(&TAPS_INPUT_GRADIENT, launch, &[&head[..], &self.sizes()?, &tail].concat())?;
        }
        Ok(dx)
    }

    /// The gradient in the weights, given that of y.
    ///
    /// # Errors
    /// If operands do not fit, or the card fails.
    pub fn weight_gradient(
        &self,
        card: &Card,
        x: Read<'_, f32>,
        grad: Read<'_, f32>,
    ) -> Result<Memory<f32>, Error> {
        let [x_len, weights_len, y_len] = self.lens();
        expect(NAME, "the input", x.len(), x_len)?;
        expect(NAME, "the gradient", grad.len(), y_len)?;
        // Enough blocks for the largest cards, however few the channels.
        let parts = self.batch.min(512usize.div_ceil(self.channels)).max(1);
        let sums = match &self.transforms {
            Some(transforms) => transforms.weight_sums(card, [x, grad], parts)?,
            None => self.weight_sums(card, [x, grad], parts)?,
        };
        let mut dw = card.reserve(weights_len)?;
        let arguments = [
            card.read(&sums).argument(),
            card.read(&self.taps.slots).argument(),
            card.write(&mut dw),
            int(NAME, self.channels)?,
            int(NAME, self.taps.count)?,
            int(NAME, self.taps.all)?,
            int(NAME, parts)?,
        ];
        // SAFETY: sums has a number per part, channel and tap, slots one per tap of all.
        #[allow(unsafe_code)]
        unsafe {
            card.launch(&TAPS_WEIGHT_GRADIENT, Launch::over(weights_len), &arguments)?;
        }
        Ok(dw)
    }

    /// The gradient of each tap's weight over the samples of each part, [parts, channels, taps].
    fn weight_sums(
        &self,
        card: &Card,
        [x, grad]: [Read<'_, f32>; 2],
        parts: usize,
    ) -> Result<Memory<f64>, Error> {
        let mut sums = card.reserve::<f64>((parts * self.channels * self.taps.count).max(1))?;
        let bytes = 4 * (x.len() + grad.len()) / self.maps();
        let staged = bytes <= SHARED;
        let threads = self.taps.count.next_multiple_of(32).clamp(32, THREADS as usize);
        let launch = Launch {
            grid: [
                Self::blocks(self.channels)?,
                Self::blocks(parts)?,
                Self::blocks(self.taps.count.div_ceil(threads))?.max(1),
            ],
            block: [threads as u32, 1, 1],
            shared: if staged { bytes as u32 } else { 0 },
        };
        let head =
            [x.argument(), grad.argument(), card.read(&self.taps.offsets).argument(), card.write(&mut sums)];
        let tail = [int(NAME, self.taps.count)?, int(NAME, parts)?, Argument::I32(i32::from(staged))];
        // SAFETY: as in `forward`; sums has a number per part, channel and tap.
        #[allow(unsafe_code)]
        unsafe {
            card.launch(&TAPS_WEIGHT_SUMS, launch, &[&head[..], &self.sizes()?, &tail].concat())?;
        }
        Ok(sums)
    }
}

impl Convolution for Depthwise {
    fn forward(
        &self,
        card: &Card,
        x: &Tensor,
        weights: &Tensor,
        bias: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let (x, weights, bias) = (x.contiguous()?, weights.contiguous()?, bias.contiguous()?);
        let [x, weights, bias] = [card.operand(&x)?, card.operand(&weights)?, card.operand(&bias)?];
        let y = self.forward(card, x.read(), weights.read(), bias.read())?;
        card.tensor(y, self.lens()[2])
    }

    fn gradients(
        &self,
        card: &Card,
        x: &Tensor,
        weights: &Tensor,
        grad: &Tensor,
        want_dx: bool,
    ) -> candle_core::Result<(Option<Tensor>, Tensor)> {
        let (x, weights, grad) = (x.contiguous()?, weights.contiguous()?, grad.contiguous()?);
        let [x, weights, grad] = [card.operand(&x)?, card.operand(&weights)?, card.operand(&grad)?];
        let [x_len, weights_len, _] = self.lens();
        let dx = if want_dx {
            let dx = self.input_gradient(card, grad.read(), weights.read())?;
            Some(card.tensor(dx, x_len)?)
        } else {
            None
        };
        let dw = self.weight_gradient(card, x.read(), grad.read())?;
        Ok((dx, card.tensor(dw, weights_len)?))
    }
}

/// The sum of each channel of `x`, [batch, channels, positions]: the gradient of a bias.
///
/// # Errors
/// If `x` is not as long as that, or the card fails.
pub fn channel_sums(
    card: &Card,
    x: Read<'_, f32>,
    [batch, channels, positions]: [usize; 3],
) -> Result<Memory<f32>, Error> {
    const NAME: &str = "bias";
    expect(NAME, "the gradient", x.len(), batch * channels * positions)?;
    let parts = (batch * positions).div_ceil(PART).clamp(1, 256);
    let mut sums = card.reserve::<f64>(channels * parts)?;
    let mut out = card.reserve(channels)?;
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    let (count, of_parts) = (int(NAME, channels)?, int(NAME, parts)?);
    // SAFETY: the length was compared, and sums has a number per channel and part.
    #[allow(unsafe_code)]
    unsafe {
        let to = card.write(&mut sums);
        let arguments = [x.argument(), to, int(NAME, batch)?, count, int(NAME, positions)?, of_parts];
        card.launch(&CHANNEL_SUMS, Launch::sums([size(channels), size(parts), 1], 1), &arguments)?;
        let arguments = [card.read(&sums).argument(), card.write(&mut out), count, of_parts];
        card.launch(&CHANNEL_TOTALS, Launch::over(channels), &arguments)?;
    }
    Ok(out)
}
