//! Numeric arrays of HDF5 files, which MATLAB's version 7.3 is.
//!
//! What is in a file and where comes from the crate `hdf5-pure-rust`; it is named in this module only, so
//! that another can take its place. The numbers are read here, chunk by chunk, so that memory is bounded
//! by a chunk and no file but this one is ever opened: links to other files are not followed, and arrays
//! whose values are in other files are refused.

use super::{element::Storage, segment::MatSegment};
use crate::{Error, FileFormat, limits::unpack_limit};
use flate2::read::ZlibDecoder;
use hdf5_pure_rust::{
    Dataset, Group,
    format::messages::{
        data_layout::LayoutClass,
        datatype::{ByteOrder, DatatypeClass, DatatypeMessage},
        filter_pipeline::{FILTER_DEFLATE, FILTER_SHUFFLE},
        link::LinkType,
    },
    hl::dataset::DatasetInfo,
};
use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// The signature of HDF5, which may follow a block of other data.
const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// The largest block that may precede the signature.
const LARGEST_BLOCK: u64 = 1 << 20;

/// The largest number of values in a segment.
const SEGMENT: usize = 1 << 15;

/// Where HDF5 begins in a file: at its start, or after 512, 1024, 2048, ... bytes.
pub(super) fn find(path: &Path) -> Result<Option<u64>, Error> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let bytes = file.metadata().map_err(Error::io(path))?.len();
    let mut at = 0;
    while at + SIGNATURE.len() as u64 <= bytes && at <= LARGEST_BLOCK {
        let mut found = [0; SIGNATURE.len()];
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut found)).map_err(Error::io(path))?;
        if found == SIGNATURE {
            return Ok(Some(at));
        }
        at = if at == 0 { 512 } else { at * 2 };
    }
    Ok(None)
}

/// An array of the root group, or something else that has a name there.
pub(super) struct Listed {
    pub(super) name: String,
    /// Positions per axis in the order of the file: the last varies fastest.
    pub(super) shape: Vec<usize>,
    /// What it is if it is not an array of numbers.
    pub(super) other: Option<String>,
}

/// Lists what the root group of a file holds.
pub(super) fn list(path: &Path) -> Result<Vec<Listed>, Error> {
    guarded(path, || {
        let file = hdf5_pure_rust::File::open(path)?;
        let root = file.root_group()?;
        let mut listed = vec![];
        for name in root.member_names()? {
            // MATLAB keeps the cells of cell arrays in groups with such names.
            if name.starts_with('#') {
                continue;
            }
            let array = open(&root, &name).and_then(|dataset| dataset.info());
            let (shape, other) = match array {
                Ok(info) => match shape(&info) {
                    Some(shape) => (shape, number(&info.datatype).err()),
                    None => (vec![], Some("an array with impossibly many elements".to_owned())),
                },
                Err(error) => (vec![], Some(format!("not an array in this file ({error})"))),
            };
            listed.push(Listed { name, shape, other });
        }
        Ok(listed)
    })
}

/// Hands the numbers of an array on, each once, in the order in which they are stored. `base` is where HDF5
/// begins in the file.
pub(super) fn visit<E: From<Error>>(
    path: &Path,
    base: u64,
    name: &str,
    shape: &[usize],
    mut visit: impl FnMut(MatSegment<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let bytes = file.metadata().map_err(Error::io(path))?.len();
    let array = guarded(path, || {
        let file = hdf5_pure_rust::File::open(path)?;
        let dataset = open(&file.root_group()?, name)?;
        Ok(array(&dataset, base, bytes))
    })?;
    let wrong = |problem: String| Error::field(path, name, problem);
    let array = array.map_err(wrong)?;
    if array.shape != shape {
        return Err(wrong("the file changed while it was read".to_owned()).into());
    }
    let damaged = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => wrong("its values end early".to_owned()),
        _ => wrong(format!("its values cannot be read: {error}")),
    };
    match &array.place {
        Place::Here(values) => array.whole(&mut Cursor::new(values), &mut visit, damaged),
        Place::At(at) => {
            file.seek(SeekFrom::Start(*at)).map_err(Error::io(path))?;
            array.whole(&mut BufReader::with_capacity(1 << 17, file), &mut visit, damaged)
        }
        Place::Chunks { size, chunks, filters } => {
            for chunk in chunks {
                file.seek(SeekFrom::Start(chunk.at)).map_err(Error::io(path))?;
                let stored = BufReader::with_capacity(1 << 16, (&mut file).take(chunk.bytes));
                array.chunk(chunk, size, *filters, stored, &mut visit, damaged)?;
            }
            Ok(())
        }
    }
}

