//! numpy's files: one array (`.npy`) or an archive of arrays (`.npz`).
//!
//! Elements are read block by block, so that files larger than memory work. Object arrays are
//! pickles, which [`object`] reads as data; nothing in a file is ever executed.
//!
//! ```
//! # fn main() -> Result<(), dash_data::Error> {
//! // What numpy.save writes for numpy.arange(6, dtype="<i2").reshape(3, 2).
//! let header = b"{'descr': '<i2', 'fortran_order': False, 'shape': (3, 2)}\n";
//! let mut file = [&b"\x93NUMPY\x01\0"[..], &(header.len() as u16).to_le_bytes()[..], header].concat();
//! file.extend((0..6i16).flat_map(i16::to_le_bytes));
//!
//! let mut array = dash_data::npy::NpyArray::from_bytes(file.into(), "six.npy".as_ref())?;
//! assert_eq!(array.shape(), [3, 2]);
//! assert_eq!(array.rows(1, 2)?, [2.0, 3.0, 4.0, 5.0]);
//! assert_eq!(array.ints(0, 1)?, [0, 1]);
//! # Ok(())
//! # }
//! ```

mod archive;
mod header;
mod source;

pub use archive::Archive;

use crate::{
    Error,
    pickle::{DType, DTypeKind, Pickle, gather_fortran},
};
use bytes::Bytes;
use header::{Failure, Header};
use source::Source;
use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
};

/// Blocks of rows hold about this many bytes as single precision numbers.
const BLOCK_BYTES: usize = 4 << 20;

/// What a small file may unpack to; larger ones to a multiple of their own size.
const LEAST_BYTES: u64 = 64 << 20;

/// Bytes that a packed file of `packed` bytes may take in memory at once: a limit for bombs, far above what
/// measured data needs.
pub(crate) fn most_bytes(packed: u64) -> u64 {
    packed.saturating_mul(16).max(LEAST_BYTES)
}

/// A file, and the member of it if it is an archive.
#[derive(Clone, Debug)]
struct Location {
    path: PathBuf,
    member: Option<String>,
}

impl Location {
    fn file(path: &Path) -> Location {
        Location { path: path.to_owned(), member: None }
    }

    fn damaged(&self, problem: impl Into<String>) -> Error {
        let problem = problem.into();
        let problem = match &self.member {
            Some(member) => format!("array `{member}`: {problem}"),
            None => problem,
        };
        Error::Npy { path: self.path.clone(), problem }
    }

    fn io(&self, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("the elements end early"),
            // What the decompressor says about bytes that it cannot have made.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => self.damaged(source.to_string()),
            _ => Error::Io { path: self.path.clone(), source },
        }
    }

    fn header(&self, failure: Failure) -> Error {
        match failure {
            Failure::Io(source) => self.io(source),
            Failure::Damaged(problem) => self.damaged(problem),
        }
    }
}

/// An array of numbers in a file; its elements stay there until they are asked for.
#[derive(Debug)]
pub struct NpyArray {
    at: Location,
    header: Header,
    source: Source,
}

impl NpyArray {
    /// Opens a `.npy` file and compares its length with its header.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or does not hold numbers.
    pub fn open(path: &Path) -> Result<NpyArray, Error> {
        let at = Location::file(path);
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let mut reader = BufReader::new(file);
        let header = Header::read(&mut reader).map_err(|e| at.header(e))?;
        let found = length.saturating_sub(header.start as u64);
        let source = Source::File { file: reader.into_inner(), start: header.start as u64 };
        NpyArray::new(at, header, source, found)?.numeric()
    }

    /// Reads a `.npy` file from memory; `path` names it in messages.
    ///
    /// # Errors
    /// If the bytes are damaged, or do not hold numbers.
    pub fn from_bytes(bytes: Bytes, path: &Path) -> Result<NpyArray, Error> {
        let at = Location::file(path);
        let header = Header::read(&mut bytes.as_ref()).map_err(|e| at.header(e))?;
        let elements = bytes.slice(header.start.min(bytes.len())..);
        let found = elements.len() as u64;
        NpyArray::new(at, header, Source::Memory(elements), found)?.numeric()
    }

    /// An array of numbers or of text; `found` is the number of bytes after the header.
    fn new(at: Location, header: Header, source: Source, found: u64) -> Result<NpyArray, Error> {
        if header.dtype.kind() == DTypeKind::Object {
            return Err(at.damaged("holds Python objects; numbers are expected"));
        }
        if found != header.bytes {
            return Err(at.damaged(format!(
                "an array of {} of shape {:?} takes {} bytes, {found} follow its header",
                header.dtype, header.shape, header.bytes
            )));
        }
        Ok(NpyArray { at, header, source })
    }

    /// The array, if it holds numbers.
    fn numeric(self) -> Result<NpyArray, Error> {
        if self.header.dtype.is_numeric() { Ok(self) } else { Err(self.no_numbers()) }
    }

