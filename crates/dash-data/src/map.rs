//! The only unsafe code of this crate: a file as memory.

use crate::Error;
use arrow::buffer::Buffer;
use bytes::Bytes;
use memmap2::Mmap;
use std::{fs::File, path::Path};

/// Maps the whole file; pages are read when they are touched.
pub(crate) fn map(path: &Path) -> Result<Buffer, Error> {
    let file = File::open(path).map_err(Error::io(path))?;
    // SAFETY: the mapping is read-only, and it stays valid as long as nobody truncates or rewrites
    // the file in place. Cache files are published by a rename and never written again by this
    // program; a file that replaces them is another inode, which leaves this mapping alone.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
    Ok(Bytes::from_owner(map).into())
}
