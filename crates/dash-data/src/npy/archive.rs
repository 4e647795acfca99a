//! `.npz`: a zip archive of `.npy` members, stored or deflated. Nothing is unpacked to disk.

use super::{
    Array, Location,
    header::Header,
    most_bytes, objects,
    source::{Deflated, Source},
};
use crate::{Error, pickle::Pickle};
use flate2::Crc;
use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};
use zip::{CompressionMethod, ZipArchive, result::ZipError};

/// The directory of an archive.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    length: u64,
    members: Vec<Member>,
}

/// Where a member is and what the directory says about it.
#[derive(Clone, Debug)]
struct Member {
    /// Name of the array: that of the member without `.npy`.
    name: String,
    start: u64,
    compressed: u64,
    size: u64,
    crc: u32,
    deflated: bool,
}

impl Archive {
    /// Reads the directory of an archive; members that are no arrays are left aside.
    ///
    /// # Errors
    /// If the file cannot be read, is no archive, or has a member that cannot be what numpy wrote.
    pub fn open(path: &Path) -> Result<Archive, Error> {
        let at = Location::file(path);
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let wrong = |error: ZipError| match error {
            ZipError::Io(source) if source.kind() != io::ErrorKind::UnexpectedEof => at.io(source),
            other => at.damaged(format!("this is no complete zip archive: {other}")),
        };
        let mut zip = ZipArchive::new(BufReader::new(file)).map_err(wrong)?;
        let mut members = vec![];
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index).map_err(wrong)?;
            let name = entry.name().map_err(wrong)?.into_owned();
            // The name leads to no path here, but nothing that numpy wrote looks like this.
            if name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|part| part == "..") {
                return Err(at.damaged(format!("member {name:?} points out of the archive")));
            }
            let Some(name) = name.strip_suffix(".npy") else { continue };
            let member = Location { member: Some(name.to_owned()), ..at.clone() };
            let deflated = match entry.compression() {
                CompressionMethod::Stored => false,
                method if method == CompressionMethod::DEFLATE => true,
                method => {
                    let problem =
                        format!("is compressed as {method:?}; stored and deflated members are read");
                    return Err(member.damaged(problem));
                }
            };
            let (compressed, size) = (entry.compressed_size(), entry.size());
            let start = entry.data_start().filter(|start| {
                start.checked_add(compressed).is_some_and(|end| end <= length)
                    && (deflated || compressed == size)
            });
            let start = start.ok_or_else(|| member.damaged("its bytes are not inside the archive"))?;
            if entry.encrypted() {
                return Err(member.damaged("is encrypted"));
            }
            let crc = entry.crc32();
            members.push(Member { name: name.to_owned(), start, compressed, size, crc, deflated });
        }
        Ok(Archive { path: path.to_owned(), length, members })
    }

    /// Names of the arrays, in the order of the archive.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.members.iter().map(|member| member.name.as_str())
    }

    /// Opens an array of numbers after comparing its size with its header and its bytes with their
    /// checksum.
    ///
    /// # Errors
    /// If there is no such array, it is damaged, or does not hold numbers.
    pub fn array(&self, name: &str) -> Result<Array, Error> {
        self.numbers_or_text(name)?.numeric()
    }

    /// Opens an array of numbers or of text ([`Array::texts`]), as [`Archive::array`] does.
    ///
    /// # Errors
    /// If there is no such array, it is damaged, or holds objects.
    pub fn numbers_or_text(&self, name: &str) -> Result<Array, Error> {
        let (member, at) = self.find(name)?;
        let header = {
            let mut reader = self.reader(member).map_err(|e| at.io(e))?;
            Header::read(&mut reader).map_err(|e| at.header(e))?
        };
        let found = member.size.saturating_sub(header.start as u64);
        // What is announced must fit before anything of that size is read.
        let mut array = Array::new(at, header, Source::Memory(bytes::Bytes::new()), found)?;
        let start = array.header.start as u64;
        let at_once = if array.header.fortran && array.header.shape.len() > 1 {
            found
        } else {
            (array.row_len() as u64).saturating_mul(array.dtype().size() as u64)
        };
        if member.deflated && at_once > most_bytes(self.length) {
            return Err(array.at.damaged(format!(
                "{at_once} bytes must be unpacked at once, from an archive of {}; save it with numpy.savez",
                self.length
            )));
        }
        array.source = if !member.deflated {
            self.verify(member, &array.at, None)?;
            let file = File::open(&self.path).map_err(Error::io(&self.path))?;
            Source::File { file, start: member.start + start }
        } else if at_once == found {
            let mut bytes = vec![];
            self.verify(member, &array.at, Some(&mut bytes))?;
            Source::Memory(bytes::Bytes::from(bytes).slice(array.header.start..))
        } else {
            self.verify(member, &array.at, None)?;
            let deflated = Deflated::new(self.path.clone(), member.start, member.compressed);
            Source::Deflated(Box::new(deflated.after(start)))
        };
        Ok(array)
    }

    /// The objects of an object array.
    ///
    /// # Errors
    /// If there is no such array, it is damaged, or does not hold objects.
    pub fn object(&self, name: &str) -> Result<Pickle, Error> {
        let (member, at) = self.find(name)?;
        if member.size > most_bytes(self.length) {
            let problem = format!("unpacks to {} bytes, the archive has {}", member.size, self.length);
            return Err(at.damaged(problem));
        }
        let mut bytes = vec![];
        self.verify(member, &at, Some(&mut bytes))?;
        objects(bytes.into(), at)
    }

    fn find(&self, name: &str) -> Result<(&Member, Location), Error> {
        let location = Location { path: self.path.clone(), member: Some(name.to_owned()) };
        match self.members.iter().find(|member| member.name == name) {
            Some(member) => Ok((member, location)),
            None => Err(Error::MissingField {
                path: self.path.clone(),
                field: name.to_owned(),
                found: if self.members.is_empty() {
                    "no arrays".to_owned()
                } else {
                    self.names().take(10).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                },
            }),
        }
    }

    /// The bytes of a member.
    fn reader(&self, member: &Member) -> io::Result<Box<dyn Read>> {
        if member.deflated {
            let deflated = Deflated::new(self.path.clone(), member.start, member.compressed);
            return Ok(Box::new(deflated.inflate()?));
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(member.start))?;
        Ok(Box::new(BufReader::new(file.take(member.size))))
    }

    /// Reads a member once in blocks, compares length and checksum, and keeps the bytes if asked to.
    fn verify(&self, member: &Member, at: &Location, mut keep: Option<&mut Vec<u8>>) -> Result<(), Error> {
        let reader = self.reader(member).map_err(|e| at.io(e))?;
        // One byte more than announced tells a longer member apart.
        let mut reader = reader.take(member.size.saturating_add(1));
        let (mut crc, mut length) = (Crc::new(), 0u64);
        let mut block = vec![0u8; 1 << 18];
        loop {
            let read = match reader.read(&mut block) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(at.io(e)),
            };
            let bytes = block.get(..read).unwrap_or_default();
            crc.update(bytes);
            length += read as u64;
            if let Some(kept) = &mut keep {
                kept.extend_from_slice(bytes);
            }
        }
        if length != member.size {
            let more = if length > member.size { "more" } else { "less" };
            return Err(at.damaged(format!("{} bytes are announced, there are {more}", member.size)));
        }
        if crc.sum() != member.crc {
            return Err(at.damaged("its checksum is not that of its bytes"));
        }
        Ok(())
    }
}
