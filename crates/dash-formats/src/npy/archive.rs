//! Reads `.npz`: a zip archive of `.npy` members, stored or deflated. Nothing is unpacked to disk.

use super::{
    array::{NpyArray, objects},
    header::Header,
    location::Location,
    source::{Deflated, Source},
};
use crate::{
    Error,
    limits::unpack_limit,
    pickle::Pickle,
    zip::{ZipFile, ZipMember},
};
use std::{fs::File, path::Path};

/// What numpy adds to the name of an array.
const SUFFIX: &str = ".npy";

/// The directory of an archive.
#[derive(Debug)]
pub struct NpzArchive {
    zip: ZipFile,
}

impl NpzArchive {
    /// Reads the directory of an archive; members that are not arrays are skipped.
    ///
    /// # Errors
    /// If the file cannot be read, is not an archive, or has a member that cannot be what numpy wrote.
    pub fn open(path: &Path) -> Result<NpzArchive, Error> {
        let zip = ZipFile::read_directory(path).map_err(|problem| Location::file(path).zip(problem))?;
        Ok(NpzArchive { zip })
    }

    /// Names of the arrays, in the order of the archive.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.zip.members().iter().filter_map(|member| member.name.strip_suffix(SUFFIX))
    }

    /// Opens an array of numbers after comparing its size with its header and its bytes with their
    /// checksum.
    ///
    /// # Errors
    /// If there is no such array, it is damaged, or does not hold numbers.
    pub fn array(&self, name: &str) -> Result<NpyArray, Error> {
        self.numbers_or_text(name)?.numeric()
    }

    /// Opens an array of numbers or of text ([`NpyArray::texts`]), as [`NpzArchive::array`] does.
    ///
    /// # Errors
    /// If there is no such array, it is damaged, or holds objects.
    pub fn numbers_or_text(&self, name: &str) -> Result<NpyArray, Error> {
        let (member, at) = self.find(name)?;
        let header = {
            let mut reader = self.zip.reader(member).map_err(|problem| at.zip(problem))?;
            Header::read(&mut reader).map_err(|e| at.header(e))?
        };
        let found = member.size.saturating_sub(header.start as u64);
        // The announced size is checked before anything of that size is read.
        let mut array = NpyArray::new(at, header, Source::Memory(bytes::Bytes::new()), found)?;
        let start = array.header.start as u64;
        let at_once = if array.header.fortran && array.header.shape.len() > 1 {
            found
        } else {
            (array.row_len() as u64).saturating_mul(array.dtype().size() as u64)
        };
        if member.deflated && at_once > unpack_limit(self.zip.length()) {
            return Err(array.at.damaged(format!(
                "{at_once} bytes must be unpacked at once, from an archive of {}; save it with numpy.savez",
                self.zip.length()
            )));
        }
        array.source = if !member.deflated {
            self.verify(member, &array.at, None)?;
            let path = self.zip.path();
            let file = File::open(path).map_err(Error::io(path))?;
            Source::File { file, start: member.start + start }
        } else if at_once == found {
            let mut bytes = vec![];
            self.verify(member, &array.at, Some(&mut bytes))?;
            Source::Memory(bytes::Bytes::from(bytes).slice(array.header.start..))
        } else {
            self.verify(member, &array.at, None)?;
            let deflated = Deflated::new(self.zip.path().to_owned(), member.start, member.compressed);
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
        if member.size > unpack_limit(self.zip.length()) {
            let problem = format!("unpacks to {} bytes, the archive has {}", member.size, self.zip.length());
            return Err(at.damaged(problem));
        }
        let mut bytes = vec![];
        self.verify(member, &at, Some(&mut bytes))?;
        objects(bytes.into(), at)
    }

    fn find(&self, name: &str) -> Result<(&ZipMember, Location), Error> {
        let path = self.zip.path().to_owned();
        if let Some(member) = self.zip.find(&format!("{name}{SUFFIX}")) {
            return Ok((member, Location { path, member: Some(name.to_owned()) }));
        }
        let names = self.names().take(10).map(|name| format!("`{name}`")).collect::<Vec<_>>();
        let found = if names.is_empty() { "no arrays".to_owned() } else { names.join(", ") };
        Err(Error::MissingField { path, field: name.to_owned(), found })
    }

    /// Compares a member with its length and checksum, and keeps its bytes if asked to.
    fn verify(&self, member: &ZipMember, at: &Location, keep: Option<&mut Vec<u8>>) -> Result<(), Error> {
        self.zip.verify(member, keep).map_err(|problem| at.zip(problem))
    }
}
