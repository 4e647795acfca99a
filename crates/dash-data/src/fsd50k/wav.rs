//! Recordings: WAV of one channel and 16 bits.

use crate::Error;
use hound::{SampleFormat, WavReader};
use std::{io, path::Path};

/// The samples of a recording as numbers from -1 to 1; `path` names it in messages.
///
/// # Errors
/// If the bytes are damaged or end early, if the recording is empty, of another kind, or longer than
/// `most` samples.
pub(super) fn decode(
    path: &Path,
    bytes: &[u8],
    sample_rate: u32,
    most: Option<usize>,
) -> Result<Vec<f64>, Error> {
    let damaged = |error: hound::Error| {
        let problem = match error {
            // The bytes are in memory: nothing else can go wrong with reading them.
            hound::Error::IoError(_) => "the recording ends early".to_owned(),
            other => format!("is no WAV file that is read: {other}"),
        };
        Error::Audio { path: path.to_owned(), problem }
    };
    let mut reader = WavReader::new(bytes).map_err(damaged)?;
    let spec = reader.spec();
    let wrong = |field: &str, found: String| Err(Error::field(path, field, found));
    if spec.channels != 1 {
        return wrong("channels", format!("{}; recordings of one are read", spec.channels));
    }
    if spec.sample_rate != sample_rate {
        let found = format!("{} per second, `dataset.sample_rate` is {sample_rate}", spec.sample_rate);
        return wrong("sample rate", found);
    }
    if (spec.bits_per_sample, spec.sample_format) != (16, SampleFormat::Int) {
        let kind = if spec.sample_format == SampleFormat::Int { "whole numbers" } else { "floating point" };
        let found = format!("{} bits, {kind}; 16 bits, whole numbers are read", spec.bits_per_sample);
        return wrong("sample format", found);
    }
    let length = reader.duration() as usize;
    if length == 0 {
        return wrong("samples", "none".to_owned());
    }
    if let Some(most) = most.filter(|&most| length > most) {
        return wrong("samples", format!("{length}, `dataset.chunk` is {most}"));
    }
    // The announced length must be there before memory of that size is asked for.
    if length > bytes.len() / 2 {
        return Err(damaged(hound::Error::IoError(io::ErrorKind::UnexpectedEof.into())));
    }
    let mut signal = Vec::with_capacity(length);
    for sample in reader.samples::<i16>() {
        signal.push(f64::from(sample.map_err(damaged)?) / 32_768.0);
    }
    Ok(signal)
}

/// The signal, repeated until it has `length` samples if it has fewer.
pub(super) fn repeat(mut signal: Vec<f64>, length: usize) -> Vec<f64> {
    let once = signal.len();
    if once == 0 {
        return signal;
    }
    signal.reserve(length.saturating_sub(once));
    while signal.len() < length {
        let more = once.min(length - signal.len());
        signal.extend_from_within(..more);
    }
    signal
}