    /// Positions per axis.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.header.dtype
    }

    /// Length of the first axis; an array without axes is one row.
    pub fn len(&self) -> usize {
        self.header.shape.first().copied().unwrap_or(1)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements of one row.
    pub fn row_len(&self) -> usize {
        self.header.shape.iter().skip(1).product()
    }

    /// How many rows to read at a time, so that memory stays bounded: at least one.
    pub fn block_rows(&self) -> usize {
        let element = self.header.dtype.size().max(size_of::<f32>());
        (BLOCK_BYTES / self.row_len().saturating_mul(element).max(1)).max(1)
    }

    /// The rows `first..first + count` in single precision, last index fastest.
    ///
    /// # Errors
    /// If there are no such rows, or they cannot be read.
    pub fn rows(&mut self, first: usize, count: usize) -> Result<Vec<f32>, Error> {
        let bytes = self.bytes(first, count)?;
        self.header.dtype.decode_f32(&bytes).ok_or_else(|| self.no_numbers())
    }

    /// The rows `first..first + count` in double precision, last index fastest.
    ///
    /// # Errors
    /// If there are no such rows, or they cannot be read.
    pub fn rows_f64(&mut self, first: usize, count: usize) -> Result<Vec<f64>, Error> {
        let bytes = self.bytes(first, count)?;
        self.header.dtype.decode_f64(&bytes).ok_or_else(|| self.no_numbers())
    }

    /// The rows `first..first + count` as integers, last index fastest.
    ///
    /// # Errors
    /// If there are no such rows, they cannot be read, or one of them holds something else.
    pub fn ints(&mut self, first: usize, count: usize) -> Result<Vec<i64>, Error> {
        let bytes = self.bytes(first, count)?;
        let values = self.header.dtype.decode_i64(&bytes).ok_or_else(|| self.no_numbers())?;
        values.map_err(|at| {
            let row = first + at / self.row_len().max(1);
            self.at.damaged(format!("row {row} holds something else than an integer"))
        })
    }

    /// The rows `first..first + count` of an array of text, without the padding of its elements.
    ///
    /// # Errors
    /// If there are no such rows, they cannot be read, or one of them holds something else.
    pub fn texts(&mut self, first: usize, count: usize) -> Result<Vec<String>, Error> {
        let bytes = self.bytes(first, count)?;
        let dtype = self.header.dtype;
        let texts = dtype
            .decode_texts(&bytes)
            .ok_or_else(|| self.at.damaged(format!("holds elements of type {dtype}; text is expected")))?;
        texts.map_err(|at| {
            let row = first + at / self.row_len().max(1);
            self.at.damaged(format!("row {row} holds bytes that are no text"))
        })
    }

    fn no_numbers(&self) -> Error {
        self.at.damaged(format!("holds elements of type {}; numbers are expected", self.header.dtype))
    }

    /// The elements of rows as the file has them, last index fastest.
    fn bytes(&mut self, first: usize, count: usize) -> Result<Vec<u8>, Error> {
        let rows = self.len();
        let end = first.checked_add(count).filter(|&end| end <= rows);
        if end.is_none() {
            return Err(Error::Row { row: first.saturating_add(count).saturating_sub(1), rows });
        }
        let (size, shape) = (self.header.dtype.size(), &self.header.shape);
        let (source, at) = (&mut self.source, &self.at);
        if self.header.fortran && shape.len() > 1 {
            return gather_fortran(shape, size, (first, count), |offset, out| {
                source.read(offset, out).map_err(|e| at.io(e))
            });
        }
        let row_bytes = size * shape.iter().skip(1).product::<usize>();
        let mut out = vec![0u8; count * row_bytes];
        source.read((first * row_bytes) as u64, &mut out).map_err(|e| at.io(e))?;
        Ok(out)
    }
}

/// The objects of a `.npy` file that holds an object array: the root is that array. A dict that was
/// saved with `numpy.save` is the only object of an array without axes
/// ([`Value::only`](crate::pickle::Value::only)).
///
/// # Errors
/// If the file cannot be read, is damaged, or does not hold objects.
pub fn object(path: &Path) -> Result<Pickle, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    object_from_bytes(bytes.into(), path)
}

/// Like [`object`], from memory; `path` names the file in messages.
///
/// # Errors
/// If the bytes are damaged, or do not hold objects.
pub fn object_from_bytes(bytes: Bytes, path: &Path) -> Result<Pickle, Error> {
    objects(bytes, Location::file(path))
}

fn objects(bytes: Bytes, at: Location) -> Result<Pickle, Error> {
    let header = Header::read(&mut bytes.as_ref()).map_err(|e| at.header(e))?;
    if header.dtype.kind() != DTypeKind::Object {
        return Err(at.damaged(format!("holds elements of type {}; objects are expected", header.dtype)));
    }
    let pickle = Pickle::from_bytes(bytes.slice(header.start.min(bytes.len())..), &at.path)?;
    match pickle.root().as_array() {
        Some(array) if array.shape() == header.shape && array.dtype().kind() == DTypeKind::Object => {
            Ok(pickle)
        }
        _ => Err(at.damaged(format!(
            "the header announces objects of shape {:?}, the pickle holds {}",
            header.shape,
            pickle.root().kind()
        ))),
    }
}

#[cfg(test)]
mod tests;
