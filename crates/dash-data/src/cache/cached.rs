//! Reads an open cache.

use super::{file::Positioned, layout::Span, seal::Seal};
use crate::Error;
use std::path::Path;

/// An open cache whose hash was compared.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(super) file: Positioned,
    pub(super) seal: Seal,
}

impl Cached {
    /// The file.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Reads `count` rows of `width` bytes from row `at` of a column on.
    pub(crate) fn read(
        &self,
        column: Span,
        at: usize,
        count: usize,
        width: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        out.resize(count * width, 0);
        self.file.read(out, column.start + (at * width) as u64)
    }

    /// Compares the hash again.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        match self.seal.holds(&self.file)? {
            true => Ok(()),
            false => Err(Error::altered(self.path(), "does not hold what it did when it was opened")),
        }
    }

    /// The same where the file may have been written to since it was opened.
    pub(crate) fn unchanged(&self) -> Result<(), Error> {
        if self.file.is_touched()? { self.verify() } else { Ok(()) }
    }
}
