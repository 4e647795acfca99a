//! Reads numpy's files: one array (`.npy`) or an archive of arrays (`.npz`).
//!
//! Elements are read block by block, so that files larger than memory work. Object arrays are
//! pickles, which [`object`] reads as data; nothing in a file is ever executed.
//!
//! ```
//! # fn main() -> Result<(), dash_formats::Error> {
//! // What numpy.save writes for numpy.arange(6, dtype="<i2").reshape(3, 2).
//! let header = b"{'descr': '<i2', 'fortran_order': False, 'shape': (3, 2)}\n";
//! let mut file = [&b"\x93NUMPY\x01\0"[..], &(header.len() as u16).to_le_bytes()[..], header].concat();
//! file.extend((0..6i16).flat_map(i16::to_le_bytes));
//!
//! let mut array = dash_formats::npy::NpyArray::from_bytes(file.into(), "six.npy".as_ref())?;
//! assert_eq!(array.shape(), [3, 2]);
//! assert_eq!(array.rows(1, 2)?, [2.0, 3.0, 4.0, 5.0]);
//! assert_eq!(array.ints(0, 1)?, [0, 1]);
//! # Ok(())
//! # }
//! ```

mod archive;
mod array;
mod header;
mod location;
mod source;

pub use archive::NpzArchive;
pub use array::{NpyArray, object, object_from_bytes};

#[cfg(test)]
mod tests;
