//! Reads arrays of numpy files block by block.

use super::{header::Header, location::Location, source::Source};
use crate::{
    Error,
    pickle::{DType, DTypeKind, Pickle, gather_fortran},
};
use bytes::Bytes;
use std::{fs::File, io::BufReader, path::Path};

/// Blocks of rows hold about this many bytes as single precision numbers.
const BLOCK_BYTES: usize = 4 << 20;

/// An array of numbers in a file; its elements are read on demand.
#[derive(Debug)]
pub struct NpyArray {
    pub(super) at: Location,
    pub(super) header: Header,
    pub(super) source: Source,
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
    pub(super) fn new(at: Location, header: Header, source: Source, found: u64) -> Result<NpyArray, Error> {
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
    pub(super) fn numeric(self) -> Result<NpyArray, Error> {
        if self.header.dtype.is_numeric() { Ok(self) } else { Err(self.not_numeric()) }
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

    /// The number of rows to read at a time so that memory stays bounded, at least one.
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
        self.header.dtype.decode_f32(&bytes).ok_or_else(|| self.not_numeric())
    }

    /// The rows `first..first + count` in double precision, last index fastest.
    ///
    /// # Errors
    /// If there are no such rows, or they cannot be read.
    pub fn rows_f64(&mut self, first: usize, count: usize) -> Result<Vec<f64>, Error> {
        let bytes = self.bytes(first, count)?;
        self.header.dtype.decode_f64(&bytes).ok_or_else(|| self.not_numeric())
    }

    /// The rows `first..first + count` as integers, last index fastest.
    ///
    /// # Errors
    /// If there are no such rows, they cannot be read, or one of them holds something else.
    pub fn ints(&mut self, first: usize, count: usize) -> Result<Vec<i64>, Error> {
        let bytes = self.bytes(first, count)?;
        let values = self.header.dtype.decode_i64(&bytes).ok_or_else(|| self.not_numeric())?;
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
            self.at.damaged(format!("row {row} holds bytes that are not text"))
        })
    }

    fn not_numeric(&self) -> Error {
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

pub(super) fn objects(bytes: Bytes, at: Location) -> Result<Pickle, Error> {
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