/// Opens an array of a group. The crate interprets names as paths and follows links, even into other files, so both
/// are refused here.
fn open(group: &Group, name: &str) -> hdf5_pure_rust::Result<Dataset> {
    let plain = !name.contains('/') && name != "." && name != "..";
    if !plain || group.link_type(name)? != LinkType::Hard {
        return Err(hdf5_pure_rust::Error::InvalidFormat("this is a link".to_owned()));
    }
    group.open_dataset(name)
}

/// Calls the HDF5 crate. It is young and not made for hostile files: it panics on some damaged files, which is
/// reported as an error about the file. Nothing that it has touched is used afterwards.
fn guarded<T>(path: &Path, read: impl FnOnce() -> hdf5_pure_rust::Result<T>) -> Result<T, Error> {
    let problem = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it contradicts itself".to_owned(),
    };
    Err(Error::invalid(FileFormat::Matlab, path, format!("this HDF5 file cannot be read: {problem}")))
}

/// An array and where its numbers are.
struct Array {
    shape: Vec<usize>,
    number: Storage,
    big_endian: bool,
    place: Place,
}

enum Place {
    /// In the description of the array.
    Here(Vec<u8>),
    /// In one piece at a byte of the file.
    At(u64),
    Chunks {
        size: Vec<usize>,
        chunks: Vec<Chunk>,
        filters: Filters,
    },
}

struct Chunk {
    /// Index of its first value on each axis.
    first: Vec<usize>,
    at: u64,
    bytes: u64,
}

/// What was done to the bytes of a chunk before they were stored: first shuffled, then deflated.
#[derive(Clone, Copy)]
struct Filters {
    shuffled: bool,
    deflated: bool,
}

fn shape(info: &DatasetInfo) -> Option<Vec<usize>> {
    let shape: Option<Vec<usize>> =
        info.dataspace.dims.iter().map(|&axis| usize::try_from(axis).ok()).collect();
    shape.filter(|shape| elements(shape).is_some())
}

fn elements(shape: &[usize]) -> Option<usize> {
    // Eight bytes per element must be countable as well.
    let total = shape.iter().try_fold(1usize, |total, &axis| total.checked_mul(axis))?;
    total.checked_mul(8).map(|_| total)
}

/// The storage of the numbers of an array and whether they are big-endian, or a description of what it holds
/// instead.
fn number(datatype: &DatatypeMessage) -> Result<(Storage, bool), String> {
    let big_endian = match datatype.byte_order() {
        Some(ByteOrder::LittleEndian) => false,
        Some(ByteOrder::BigEndian) => true,
        _ => return Err(format!("an array of the HDF5 class {:?}", datatype.class)),
    };
    let property = |at: usize| datatype.properties.get(at).copied().unwrap_or_default();
    let whole = property(0) == 0
        && property(1) == 0
        && u32::from(u16::from_le_bytes([property(2), property(3)])) == datatype.size.saturating_mul(8);
    // Position and size of exponent and mantissa, and the bias.
    let float: Vec<u8> = datatype.properties.iter().skip(4).take(8).copied().collect();
    let storage = match (datatype.class, datatype.size, datatype.is_signed()) {
        (DatatypeClass::FloatingPoint, 4, _) if float == [23, 8, 0, 23, 127, 0, 0, 0] => Storage::F32,
        (DatatypeClass::FloatingPoint, 8, _) if float == [52, 11, 0, 52, 255, 3, 0, 0] => Storage::F64,
        (DatatypeClass::FixedPoint, 1, Some(true)) => Storage::I8,
        (DatatypeClass::FixedPoint, 1, _) => Storage::U8,
        (DatatypeClass::FixedPoint, 2, Some(true)) => Storage::I16,
        (DatatypeClass::FixedPoint, 2, _) => Storage::U16,
        (DatatypeClass::FixedPoint, 4, Some(true)) => Storage::I32,
        (DatatypeClass::FixedPoint, 4, _) => Storage::U32,
        (DatatypeClass::FixedPoint, 8, Some(true)) => Storage::I64,
        (DatatypeClass::FixedPoint, 8, _) => Storage::U64,
        (class, size, _) => {
            return Err(format!("an array of {size}-byte numbers of the HDF5 class {class:?}"));
        }
    };
    if whole { Ok((storage, big_endian)) } else { Err("an array of numbers with unused bits".to_owned()) }
}

