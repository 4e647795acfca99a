//! A streaming reader of MATLAB files of levels 4 and 5 and of version 7.3: numeric arrays, and in level 5
//! cell arrays of them, compressed or not, of either byte order.
//!
//! An array is delivered in pieces of bounded size in the order of the file, which is column-major:
//! the first index varies fastest. So a part of an array that is larger than memory can be taken.
//! Layout of level 5: "MAT-File Format", The MathWorks, chapter "Level 5". Files of version 7.3 are HDF5
//! files, where the same order of values is described with the axes reversed.

mod element;
mod level4;

use crate::{Error, hdf5, npy::most_bytes};
pub(crate) use element::Storage;
use element::{Header, Stream};
use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Values per piece at most.
const PIECE: usize = 1 << 15;

/// An open MATLAB file and the variables in it.
#[derive(Debug)]
pub struct MatFile {
    path: PathBuf,
    /// Of a file of level 5.
    big_endian: bool,
    variables: Vec<Variable>,
}

/// Which of the formats a file has.
enum Level {
    Four,
    Five {
        big_endian: bool,
    },
    /// Perhaps version 7.3.
    Later,
}

/// A variable of a MATLAB file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Positions per axis; the first varies fastest in the file.
    pub dimensions: Vec<usize>,
    /// Whether it is a real numeric array.
    numeric: bool,
    /// Whether it is a cell array that can be read.
    cells: bool,
    /// What it is if it is something else.
    class: String,
    place: Place,
}

/// Where the numbers of a variable are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As they are, from this byte of a file of level 4 on.
    Plain { data: u64, storage: Storage, big_endian: bool },
    /// In an element that begins at this byte of a file of level 5.
    Element(u64),
    /// In a dataset of the HDF5 file that begins at this byte.
    Hdf5(u64),
}

/// Consecutive values of one column of an array. In files of version 7.3 columns may come in any order.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The indices after the first, as one number: the second index varies fastest.
    pub column: usize,
    /// First index of the first value.
    pub first: usize,
    /// The values, of ascending first index.
    pub values: &'a [f64],
}

/// A cell of a cell array: a real numeric array.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    /// Its number; the first index of the cell array varies fastest.
    pub index: usize,
    /// Positions per axis; the first varies fastest.
    pub dimensions: &'a [usize],
    /// All its values.
    pub values: &'a [f64],
}

impl MatFile {
    /// Opens a file and lists its variables; only their headers are read.
    pub fn open(path: &Path) -> Result<MatFile, Error> {
        let file = File::open(path).map_err(Error::io(path))?;
        let bytes = file.metadata().map_err(Error::io(path))?.len();
        let mut mat = MatFile { path: path.to_owned(), big_endian: false, variables: vec![] };
        let mut reader = BufReader::new(file);
        match mat.level(&mut reader)? {
            Level::Four => {
                let listed = level4::list(&mut reader, bytes).map_err(|e| mat.problem("", e))?;
                mat.variables = listed.into_iter().map(Variable::from_level4).collect();
                return Ok(mat);
            }
            Level::Five { big_endian } => mat.big_endian = big_endian,
            Level::Later => {
                let base = hdf5::find(path)?.ok_or_else(|| {
                    mat.damaged("this is no MATLAB file of level 4, level 5 or version 7.3")
                })?;
                mat.variables = hdf5::list(path)?.into_iter().map(|l| Variable::from_hdf5(l, base)).collect();
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
                mat.variables.push(Variable { name, dimensions, numeric, cells, class, place });
            }
            offset = next;
        }
        Ok(mat)
    }

