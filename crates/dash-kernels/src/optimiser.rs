//! Clipping, and stochastic gradient descent.

use crate::{
    card::{Argument, Card, Error, Launch, Memory, Read, expect, int, long},
    kernel::{CLIP_SCALE, DESCEND, SQUARE_SUMS},
};

/// Numbers that are worth a block of a sum.
const PART: usize = 1 << 14;

/// What gradients must be multiplied with for their norm, over all of them, to be at most `max_norm`: one number.
///
/// # Errors
/// If the card fails.
pub fn clip_scale(card: &Card, gradients: &[Read<'_, f32>], max_norm: f64) -> Result<Memory<f32>, Error> {
    const NAME: &str = "gradient-norm";
    let blocks = |gradient: &Read<'_, f32>| gradient.len().div_ceil(PART).clamp(1, 1024);
    let total: usize = gradients.iter().map(blocks).sum();
    let mut sums = card.reserve::<f64>(total)?;
    let mut scale = card.reserve::<f32>(1)?;
    let mut first = 0;
    // SAFETY: each tensor has as many sums as blocks, one after the other.
    #[allow(unsafe_code)]
    unsafe {
        for gradient in gradients {
            let blocks = blocks(gradient);
            let arguments = [gradient.argument(), card.write_from(&mut sums, first), long(gradient.len())];
            card.launch(&SQUARE_SUMS, Launch::sums([blocks as u32, 1, 1], 1), &arguments)?;
            first += blocks;
        }
        let arguments =
            [card.read(&sums).argument(), card.write(&mut scale), Argument::F64(max_norm), int(NAME, total)?];
        card.launch(&CLIP_SCALE, Launch::sums([1, 1, 1], 1), &arguments)?;
    }
    Ok(scale)
}

/// Stochastic gradient descent in PyTorch's convention, with Nesterov's momentum: g' = scale g + decay p; buffer =
/// momentum buffer + g'; p -= rate (g' + momentum buffer).
#[derive(Clone, Copy, Debug)]
pub struct Descent {
    /// Decay of the weights.
    pub decay: f64,
    /// Share of the buffer that stays.
    pub momentum: f64,
    /// Learning rate.
    pub rate: f64,
}

impl Descent {
    /// The new values and the new buffer.
    ///
    /// # Errors
    /// If operands do not fit, or the card fails.
    pub fn step(
        &self,
        card: &Card,
        [values, gradient, buffer]: [Read<'_, f32>; 3],
        scale: Read<'_, f32>,
    ) -> Result<[Memory<f32>; 2], Error> {
        const NAME: &str = "sgd";
        let count = values.len();
        expect(NAME, "the gradient", gradient.len(), count)?;
        expect(NAME, "the buffer", buffer.len(), count)?;
        expect(NAME, "the scale", scale.len(), 1)?;
        let (mut new_values, mut new_buffer) = (card.reserve(count)?, card.reserve(count)?);
        let arguments = [
            values.argument(),
            gradient.argument(),
            buffer.argument(),
            scale.argument(),
            card.write(&mut new_values),
            card.write(&mut new_buffer),
            Argument::F64(self.decay),
            Argument::F64(self.momentum),
            Argument::F64(self.rate),
            long(count),
        ];
        // SAFETY: lengths were compared; both results are as long.
        #[allow(unsafe_code)]
        unsafe {
            card.launch(&DESCEND, Launch::over(count), &arguments)?;
        }
        Ok([new_values, new_buffer])
    }
}
