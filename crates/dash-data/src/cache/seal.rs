//! The hash that a cache carries of its own bytes. It stands in the footer as metadata of the Arrow file, which
//! any reader of Arrow files passes over, and covers every byte of the file: where it stands itself the bytes of
//! [`PLACE`] are hashed instead.
//!
//! The file is hashed in pieces, so that all threads can compare: the hash is BLAKE3 of the BLAKE3 hashes of
//! consecutive pieces of [`PIECE`] bytes, followed by the length of the file.

use super::file::Positioned;
use crate::Error;
use rayon::prelude::*;
use std::io::{self, Write};

/// Metadata key of the hash.
pub(super) const KEY: &str = "dash-nas:blake3";

/// What is hashed, and written at first, where the hash stands: as many bytes as it has hexadecimal digits.
pub(super) const PLACE: &str = "the-blake3-hash-of-this-file-with-this-text-where-the-hash-is---";

const PIECE: usize = 1 << 20;

/// Hashes of pieces -> the hash of a file.
#[derive(Default)]
struct Pieces {
    whole: blake3::Hasher,
    length: u64,
}

impl Pieces {
    fn add(&mut self, hash: &blake3::Hash, length: usize) {
        self.whole.update(hash.as_bytes());
        self.length += length as u64;
    }

    fn finish(mut self) -> String {
        self.whole.update(&self.length.to_le_bytes());
        self.whole.finalize().to_hex().to_string()
    }
}

/// Writes a file and hashes it on the way. What comes after [`Sealing::hold`] is kept back, because the hash
/// belongs into it.
pub(super) struct Sealing<'a> {
    out: &'a mut dyn Write,
    pieces: Pieces,
    piece: blake3::Hasher,
    filled: usize,
    held: Option<Vec<u8>>,
}

impl<'a> Sealing<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Sealing<'a> {
        Sealing { out, pieces: Pieces::default(), piece: blake3::Hasher::new(), filled: 0, held: None }
    }

    /// Keeps back what is written from now on.
    pub(super) fn hold(&mut self) {
        self.held = Some(vec![]);
    }

    fn absorb(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.filled));
            self.piece.update(now);
            self.filled += now.len();
            if self.filled == PIECE {
                self.end_piece();
            }
            bytes = later;
        }
    }

    fn end_piece(&mut self) {
        self.pieces.add(&self.piece.finalize(), self.filled);
        self.piece.reset();
        self.filled = 0;
    }

    /// Writes what was kept back, with the hash in its place.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut tail = self.held.take().unwrap_or_default();
        self.absorb(&tail);
        if self.filled > 0 {
            self.end_piece();
        }
        let place =
            find(&tail, PLACE).ok_or_else(|| io::Error::other("the hash has no place in the footer"))?;
        let hash = std::mem::take(&mut self.pieces).finish();
        if let Some(place) = tail.get_mut(place..place + PLACE.len()) {
            place.copy_from_slice(hash.as_bytes());
        }
        self.out.write_all(&tail)
    }
}

impl Write for Sealing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(held) = &mut self.held {
            held.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let written = self.out.write(bytes)?;
        self.absorb(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Where a text is in `bytes`; `None` also if it is there twice.
pub(super) fn find(bytes: &[u8], text: &str) -> Option<usize> {
    let mut found = bytes.windows(text.len().max(1)).enumerate().filter(|(_, part)| *part == text.as_bytes());
    match (found.next(), found.next()) {
        (Some((place, _)), None) => Some(place),
        _ => None,
    }
}

/// The hash that a file carries of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) hash: String,
    /// Where in the file it stands.
    pub(super) place: u64,
}

impl Seal {
    /// Whether the file has this hash, by all threads.
    pub(super) fn holds(&self, file: &Positioned) -> Result<bool, Error> {
        let length = file.len();
        let count = length.div_ceil(PIECE as u64);
        let hashes = (0..count).into_par_iter().map_init(
            || vec![0; PIECE],
            |buffer, number| {
                let start = number * PIECE as u64;
                let length = (length - start).min(PIECE as u64) as usize;
                let piece = buffer.get_mut(..length).unwrap_or_default();
                file.read(piece, start)?;
                for (at, &byte) in (self.place..).zip(PLACE.as_bytes()) {
                    let at = at.checked_sub(start).and_then(|at| usize::try_from(at).ok());
                    if let Some(slot) = at.and_then(|at| piece.get_mut(at)) {
                        *slot = byte;
                    }
                }
                Ok((blake3::hash(piece), length))
            },
        );
        let hashes: Vec<(blake3::Hash, usize)> = hashes.collect::<Result<_, Error>>()?;
        let mut pieces = Pieces::default();
        hashes.iter().for_each(|(hash, length)| pieces.add(hash, *length));
        Ok(pieces.finish() == self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `length` bytes and then a footer with the hash.
    fn sealed(length: usize) -> Vec<u8> {
        let mut out = vec![];
        let mut sealing = Sealing::new(&mut out);
        let body: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
        // In parts, as writers do.
        body.chunks(700_001).for_each(|part| sealing.write_all(part).unwrap());
        sealing.hold();
        sealing.write_all(format!("footer {PLACE} end").as_bytes()).unwrap();
        sealing.finish().unwrap();
        out
    }

    #[test]
    fn every_byte_is_covered_the_hash_itself_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for length in [0, PIECE - 20, PIECE + 5] {
            let whole = sealed(length);
            let holds = |bytes: &[u8]| {
                std::fs::File::options()
                    .create(true)
                    .truncate(true)
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .write_all(bytes)
                    .unwrap();
                let hash = String::from_utf8_lossy(&bytes[length + 7..length + 7 + PLACE.len()]).into_owned();
                Seal { hash, place: (length + 7) as u64 }.holds(&Positioned::open(&path).unwrap()).unwrap()
            };
            assert!(holds(&whole), "{length}");
            for at in (0..whole.len()).step_by(whole.len() / 10 + 1).chain((length..whole.len()).step_by(5)) {
                let mut bad = whole.clone();
                bad[at] ^= 1;
                assert!(!holds(&bad), "byte {at} of {length}");
            }
            assert!(!holds(&[&whole[..], b"x"].concat()));
        }
    }
}
