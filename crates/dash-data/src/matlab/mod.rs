//! A streaming reader of MATLAB level 5 files: numeric arrays and cell arrays of them, compressed or
//! not, of either byte order.
//!
//! An array is delivered in pieces of bounded size in the order of the file, which is column-major:
//! the first index varies fastest. So a part of an array that is larger than memory can be taken.
//! Layout: "MAT-File Format", The MathWorks, chapter "Level 5".

mod element;

use crate::{Error, npy::most_bytes};
use element::{Class, Header, Stream};
use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Values per piece at most.
const PIECE: usize = 1 << 15;

/// An open MATLAB file and the variables in it.
#[derive(Debug)]
pub struct MatFile {
    path: PathBuf,
    big_endian: bool,
    variables: Vec<Variable>,
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
    /// What it is, for messages.
    class: Class,
    /// Where its element begins in the file.
    offset: u64,
}

/// Consecutive values of one column of an array.
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
        mat.big_endian = mat.file_header(&mut reader)?;
        let mut offset = 128;
        while offset < bytes {
            let (header, next) = mat.header(&mut reader, offset, bytes)?;
            if let Some(Header { name, dimensions, class, complex }) = header {
                let numeric = class.is_numeric() && !complex;
                mat.variables.push(Variable { name, dimensions, numeric, class, offset });
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
        if variable.class.is_cell() {
            return Ok(variable);
        }
        let found = match variable.numeric {
            true => "a numeric array".to_owned(),
            false => variable.class.to_string(),
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

    /// Streams the values of `variable` in the order of the file. `visit` gets each piece once.
    pub fn visit(
        &self,
        variable: &Variable,
        mut visit: impl FnMut(Piece<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let bytes = file.metadata().map_err(Error::io(&self.path))?.len();
        let mut reader = BufReader::with_capacity(1 << 17, file);
        let mut stream = self.stream(&mut reader, variable.offset, bytes)?;
        let problem = |e: std::io::Error| self.damaged(format!("variable `{}`: {e}", variable.name));
        let header = stream.matrix_header().map_err(problem)?;
        if header.is_none_or(|header| header.dimensions != variable.dimensions) {
            return Err(self.damaged("the file changed while it was read"));
        }
        let total = variable.dimensions.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
        let total = total.ok_or_else(|| self.damaged("an array with impossibly many elements"))?;
        let storage = stream.data_header(total).map_err(problem)?;
        let rows = variable.dimensions.first().copied().unwrap_or(1);
        let mut raw = vec![];
        let mut values = vec![];
        let mut done = 0;
        while done < total {
            let (column, first) = (done / rows, done % rows);
            let length = (rows - first).min(PIECE);
            raw.resize(length * storage.size(), 0);
            stream.read_exact(&mut raw).map_err(problem)?;
            storage.decode(&raw, self.big_endian, &mut values);
            visit(Piece { column, first, values: &values })?;
            done += length;
        }
        stream.finish().map_err(problem)
    }

    /// Hands the cells of a cell array to `visit`, one in memory at a time. What all of them unpack to is
    /// limited as for other packed files.
    pub fn visit_cells(
        &self,
        variable: &Variable,
        mut visit: impl FnMut(Cell<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let bytes = file.metadata().map_err(Error::io(&self.path))?.len();
        let most = most_bytes(bytes);
        let mut reader = BufReader::with_capacity(1 << 17, file);
        let mut stream = self.stream(&mut reader, variable.offset, bytes)?;
        let problem = |e: std::io::Error| self.damaged(format!("variable `{}`: {e}", variable.name));
        let header = stream.matrix_header().map_err(problem)?;
        if header.is_none_or(|header| header.dimensions != variable.dimensions) {
            return Err(self.damaged("the file changed while it was read"));
        }
        let total = variable.dimensions.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
        let total = total.ok_or_else(|| self.damaged("a cell array with impossibly many cells"))?;
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
        stream.finish().map_err(problem)
    }

    fn damaged(&self, problem: impl Into<String>) -> Error {
        Error::Matlab { path: self.path.clone(), problem: problem.into() }
    }

    /// Checks the 128 bytes that a file begins with; whether numbers are big-endian.
    fn file_header(&self, reader: &mut BufReader<File>) -> Result<bool, Error> {
        let mut head = [0u8; 128];
        let mut length = 0;
        while let Some(rest) = head.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match reader.read(rest).map_err(Error::io(&self.path))? {
                0 => break,
                read => length += read,
            }
        }
        if head.starts_with(b"MATLAB 7.3") || head.starts_with(b"\x89HDF\r\n\x1a\n") {
            return Err(Error::Unsupported {
                path: self.path.clone(),
                kind: "a MATLAB 7.3 (HDF5) file; reading those comes later",
                instead: "save it as level 5: `save(name, ..., '-v7')` in MATLAB, `scipy.io.savemat` in Python",
            });
        }
        if length < head.len() {
            return Err(self.damaged(format!("the file ends early, after {length} bytes of its header")));
        }
        // The last four bytes: version 0x0100 and the letters MI, as 16-bit numbers of the writer.
        match head.last_chunk::<4>() {
            Some([0x00, 0x01, b'I', b'M']) => Ok(false),
            Some([0x01, 0x00, b'M', b'I']) => Ok(true),
            _ => Err(self.damaged("this is no MATLAB level 5 file")),
        }
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

#[cfg(test)]
mod tests;