/// Finds the numbers of an array, and compares what is announced with the `bytes` of the file.
fn array(dataset: &Dataset, base: u64, bytes: u64) -> Result<Array, String> {
    let info = dataset.info().map_err(|error| error.to_string())?;
    let shape = shape(&info).ok_or("an array with impossibly many elements")?;
    let (number, big_endian) = number(&info.datatype)?;
    let total = elements(&shape).unwrap_or(usize::MAX).saturating_mul(number.size()) as u64;
    if info.external_file_list.is_some() {
        return Err("its values are in another file".to_owned());
    }
    let inside = |address: u64, length: u64| {
        let at =
            base.checked_add(address).filter(|at| at.checked_add(length).is_some_and(|end| end <= bytes));
        at.ok_or_else(|| "its values are not in the file: it ends early".to_owned())
    };
    let place = match info.layout.layout_class {
        _ if total == 0 => Place::Here(vec![]),
        LayoutClass::Compact => Place::Here(info.layout.compact_data.clone().unwrap_or_default()),
        LayoutClass::Contiguous => Place::At(inside(info.layout.contiguous_addr.unwrap_or(u64::MAX), total)?),
        LayoutClass::Chunked => chunks(dataset, &info, &shape, number.size(), bytes, inside)?,
        LayoutClass::Virtual => return Err("its values are in other files".to_owned()),
    };
    Ok(Array { shape, number, big_endian, place })
}

fn chunks(
    dataset: &Dataset,
    info: &DatasetInfo,
    shape: &[usize],
    number: usize,
    bytes: u64,
    inside: impl Fn(u64, u64) -> Result<u64, String>,
) -> Result<Place, String> {
    let filters = info.filter_pipeline.iter().flat_map(|pipeline| &pipeline.filters);
    let filters: Vec<u16> = filters.map(|filter| filter.id).collect();
    let filters = match filters.as_slice() {
        [] => Filters { shuffled: false, deflated: false },
        [FILTER_SHUFFLE] => Filters { shuffled: true, deflated: false },
        [FILTER_DEFLATE] => Filters { shuffled: false, deflated: true },
        [FILTER_SHUFFLE, FILTER_DEFLATE] => Filters { shuffled: true, deflated: true },
        other => return Err(format!("it is compressed by the HDF5 filters {other:?}; 2 and 1 are read")),
    };
    // Newer files name the size of an element after the sizes of the axes.
    let size = info.layout.chunk_dims.iter().flatten().take(shape.len());
    let size: Option<Vec<usize>> =
        size.map(|&axis| usize::try_from(axis).ok().filter(|&axis| axis > 0)).collect();
    let size = size.filter(|size| size.len() == shape.len()).ok_or("its chunks have no size")?;
    let length = elements(&size).and_then(|values| values.checked_mul(number)).map(|length| length as u64);
    let length = length
        .filter(|&length| length <= unpack_limit(bytes))
        .ok_or("its chunks are larger than the file")?;
    let mut chunks: Vec<Chunk> = vec![];
    let visited = dataset.visit_chunk_infos(|first, mask, address, stored| {
        let failed = |problem: &str| hdf5_pure_rust::Error::InvalidFormat(problem.to_owned());
        if mask != 0 {
            return Err(failed("some of its chunks are compressed in another way"));
        }
        let at = inside(address, stored).map_err(|problem| failed(&problem))?;
        if !filters.deflated && stored != length {
            return Err(failed("a chunk has another size than the others"));
        }
        let first: Option<Vec<usize>> = first.iter().map(|&index| usize::try_from(index).ok()).collect();
        chunks.push(Chunk { first: first.unwrap_or_default(), at, bytes: stored });
        Ok(())
    });
    visited.map_err(|error| error.to_string())?;
    // Every position of the grid exactly once: nothing is missing, and nothing is unpacked many times.
    let counts = shape.iter().zip(&size).map(|(&axis, &size)| axis.div_ceil(size));
    let wanted = counts.clone().try_fold(1usize, |total, count| total.checked_mul(count));
    let mut places: Option<Vec<usize>> =
        chunks.iter().map(|chunk| place(&chunk.first, shape, &size)).collect();
    if let Some(places) = &mut places {
        places.sort_unstable();
        places.dedup();
    }
    if places.is_none_or(|places| Some(places.len()) != wanted || places.len() != chunks.len()) {
        return Err("its chunks do not cover it exactly once".to_owned());
    }
    // Reading in the order of the file is faster.
    chunks.sort_by_key(|chunk| chunk.at);
    Ok(Place::Chunks { size, chunks, filters })
}

