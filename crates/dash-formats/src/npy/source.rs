//! Where the elements of an array are: in a part of a file, in memory, or behind a decompressor.

use crate::zip::{Inflater, part};
use bytes::Bytes;
use flate2::read::DeflateDecoder;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
};

/// The bytes of a file or of a member of an archive.
#[derive(Debug)]
pub(super) enum Source {
    /// A part of a file as it is.
    File { file: File, start: u64 },
    /// Bytes in memory.
    Memory(Bytes),
    /// A deflated part of a file.
    Deflated(Box<Deflated>),
}

/// A deflated part of a file, read forwards; reading an earlier part restarts the decompressor.
#[derive(Debug)]
pub(super) struct Deflated {
    path: PathBuf,
    start: u64,
    compressed: u64,
    /// Decompressed bytes before offset 0.
    header: u64,
    /// A running decompressor and how far it has come.
    stream: Option<(u64, Inflater)>,
}

impl Deflated {
    pub(super) fn new(path: PathBuf, start: u64, compressed: u64) -> Deflated {
        Deflated { path, start, compressed, header: 0, stream: None }
    }

    /// The same with offsets that count from `header`.
    pub(super) fn after(self, header: u64) -> Deflated {
        Deflated { header, ..self }
    }

    /// The decompressed bytes from the beginning.
    fn inflate(&self) -> io::Result<Inflater> {
        Ok(DeflateDecoder::new(part(&self.path, self.start, self.compressed)?))
    }

    fn read(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = self.header + offset;
        let (position, mut stream) = match self.stream.take() {
            Some((position, stream)) if position <= offset => (position, stream),
            _ => (0, self.inflate()?),
        };
        let wanted = offset - position;
        if io::copy(&mut (&mut stream).take(wanted), &mut io::sink())? != wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stream.read_exact(out)?;
        self.stream = Some((offset + out.len() as u64, stream));
        Ok(())
    }
}

impl Source {
    /// Fills `out` with the bytes that begin at `offset`.
    pub(super) fn read(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self {
            Source::File { file, start } => {
                file.seek(SeekFrom::Start(*start + offset))?;
                file.read_exact(out)
            }
            Source::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
                let found = start.checked_add(out.len()).and_then(|end| bytes.get(start..end));
                out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Source::Deflated(deflated) => deflated.read(offset, out),
        }
    }
}
