//! Data elements: tags, the header of a matrix, number formats.

use flate2::read::ZlibDecoder;
use std::{
    fmt,
    fs::File,
    io::{self, BufReader, ErrorKind, Read, Take},
};

const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Longest name and most axes that are accepted: a header must not make the reader allocate much.
const LONGEST_NAME: u32 = 1 << 12;
const MOST_AXES: u32 = 32;

/// Class of a MATLAB array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// Cells, each of which holds an array.
    pub(super) fn is_cell(self) -> bool {
        self.0 == 1
    }

    /// Double, single, and the eight integer classes.
    pub(super) fn is_numeric(self) -> bool {
        (6..=15).contains(&self.0)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "a cell array",
            2 => "a struct",
            3 => "an object",
            4 => "text",
            5 => "a sparse array",
            6..=15 => "a complex array",
            _ => "of an unknown class",
        })
    }
}

/// How the numbers of an array are stored; MATLAB may store a double array as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64,
}

impl Storage {
    fn from_code(code: u32) -> Option<Storage> {
        Some(match code {
            1 => Storage::I8,
            2 => Storage::U8,
            3 => Storage::I16,
            4 => Storage::U16,
            5 => Storage::I32,
            6 => Storage::U32,
            7 => Storage::F32,
            9 => Storage::F64,
            12 => Storage::I64,
            13 => Storage::U64,
            _ => return None,
        })
    }

    /// Bytes per number.
    pub(super) fn size(self) -> usize {
        match self {
            Storage::I8 | Storage::U8 => 1,
            Storage::I16 | Storage::U16 => 2,
            Storage::I32 | Storage::U32 | Storage::F32 => 4,
            Storage::F64 | Storage::I64 | Storage::U64 => 8,
        }
    }

    /// Replaces `values` by the numbers in `raw`.
    pub(super) fn decode(self, raw: &[u8], big_endian: bool, values: &mut Vec<f64>) {
        fn each<const N: usize>(
            raw: &[u8],
            big_endian: bool,
            values: &mut Vec<f64>,
            number: impl Fn([u8; N]) -> f64,
        ) {
            let (words, _) = raw.as_chunks::<N>();
            values.extend(words.iter().map(|&word| {
                let mut word = word;
                if big_endian {
                    word.reverse();
                }
                number(word)
            }));
        }
        values.clear();
        match self {
            Storage::I8 => each(raw, big_endian, values, |b| i8::from_le_bytes(b).into()),
            Storage::U8 => each(raw, big_endian, values, |b| u8::from_le_bytes(b).into()),
            Storage::I16 => each(raw, big_endian, values, |b| i16::from_le_bytes(b).into()),
            Storage::U16 => each(raw, big_endian, values, |b| u16::from_le_bytes(b).into()),
            Storage::I32 => each(raw, big_endian, values, |b| i32::from_le_bytes(b).into()),
            Storage::U32 => each(raw, big_endian, values, |b| u32::from_le_bytes(b).into()),
            Storage::F32 => each(raw, big_endian, values, |b| f32::from_le_bytes(b).into()),
            Storage::F64 => each(raw, big_endian, values, f64::from_le_bytes),
            Storage::I64 => each(raw, big_endian, values, |b| i64::from_le_bytes(b) as f64),
            Storage::U64 => each(raw, big_endian, values, |b| u64::from_le_bytes(b) as f64),
        }
    }
}

/// What a matrix says about itself before its numbers.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) dimensions: Vec<usize>,
    pub(super) class: Class,
    pub(super) complex: bool,
}

/// The content of a top-level element.
#[derive(Debug)]
enum Source<'r> {
    Plain(Take<&'r mut BufReader<File>>),
    Compressed(Box<ZlibDecoder<Take<&'r mut BufReader<File>>>>),
}

/// A top-level element, decompressed on the way.
#[derive(Debug)]
pub(super) struct Stream<'r> {
    source: Source<'r>,
    big_endian: bool,
    /// Whether the element is a matrix.
    matrix: bool,
    next_offset: u64,
    /// Bytes read so far, after decompression.
    position: u64,
}

fn invalid(problem: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, problem.into())
}