/// The number of a chunk in the grid of chunks.
fn place(first: &[usize], shape: &[usize], size: &[usize]) -> Option<usize> {
    if first.len() != shape.len() {
        return None;
    }
    let axes = first.iter().zip(shape).zip(size);
    axes.clone().try_fold(0usize, |place, ((&first, &axis), &size)| {
        if first >= axis || !first.is_multiple_of(size) {
            return None;
        }
        place.checked_mul(axis.div_ceil(size))?.checked_add(first / size)
    })
}

impl Array {
    /// Hands on values that are stored in one piece.
    fn whole<E: From<Error>>(
        &self,
        reader: &mut impl Read,
        visit: &mut impl FnMut(MatSegment<'_>) -> Result<(), E>,
        damaged: impl Fn(io::Error) -> Error,
    ) -> Result<(), E> {
        let total = elements(&self.shape).unwrap_or_default();
        let row = self.shape.last().copied().unwrap_or(1);
        let (mut raw, mut values) = (vec![], vec![]);
        let mut done = 0;
        while done < total {
            let (column, first) = (done / row, done % row);
            let length = (row - first).min(SEGMENT);
            raw.resize(length * self.number.size(), 0);
            reader.read_exact(&mut raw).map_err(&damaged)?;
            self.number.decode(&raw, self.big_endian, &mut values);
            visit(MatSegment { column, first, values: &values })?;
            done += length;
        }
        Ok(())
    }

    /// Hands on the values of a chunk, of which those outside of the array are left out.
    fn chunk<E: From<Error>>(
        &self,
        chunk: &Chunk,
        size: &[usize],
        filters: Filters,
        stored: impl Read,
        visit: &mut impl FnMut(MatSegment<'_>) -> Result<(), E>,
        damaged: impl Fn(io::Error) -> Error,
    ) -> Result<(), E> {
        let width = self.number.size();
        let mut reader: Box<dyn Read + '_> =
            if filters.deflated { Box::new(ZlibDecoder::new(stored)) } else { Box::new(stored) };
        if filters.shuffled {
            let mut shuffled = vec![0; elements(size).unwrap_or_default().saturating_mul(width)];
            reader.read_exact(&mut shuffled).map_err(&damaged)?;
            finish(&mut reader).map_err(&damaged)?;
            reader = Box::new(Cursor::new(unshuffle(&shuffled, width)));
        }
        let (Some(&row), Some(&axis)) = (size.last(), self.shape.last()) else {
            // A single number is not chunked.
            return Ok(());
        };
        let rows = size.split_last().map_or(1, |(_, outer)| outer.iter().product());
        let first = chunk.first.last().copied().unwrap_or_default();
        let length = row.min(axis.saturating_sub(first));
        let (mut raw, mut values) = (vec![0; row * width], vec![]);
        for number in 0..rows {
            reader.read_exact(&mut raw).map_err(&damaged)?;
            let Some(column) = self.column(number, &chunk.first, size) else { continue };
            self.number.decode(raw.get(..length * width).unwrap_or_default(), self.big_endian, &mut values);
            visit(MatSegment { column, first, values: &values })?;
        }
        Ok(finish(&mut reader).map_err(damaged)?)
    }

    /// The indices of a row of a chunk on all axes but the last, as one number; none if it is outside of the
    /// array.
    fn column(&self, number: usize, first: &[usize], size: &[usize]) -> Option<usize> {
        let (mut number, mut column, mut step) = (number, 0, 1);
        let axes = self.shape.iter().zip(first).zip(size).rev().skip(1);
        for ((&axis, &first), &size) in axes {
            let index = first + number % size;
            if index >= axis {
                return None;
            }
            column += index * step;
            step *= axis;
            number /= size;
        }
        Some(column)
    }
}

/// Checks that nothing follows, which makes a decompressor compare its checksum.
fn finish(reader: &mut impl Read) -> io::Result<()> {
    match reader.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk holds more than its size says")),
    }
}

/// Puts the bytes of each number together again: first came the first bytes of all, then the second ones.
fn unshuffle(shuffled: &[u8], width: usize) -> Vec<u8> {
    let count = shuffled.len() / width.max(1);
    let mut out = vec![0; shuffled.len()];
    for (byte, plane) in shuffled.chunks_exact(count.max(1)).enumerate() {
        for (&value, slot) in plane.iter().zip(out.iter_mut().skip(byte).step_by(width.max(1))) {
            *slot = value;
        }
    }
    out
}

#[cfg(test)]
mod tests;