    /// The variables, in the order of the file.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    fn variable(&self, name: &str) -> Result<&Variable, Error> {
        self.variables.iter().find(|v| v.name == name).ok_or_else(|| {
            let names: Vec<String> = self.variables.iter().map(|v| format!("`{}`", v.name)).collect();
            let found = if names.is_empty() { "no fields".to_owned() } else { names.join(", ") };
            Error::MissingField { path: self.path.clone(), field: name.to_owned(), found }
        })
    }

    /// The cell array called `name`.
    pub fn cells(&self, name: &str) -> Result<&Variable, Error> {
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
    pub fn numeric(&self, name: &str) -> Result<&Variable, Error> {
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
    pub fn visit(
        &self,
        variable: &Variable,
        mut visit: impl FnMut(Piece<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
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
                return self.pieces(variable, (storage, big_endian), read, &mut visit);
            }
            Place::Element(offset) => offset,
        };
        let mut stream = self.stream(&mut reader, offset, bytes)?;
        let total = self.begin(&mut stream, variable)?;
        let storage = stream.data_header(total).map_err(problem)?;
        let read = |raw: &mut [u8]| stream.read_exact(raw).map_err(problem);
        self.pieces(variable, (storage, self.big_endian), read, &mut visit)?;
        stream.finish().map_err(problem)
    }

    /// Hands the numbers of `variable` to `visit`, of which `read` reads the next ones.
    fn pieces(
        &self,
        variable: &Variable,
        (storage, big_endian): (Storage, bool),
        mut read: impl FnMut(&mut [u8]) -> Result<(), Error>,
        visit: &mut dyn FnMut(Piece<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let total = self.numbers(variable)?;
        let rows = variable.dimensions.first().copied().unwrap_or(1);
        let (mut raw, mut values) = (vec![], vec![]);
        let mut done = 0;
        while done < total {
            let (column, first) = (done / rows, done % rows);
            let length = (rows - first).min(PIECE);
            raw.resize(length * storage.size(), 0);
            read(&mut raw)?;
            storage.decode(&raw, big_endian, &mut values);
            visit(Piece { column, first, values: &values })?;
            done += length;
        }
        Ok(())
    }

    /// Reads past the header of `variable`, which must be what it was; the elements of the variable.
    fn begin(&self, stream: &mut Stream<'_>, variable: &Variable) -> Result<usize, Error> {
        let header = stream.matrix_header().map_err(|e| self.problem(&variable.name, e))?;
        if header.is_none_or(|header| header.dimensions != variable.dimensions) {
            return Err(self.damaged("the file changed while it was read"));
        }
        self.numbers(variable)
    }

    fn numbers(&self, variable: &Variable) -> Result<usize, Error> {
        let total = variable.dimensions.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
        total.ok_or_else(|| self.damaged(format!("variable `{}`: impossibly many elements", variable.name)))
    }

    /// Hands the cells of a cell array to `visit`, one in memory at a time. What all of them unpack to is
    /// limited as for other packed files.
    pub fn visit_cells(
        &self,
        variable: &Variable,
        mut visit: impl FnMut(Cell<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Place::Element(offset) = variable.place else {
            return Err(Error::field(&self.path, &variable.name, "is not a cell array of level 5"));
        };
        let file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let bytes = file.metadata().map_err(Error::io(&self.path))?.len();
        let most = most_bytes(bytes);
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
                visit(Cell { index, dimensions: &[0, 0], values: &[] })?;
                continue;
            };
            if !header.class.is_numeric() || header.complex {
                let problem = format!("is {}; a real numeric array is expected", header.class);
                return Err(Error::field(&self.path, format!("{}[{index}]", variable.name), problem));
            }
            let numbers = header.dimensions.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
            let numbers = numbers.ok_or_else(|| place(std::io::Error::other("impossibly many elements")))?;
            let storage = stream.data_header(numbers).map_err(place)?;
            // Compared with what there can be before memory is asked for.
            let length = (numbers as u64).saturating_mul(storage.size() as u64);
            let decoded = (numbers as u64).saturating_mul(size_of::<f64>() as u64);
            if length > end.saturating_sub(stream.position()) || decoded > most {
                let problem = format!("{numbers} numbers do not fit into a cell of this file");
                return Err(place(std::io::Error::other(problem)));
            }
            raw.resize(numbers * storage.size(), 0);
            stream.read_exact(&mut raw).map_err(place)?;
            storage.decode(&raw, self.big_endian, &mut values);
            visit(Cell { index, dimensions: &header.dimensions, values: &values })?;
            stream.skip_to(end).map_err(place)?;
        }
        stream.finish().map_err(|e| self.problem(&variable.name, e))
    }

    /// What went wrong while `variable` was read: a failing disk, or content that cannot be.
    fn problem(&self, variable: &str, error: std::io::Error) -> Error {
        match error.kind() {
            // The second is what the decompressor says about bytes that it cannot have made.
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
                let place = if variable.is_empty() { "" } else { &format!("variable `{variable}`: ") };
                self.damaged(format!("{place}{error}"))
            }
            _ => Error::io(&self.path)(error),
        }
    }

    fn damaged(&self, problem: impl Into<String>) -> Error {
        Error::Matlab { path: self.path.clone(), problem: problem.into() }
    }

    /// What the first bytes of the file say that it is.
    fn level(&self, reader: &mut BufReader<File>) -> Result<Level, Error> {
        let mut head = [0u8; 128];
        let mut length = 0;
        while let Some(rest) = head.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match reader.read(rest).map_err(Error::io(&self.path))? {
                0 => break,
                read => length += read,
            }
        }
        // Files of the later levels begin with a text.
        if level4::begins(head.get(..length).unwrap_or_default()) {
            return Ok(Level::Four);
        }
        if length < head.len() {
            return Err(self.damaged(format!("the file ends early, after {length} bytes of its header")));
        }
        // The last four bytes: version 0x0100 and the letters MI, as 16-bit numbers of the writer.
        Ok(match head.last_chunk::<4>() {
            Some([0x00, 0x01, b'I', b'M']) => Level::Five { big_endian: false },
            Some([0x01, 0x00, b'M', b'I']) => Level::Five { big_endian: true },
            _ => Level::Later,
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

impl Variable {
    fn from_level4(listed: level4::Listed) -> Variable {
        let level4::Listed { name, dimensions, other, data, storage, big_endian } = listed;
        Variable {
            name,
            dimensions: dimensions.to_vec(),
            numeric: other.is_none(),
            cells: false,
            class: other.unwrap_or_default().to_owned(),
            place: Place::Plain { data, storage, big_endian },
        }
    }

    fn from_hdf5(listed: hdf5::Listed, base: u64) -> Variable {
        let hdf5::Listed { name, shape, other } = listed;
        let dimensions = shape.into_iter().rev().collect();
        let (numeric, class) = (other.is_none(), other.unwrap_or_default());
        Variable { name, dimensions, numeric, cells: false, class, place: Place::Hdf5(base) }
    }
}

#[cfg(test)]
mod tests;
