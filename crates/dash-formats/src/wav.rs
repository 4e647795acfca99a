//! Reads WAV recordings of one channel and 16 bits.

use crate::{Error, FileFormat};
use hound::{SampleFormat, WavReader};
use std::{io, path::Path};

/// A recording whose header was read; its samples are not decoded yet.
pub struct WavRecording<'a> {
    path: &'a Path,
    /// The size of the file.
    bytes: usize,
    reader: WavReader<&'a [u8]>,
}

impl<'a> WavRecording<'a> {
    /// Reads the header of a recording; `path` names it in messages.
    ///
    /// # Errors
    /// If the bytes are damaged, or the recording is not one of one channel and 16-bit integers.
    pub fn parse(path: &'a Path, bytes: &'a [u8]) -> Result<WavRecording<'a>, Error> {
        let reader = WavReader::new(bytes).map_err(|error| invalid(path, &error))?;
        let spec = reader.spec();
        let unsupported = |field: &str, found: String| Err(Error::field(path, field, found));
        if spec.channels != 1 {
            return unsupported("channels", format!("{}; recordings of one are read", spec.channels));
        }
        if (spec.bits_per_sample, spec.sample_format) != (16, SampleFormat::Int) {
            let kind = if spec.sample_format == SampleFormat::Int { "integers" } else { "floating point" };
            let found = format!("{} bits, {kind}; 16 bits, integers are read", spec.bits_per_sample);
            return unsupported("sample format", found);
        }
        Ok(WavRecording { path, bytes: bytes.len(), reader })
    }

    /// Samples per second.
    pub fn sample_rate(&self) -> u32 {
        self.reader.spec().sample_rate
    }

    /// The number of samples that the header announces.
    pub fn len(&self) -> usize {
        self.reader.duration() as usize
    }

    /// Whether the header announces no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples as numbers from -1 to 1.
    ///
    /// # Errors
    /// If the file ends before its last sample.
    pub fn samples(mut self) -> Result<Vec<f64>, Error> {
        let (path, length) = (self.path, self.len());
        // The announced samples must fit into the file before memory for them is allocated.
        if length > self.bytes / 2 {
            return Err(invalid(path, &hound::Error::IoError(io::ErrorKind::UnexpectedEof.into())));
        }
        let mut signal = Vec::with_capacity(length);
        for sample in self.reader.samples::<i16>() {
            signal.push(f64::from(sample.map_err(|error| invalid(path, &error))?) / 32_768.0);
        }
        Ok(signal)
    }
}

fn invalid(path: &Path, error: &hound::Error) -> Error {
    let problem = match error {
        // The bytes are in memory: reading them can fail in no other way.
        hound::Error::IoError(_) => "the recording ends early".to_owned(),
        other => format!("is not a WAV file that can be read: {other}"),
    };
    Error::invalid(FileFormat::Wav, path, problem)
}