impl<'r> Stream<'r> {
    /// `reader` stands at `offset` of a file of `bytes` bytes.
    pub(super) fn open(
        reader: &'r mut BufReader<File>,
        offset: u64,
        bytes: u64,
        big_endian: bool,
    ) -> io::Result<Stream<'r>> {
        let code = word(reader, big_endian).map_err(early)?;
        let length = word(reader, big_endian).map_err(early)?;
        let content = offset + 8;
        let end = content.saturating_add(length.into());
        if code > 0xffff {
            return Err(invalid("a small element where a variable is expected"));
        }
        if end > bytes {
            return Err(invalid(format!(
                "the file ends early: the element needs {length} bytes, {} are left",
                bytes.saturating_sub(content)
            )));
        }
        let source = reader.take(length.into());
        let stream = if code == COMPRESSED {
            let mut stream = Stream {
                source: Source::Compressed(Box::new(ZlibDecoder::new(source))),
                big_endian,
                matrix: false,
                // Compressed elements are not padded.
                next_offset: end,
                position: 0,
            };
            stream.matrix = stream.word()? == MATRIX;
            stream.word()?;
            stream
        } else {
            let next_offset = end.next_multiple_of(8);
            let matrix = code == MATRIX;
            Stream { source: Source::Plain(source), big_endian, matrix, next_offset, position: 0 }
        };
        Ok(stream)
    }

    /// Where the next element begins in the file.
    pub(super) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Bytes read so far, after decompression.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Flags, dimensions and name; `None` if the element is not a matrix.
    pub(super) fn matrix_header(&mut self) -> io::Result<Option<Header>> {
        if self.matrix { self.header().map(Some) } else { Ok(None) }
    }

    /// Begins the next cell of a cell array: its header and where it ends, `None` for an empty cell
    /// without any. At most `most` bytes may belong to it.
    pub(super) fn cell(&mut self, most: u64) -> io::Result<Option<(Header, u64)>> {
        let (code, length, small) = self.tag()?;
        if code != MATRIX || small {
            return Err(invalid(format!("an element of type {code} where a cell is expected")));
        }
        if u64::from(length) > most {
            return Err(invalid(format!("a cell of {length} bytes, from a file that may unpack to {most}")));
        }
        if length == 0 {
            return Ok(None);
        }
        let end = self.position + u64::from(length);
        let header = self.header()?;
        Ok(Some((header, end)))
    }

    /// Skips what is left before `end`, such as padding.
    pub(super) fn skip_to(&mut self, end: u64) -> io::Result<()> {
        let mut left = end
            .checked_sub(self.position)
            .ok_or_else(|| invalid("a cell with more content than it announces"))?;
        let mut buffer = [0; 512];
        while left > 0 {
            let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            self.read_exact(buffer.get_mut(..length).unwrap_or_default())?;
            left -= length as u64;
        }
        Ok(())
    }

    fn header(&mut self) -> io::Result<Header> {
        let flags = self.sub_element(8)?;
        let flags = flags.first_chunk::<4>().ok_or_else(|| invalid("a matrix without flags"))?;
        let flags = if self.big_endian { u32::from_be_bytes(*flags) } else { u32::from_le_bytes(*flags) };
        let dimensions = self.sub_element(4 * MOST_AXES)?;
        let mut lengths = vec![];
        Storage::I32.decode(&dimensions, self.big_endian, &mut lengths);
        if lengths.iter().any(|&length| length < 0.0) {
            return Err(invalid("an axis of negative length"));
        }
        let dimensions = lengths.iter().map(|&length| length as usize).collect();
        let name = String::from_utf8_lossy(&self.sub_element(LONGEST_NAME)?).into_owned();
        let class = Class((flags & 0xff) as u8);
        Ok(Header { name, dimensions, class, complex: flags & 0x0800 != 0 })
    }

    /// The tag of the real part, which must hold `total` numbers; the numbers follow.
    pub(super) fn data_header(&mut self, total: usize) -> io::Result<Storage> {
        let (code, length, small) = self.tag()?;
        let storage = Storage::from_code(code).ok_or_else(|| invalid(format!("number format {code}")))?;
        if total.checked_mul(storage.size()) != usize::try_from(length).ok() {
            return Err(invalid(format!("{total} numbers are announced, {length} bytes follow")));
        }
        if small && length > 4 {
            return Err(invalid("a small element of more than 4 bytes"));
        }
        Ok(storage)
    }

    /// Fills `buffer`.
    pub(super) fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.position += buffer.len() as u64;
        match &mut self.source {
            Source::Plain(source) => source.read_exact(buffer),
            Source::Compressed(source) => source.read_exact(buffer),
        }
        .map_err(early)
    }

    /// Reads what is left, which lets the decompressor compare the checksum.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Source::Compressed(source) = &mut self.source else { return Ok(()) };
        // A matrix ends with its padding; more than that is not worth the time.
        io::copy(&mut source.take(64), &mut io::sink()).map_err(early)?;
        Ok(())
    }

    fn word(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read_exact(&mut bytes)?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// Number format, length in bytes, and whether the content is inside the tag.
    fn tag(&mut self) -> io::Result<(u32, u32, bool)> {
        let code = self.word()?;
        match code >> 16 {
            0 => Ok((code, self.word()?, false)),
            length => Ok((code & 0xffff, length, true)),
        }
    }

    /// The content of a part of the matrix header, its padding skipped.
    fn sub_element(&mut self, longest: u32) -> io::Result<Vec<u8>> {
        let (_, length, small) = self.tag()?;
        if length > if small { 4 } else { longest } {
            return Err(invalid(format!("a part of a matrix header of {length} bytes")));
        }
        let mut content = vec![0; length as usize];
        self.read_exact(&mut content)?;
        let padded = if small { 4 } else { length.next_multiple_of(8) };
        let mut padding = [0; 8];
        let padding = padding.get_mut(..(padded - length) as usize).unwrap_or_default();
        self.read_exact(padding)?;
        Ok(content)
    }
}

fn word(reader: &mut impl Read, big_endian: bool) -> io::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    Ok(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

/// "Failed to fill whole buffer" says little to somebody with half a download.
fn early(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => invalid("the data ends early"),
        _ => error,
    }
}
