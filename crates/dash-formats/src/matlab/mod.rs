//! Reads MATLAB MAT-files of versions 4, 5 and 7.3: numeric arrays, and in version 5 cell arrays of
//! them, compressed or not, of either byte order.
//!
//! An array is delivered in segments of bounded size in the order of the file, which is column-major:
//! the first index varies fastest. So a part of an array that is larger than memory can be taken.
//! Layout of version 5: "MAT-File Format", The MathWorks, chapter "Level 5". Files of version 7.3 are HDF5
//! files, where the same order of values is described with the axes reversed.

mod element;
mod hdf5;
mod segment;
mod version4;

pub use segment::{MatCell, MatSegment};

use crate::{Error, FileFormat, limits::unpack_limit};
use element::{Header, Storage, Stream};
use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// The largest number of values in a segment.
const SEGMENT: usize = 1 << 15;

/// An open MATLAB file and the variables in it.
#[derive(Debug)]
pub struct MatFile {
    path: PathBuf,
    /// Of a file of version 5.
    big_endian: bool,
    variables: Vec<MatVariable>,
}

/// The version of a file.
enum Version {
    Four,
    Five {
        big_endian: bool,
    },
    /// Possibly version 7.3.
    Later,
}

/// A variable of a MATLAB file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatVariable {
    /// Its name.
    pub name: String,
    /// Positions per axis; the first varies fastest in the file.
    pub dimensions: Vec<usize>,
    /// Whether it is a real numeric array.
    numeric: bool,
    /// Whether it is a cell array that can be read.
    cells: bool,
    /// A description of it if it is neither.
    class: String,
    place: Place,
}

/// Where the numbers of a variable are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As they are, from this byte of a file of version 4 on.
    Plain { data: u64, storage: Storage, big_endian: bool },
    /// In an element that begins at this byte of a file of version 5.
    Element(u64),
    /// In a dataset of the HDF5 file that begins at this byte.
    Hdf5(u64),
}

impl MatFile {
    /// Opens a file and lists its variables; only their headers are read.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or is not a MAT-file.
    pub fn open(path: &Path) -> Result<MatFile, Error> {
        let file = File::open(path).map_err(Error::io(path))?;
        let bytes = file.metadata().map_err(Error::io(path))?.len();
        let mut mat = MatFile { path: path.to_owned(), big_endian: false, variables: vec![] };
        let mut reader = BufReader::new(file);
        match mat.version(&mut reader)? {
            Version::Four => {
                let listed = version4::list(&mut reader, bytes).map_err(|e| mat.problem("", e))?;
                mat.variables = listed.into_iter().map(MatVariable::from_version4).collect();
                return Ok(mat);
            }
            Version::Five { big_endian } => mat.big_endian = big_endian,
            Version::Later => {
                let base = hdf5::find(path)?
                    .ok_or_else(|| mat.damaged("this is not a MATLAB file of version 4, 5 or 7.3"))?;
                mat.variables =
                    hdf5::list(path)?.into_iter().map(|l| MatVariable::from_hdf5(l, base)).collect();
                return Ok(mat);
            }
        }
        let mut offset = 128;
        while offset < bytes {
            let (header, next) = mat.header(&mut reader, offset, bytes)?;
            if let Some(Header { name, dimensions, class, complex }) = header {
                let numeric = class.is_numeric() && !complex;
                let (cells, class) = (class.is_cell(), class.to_string());
                let place = Place::Element(offset);
                mat.variables.push(MatVariable { name, dimensions, numeric, cells, class, place });
            }
            offset = next;
        }
        Ok(mat)
    }

    /// The variables, in the order of the file.
    pub fn variables(&self) -> &[MatVariable] {
        &self.variables
    }

    fn variable(&self, name: &str) -> Result<&MatVariable, Error> {
        self.variables.iter().find(|v| v.name == name).ok_or_else(|| {
            let names: Vec<String> = self.variables.iter().map(|v| format!("`{}`", v.name)).collect();
            let found = if names.is_empty() { "no fields".to_owned() } else { names.join(", ") };
            Error::MissingField { path: self.path.clone(), field: name.to_owned(), found }
        })
    }

    /// The cell array called `name`.
    ///
    /// # Errors
    /// If there is no such variable, or it is not a cell array.
    pub fn cells(&self, name: &str) -> Result<&MatVariable, Error> {
        let variable = self.variable(name)?;
        if variable.cells {
            return Ok(variable);
        }
        let found = match variable.numeric {
            true => "a numeric array".to_owned(),
            false => variable.class.clone(),
        };
        Err(Error::field(&self.path, name, format!("is {found}; a cell array is expected")))
    }

