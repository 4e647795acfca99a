//! Sums of activations, means over their positions, and dropout.

use crate::{
    card::{Argument, Card, Error, Launch, Memory, Read, expect, int, long},
    kernel::{ADD, DROPOUT, MEAN_BACKWARD, MEAN_FORWARD},
};

/// a + b, number by number.
///
/// # Errors
/// If there are not as many of both, or the card fails.
pub fn add(card: &Card, a: Read<'_, f32>, b: Read<'_, f32>) -> Result<Memory<f32>, Error> {
    expect("add", "b", b.len(), a.len())?;
    let mut out = card.reserve(a.len())?;
    let arguments = [a.argument(), b.argument(), card.write(&mut out), long(a.len())];
    // SAFETY: all three have as many numbers as the count says.
    #[allow(unsafe_code)]
    unsafe {
        card.launch(&ADD, Launch::over(a.len()), &arguments)?;
    }
    Ok(out)
}

/// The mean of each of the planes of `n` numbers that `x` consists of.
///
/// # Errors
/// If `x` does not consist of whole planes, or the card fails.
pub fn mean_forward(card: &Card, x: Read<'_, f32>, n: usize) -> Result<Memory<f32>, Error> {
    const NAME: &str = "mean-over-positions";
    let planes = x.len() / n.max(1);
    expect(NAME, "the input", x.len(), planes * n)?;
    let mut means = card.reserve(planes)?;
    let arguments = [x.argument(), card.write(&mut means), int(NAME, planes)?, int(NAME, n)?];
    let blocks = u32::try_from(planes).unwrap_or(u32::MAX).clamp(1, 1 << 16);
    // SAFETY: x has `planes` planes of `n` numbers, the result one number for each.
    #[allow(unsafe_code)]
    unsafe {
        card.launch(&MEAN_FORWARD, Launch::sums([blocks, 1, 1], 1), &arguments)?;
    }
    Ok(means)
}

/// The gradient in x of [`mean_forward`], given that of the means.
///
/// # Errors
/// If the card fails.
pub fn mean_backward(card: &Card, grad: Read<'_, f32>, n: usize) -> Result<Memory<f32>, Error> {
    let count = grad.len() * n;
    let mut dx = card.reserve(count)?;
    let arguments = [grad.argument(), card.write(&mut dx), long(count), int("mean-over-positions", n)?];
    // SAFETY: dx has n numbers for each of the gradient.
    #[allow(unsafe_code)]
    unsafe {
        card.launch(&MEAN_BACKWARD, Launch::over(count), &arguments)?;
    }
    Ok(dx)
}

/// x with each number either dropped or multiplied with `scale`. Number i is dropped if word i % `stream` of the
/// stream i / `stream` of the ChaCha generator (8 rounds) with this key is below `threshold`.
///
/// # Errors
/// If `stream` is no multiple of 16, or the card fails.
pub fn dropout(
    card: &Card,
    x: Read<'_, f32>,
    key: [u32; 8],
    stream: usize,
    threshold: u32,
    scale: f32,
) -> Result<Memory<f32>, Error> {
    const NAME: &str = "dropout";
    if stream == 0 || !stream.is_multiple_of(16) {
        let what = format!("streams of {stream} numbers are no whole blocks of the generator");
        return Err(Error::Operands { operation: NAME, what });
    }
    let mut y = card.reserve(x.len())?;
    let mut arguments = vec![x.argument(), card.write(&mut y), long(x.len()), int(NAME, stream)?];
    arguments.extend(key.map(|word| Argument::I32(word.cast_signed())));
    arguments.extend([Argument::I32(threshold.cast_signed()), Argument::F64(f64::from(scale))]);
    // SAFETY: y is as long as x.
    #[allow(unsafe_code)]
    unsafe {
        card.launch(&DROPOUT, Launch::over(x.len().div_ceil(16)), &arguments)?;
    }
    Ok(y)
}
