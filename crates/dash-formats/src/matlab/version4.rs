//! Reads MAT-files of version 4: arrays one after the other, each a header of 20 bytes, its name and its numbers.
//!
//! Layout: "MAT-File Format", The MathWorks, chapter "Level 4". Such a file has no signature: the first
//! header says itself, in both byte orders alike, how its numbers are stored.

use super::element::Storage;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

/// Bytes of a header.
const HEADER: u64 = 20;

/// Longest name that is accepted.
const LONGEST_NAME: u32 = 1 << 12;

/// An array of the file.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) dimensions: [usize; 2],
    /// What it is if it is not a real array of numbers.
    pub(super) other: Option<&'static str>,
    /// Where its numbers begin in the file.
    pub(super) data: u64,
    pub(super) storage: Storage,
    pub(super) big_endian: bool,
}

/// What the first number of a header says: byte order, number format, and kind of the array.
fn kind(word: [u8; 4]) -> Option<(bool, Storage, u32)> {
    [false, true].into_iter().find_map(|big_endian| {
        let code = number(word, big_endian);
        // Four decimal digits: machine, always 0, format, kind.
        let [machine, zero, format, kind] = [code / 1000, code / 100 % 10, code / 10 % 10, code % 10];
        let storage = match format {
            0 => Storage::F64,
            1 => Storage::F32,
            2 => Storage::I32,
            3 => Storage::I16,
            4 => Storage::U16,
            5 => Storage::U8,
            _ => return None,
        };
        (machine == u32::from(big_endian) && zero == 0 && kind <= 2).then_some((big_endian, storage, kind))
    })
}

fn number(word: [u8; 4], big_endian: bool) -> u32 {
    if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

/// Whether a file that begins with these bytes can be of version 4: the first array has a kind and a name.
pub(super) fn begins(head: &[u8]) -> bool {
    let (words, _) = head.as_chunks::<4>();
    let Some((big_endian, ..)) = words.first().and_then(|word| kind(*word)) else { return false };
    let name = words.get(4).map_or(1, |word| number(*word, big_endian));
    (1..=LONGEST_NAME).contains(&name)
}

fn invalid(problem: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, problem.into())
}

/// The arrays of a file of `bytes` bytes. Errors say at which byte of the file.
pub(super) fn list(reader: &mut (impl Read + Seek), bytes: u64) -> io::Result<Vec<Listed>> {
    let mut found = vec![];
    let mut offset = 0;
    while offset < bytes {
        let place = |problem: String| invalid(format!("array at byte {offset} of the file: {problem}"));
        let (listed, end) = header(reader, offset).map_err(|e| match e.kind() {
            ErrorKind::InvalidData => place(e.to_string()),
            ErrorKind::UnexpectedEof => place("the data ends early".to_owned()),
            _ => e,
        })?;
        match end {
            Some(end) if end <= bytes => offset = end,
            _ => {
                let [rows, columns] = listed.dimensions;
                return Err(place(format!(
                    "the file ends early: `{}` of {rows} by {columns} numbers begins at byte {}, the file has {bytes}",
                    listed.name, listed.data
                )));
            }
        }
        found.push(listed);
    }
    Ok(found)
}

/// The header at `offset`, and where its numbers end, if that is a position in a file.
fn header(reader: &mut (impl Read + Seek), offset: u64) -> io::Result<(Listed, Option<u64>)> {
    reader.seek(SeekFrom::Start(offset))?;
    let mut words = [[0u8; 4]; 5];
    reader.read_exact(words.as_flattened_mut())?;
    let [first, rest @ ..] = words;
    let (big_endian, storage, kind) =
        kind(first).ok_or_else(|| invalid("this is not a header of version 4"))?;
    let [rows, columns, imaginary, name_length] = rest.map(|word| number(word, big_endian));
    // Lengths are signed numbers.
    if rows > i32::MAX as u32 || columns > i32::MAX as u32 || imaginary > 1 {
        return Err(invalid("a header with impossible dimensions"));
    }
    if name_length == 0 || name_length > LONGEST_NAME {
        return Err(invalid(format!("a name of {name_length} bytes")));
    }
    let mut name = vec![0; name_length as usize];
    reader.read_exact(&mut name)?;
    let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(&name)).into_owned();
    let data = offset + HEADER + u64::from(name_length);
    let numbers = u64::from(rows) * u64::from(columns);
    let parts = storage.size() as u64 * (1 + u64::from(imaginary));
    let end = numbers.checked_mul(parts).and_then(|length| data.checked_add(length));
    let other = match kind {
        1 => Some("text"),
        2 => Some("a sparse array"),
        _ if imaginary == 1 => Some("a complex array"),
        _ => None,
    };
    let dimensions = [rows as usize, columns as usize];
    Ok((Listed { name, dimensions, other, data, storage, big_endian }, end))
}