    /// The numeric array called `name`.
    ///
    /// # Errors
    /// If there is no such variable, or it is not a real numeric array.
    pub fn numeric(&self, name: &str) -> Result<&MatVariable, Error> {
        let variable = self.variable(name)?;
        if variable.numeric {
            Ok(variable)
        } else {
            Err(Error::field(
                &self.path,
                name,
                format!("is {}; a real numeric array is expected", variable.class),
            ))
        }
    }

    /// Streams the values of `variable` in the order of the file. `visit` gets each value once.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged, and the errors of `visit`.
    pub fn visit<E: From<Error>>(
        &self,
        variable: &MatVariable,
        mut visit: impl FnMut(MatSegment<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let bytes = file.metadata().map_err(Error::io(&self.path))?.len();
        let mut reader = BufReader::with_capacity(1 << 17, file);
        let problem = |e: std::io::Error| self.problem(&variable.name, e);
        let offset = match variable.place {
            Place::Hdf5(base) => {
                let shape: Vec<usize> = variable.dimensions.iter().rev().copied().collect();
                return hdf5::visit(&self.path, base, &variable.name, &shape, visit);
            }
            Place::Plain { data, storage, big_endian } => {
                reader.seek(SeekFrom::Start(data)).map_err(Error::io(&self.path))?;
                let read = |raw: &mut [u8]| reader.read_exact(raw).map_err(problem);
                return self.segments(variable, (storage, big_endian), read, &mut visit);
            }
            Place::Element(offset) => offset,
        };
        let mut stream = self.stream(&mut reader, offset, bytes)?;
        let total = self.begin(&mut stream, variable)?;
        let storage = stream.data_header(total).map_err(problem)?;
        let read = |raw: &mut [u8]| stream.read_exact(raw).map_err(problem);
        self.segments(variable, (storage, self.big_endian), read, &mut visit)?;
        Ok(stream.finish().map_err(problem)?)
    }

    /// Hands the numbers of `variable` to `visit`; `read` reads the next ones.
    fn segments<E: From<Error>>(
        &self,
        variable: &MatVariable,
        (storage, big_endian): (Storage, bool),
        mut read: impl FnMut(&mut [u8]) -> Result<(), Error>,
        visit: &mut dyn FnMut(MatSegment<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let total = self.numbers(variable)?;
        let rows = variable.dimensions.first().copied().unwrap_or(1);
        let (mut raw, mut values) = (vec![], vec![]);
        let mut done = 0;
        while done < total {
            let (column, first) = (done / rows, done % rows);
            let length = (rows - first).min(SEGMENT);
            raw.resize(length * storage.size(), 0);
            read(&mut raw)?;
            storage.decode(&raw, big_endian, &mut values);
            visit(MatSegment { column, first, values: &values })?;
            done += length;
        }
        Ok(())
    }

    /// Reads past the header of `variable`, which must not have changed; returns the number of its elements.
    fn begin(&self, stream: &mut Stream<'_>, variable: &MatVariable) -> Result<usize, Error> {
        let header = stream.matrix_header().map_err(|e| self.problem(&variable.name, e))?;
        if header.is_none_or(|header| header.dimensions != variable.dimensions) {
            return Err(self.damaged("the file changed while it was read"));
        }
        self.numbers(variable)
    }

    fn numbers(&self, variable: &MatVariable) -> Result<usize, Error> {
        let total = variable.dimensions.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
        total.ok_or_else(|| self.damaged(format!("variable `{}`: impossibly many elements", variable.name)))
    }

    /// Hands the cells of a cell array to `visit`, one in memory at a time. What all of them unpack to is
    /// limited as for compressed files.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged, a cell does not hold numbers, and the errors of `visit`.
    pub fn visit_cells<E: From<Error>>(
        &self,
        variable: &MatVariable,
        mut visit: impl FnMut(MatCell<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Place::Element(offset) = variable.place else {
            return Err(Error::field(&self.path, &variable.name, "is not a cell array of version 5").into());
        };
        let file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let bytes = file.metadata().map_err(Error::io(&self.path))?.len();
        let most = unpack_limit(bytes);
        let mut reader = BufReader::with_capacity(1 << 17, file);
        let mut stream = self.stream(&mut reader, offset, bytes)?;
        let total = self.begin(&mut stream, variable)?;
        let (mut raw, mut values) = (vec![], vec![]);
        for index in 0..total {
            let place =
                |e: std::io::Error| self.damaged(format!("variable `{}[{index}]`: {e}", variable.name));
            // A cell takes eight bytes even if it is empty, so that this ends with the file.
            let left = most.saturating_sub(stream.position());
            let Some((header, end)) = stream.cell(left).map_err(place)? else {
                visit(MatCell { index, dimensions: &[0, 0], values: &[] })?;
                continue;
            };
            if !header.class.is_numeric() || header.complex {
                let problem = format!("is {}; a real numeric array is expected", header.class);
                return Err(Error::field(&self.path, format!("{}[{index}]", variable.name), problem).into());
            }
            let numbers = header.dimensions.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
            let numbers = numbers.ok_or_else(|| place(std::io::Error::other("impossibly many elements")))?;
            let storage = stream.data_header(numbers).map_err(place)?;
            // The announced size is checked before memory is allocated.
            let length = (numbers as u64).saturating_mul(storage.size() as u64);
            let decoded = (numbers as u64).saturating_mul(size_of::<f64>() as u64);
            if length > end.saturating_sub(stream.position()) || decoded > most {
                let problem = format!("{numbers} numbers do not fit into a cell of this file");
                return Err(place(std::io::Error::other(problem)).into());
            }
            raw.resize(numbers * storage.size(), 0);
            stream.read_exact(&mut raw).map_err(place)?;
            storage.decode(&raw, self.big_endian, &mut values);
            visit(MatCell { index, dimensions: &header.dimensions, values: &values })?;
            stream.skip_to(end).map_err(place)?;
        }
        Ok(stream.finish().map_err(|e| self.problem(&variable.name, e))?)
    }

    /// The error of a read of `variable`: the disk failed, or the content is invalid.
    fn problem(&self, variable: &str, error: std::io::Error) -> Error {
        match error.kind() {
            // The decompressor reports invalid streams as `InvalidInput`.
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
                let place = if variable.is_empty() { "" } else { &format!("variable `{variable}`: ") };
                self.damaged(format!("{place}{error}"))
            }
            _ => Error::io(&self.path)(error),
        }
    }

    fn damaged(&self, problem: impl Into<String>) -> Error {
        Error::invalid(FileFormat::Matlab, &self.path, problem)
    }

    /// The version that the first bytes of the file indicate.
    fn version(&self, reader: &mut BufReader<File>) -> Result<Version, Error> {
        let mut head = [0u8; 128];
        let mut length = 0;
        while let Some(rest) = head.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match reader.read(rest).map_err(Error::io(&self.path))? {
                0 => break,
                read => length += read,
            }
        }
        // Files of later versions begin with a text.
        if version4::begins(head.get(..length).unwrap_or_default()) {
            return Ok(Version::Four);
        }
        if length < head.len() {
            return Err(self.damaged(format!("the file ends early, after {length} bytes of its header")));
        }
        // The last four bytes: version 0x0100 and the letters MI, as 16-bit numbers of the writer.
        Ok(match head.last_chunk::<4>() {
            Some([0x00, 0x01, b'I', b'M']) => Version::Five { big_endian: false },
            Some([0x01, 0x00, b'M', b'I']) => Version::Five { big_endian: true },
            _ => Version::Later,
        })
    }

    /// The header of the element at `offset`, if it is a matrix, and where the next element begins.
    fn header(
        &self,
        reader: &mut BufReader<File>,
        offset: u64,
        bytes: u64,
    ) -> Result<(Option<Header>, u64), Error> {
        let mut stream = self.stream(reader, offset, bytes)?;
        let next = stream.next_offset();
        let header = stream
            .matrix_header()
            .map_err(|e| self.damaged(format!("element at byte {offset} of the file: {e}")))?;
        Ok((header, next))
    }

    fn stream<'r>(
        &self,
        reader: &'r mut BufReader<File>,
        offset: u64,
        bytes: u64,
    ) -> Result<Stream<'r>, Error> {
        reader.seek(SeekFrom::Start(offset)).map_err(Error::io(&self.path))?;
        Stream::open(reader, offset, bytes, self.big_endian)
            .map_err(|e| self.damaged(format!("element at byte {offset} of the file: {e}")))
    }
}

impl MatVariable {
    fn from_version4(listed: version4::Listed) -> MatVariable {
        let version4::Listed { name, dimensions, other, data, storage, big_endian } = listed;
        MatVariable {
            name,
            dimensions: dimensions.to_vec(),
            numeric: other.is_none(),
            cells: false,
            class: other.unwrap_or_default().to_owned(),
            place: Place::Plain { data, storage, big_endian },
        }
    }

    fn from_hdf5(listed: hdf5::Listed, base: u64) -> MatVariable {
        let hdf5::Listed { name, shape, other } = listed;
        let dimensions = shape.into_iter().rev().collect();
        let (numeric, class) = (other.is_none(), other.unwrap_or_default());
        MatVariable { name, dimensions, numeric, cells: false, class, place: Place::Hdf5(base) }
    }
}

#[cfg(test)]
mod tests;
