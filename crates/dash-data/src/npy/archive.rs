//! `.npz`: a zip archive of `.npy` members, stored or deflated. Nothing is unpacked to disk.

use super::{
    Location, NpyArray,
    header::Header,
    most_bytes, objects,
    source::{Deflated, Source},
};
use crate::{
    Error,
    pickle::Pickle,
    zipped::{Member, Problem, Zipped},
};
use std::{fs::File, path::Path};

/// What numpy adds to the name of an array.
const SUFFIX: &str = ".npy";

/// The directory of an archive.
#[derive(Debug)]
pub struct Archive {
    zipped: Zipped,
}

impl Archive {
    /// Reads the directory of an archive; members that are no arrays are left aside.
    ///
    /// # Errors
    /// If the file cannot be read, is no archive, or has a member that cannot be what numpy wrote.
    pub fn open(path: &Path) -> Result<Archive, Error> {
        let zipped = Zipped::open(path).map_err(|problem| Location::file(path).zipped(problem))?;
        Ok(Archive { zipped })
    }

    /// Names of the arrays, in the order of the archive.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.zipped.members().iter().filter_map(|member| member.name.strip_suffix(SUFFIX))
    }

    /// Opens an array of numbers after comparing its size with its header and its bytes with their
    /// checksum.
    ///
    /// # Errors
    /// If there is no such array, it is damaged, or does not hold numbers.
    pub fn array(&self, name: &str) -> Result<NpyArray, Error> {
        self.numbers_or_text(name)?.numeric()
    }

    /// Opens an array of numbers or of text ([`Array::texts`]), as [`Archive::array`] does.
    ///
    /// # Errors
    /// If there is no such array, it is damaged, or holds objects.
    pub fn numbers_or_text(&self, name: &str) -> Result<NpyArray, Error> {
        let (member, at) = self.find(name)?;
        let header = {
            let mut reader = self.zipped.reader(member).map_err(|problem| at.zipped(problem))?;
            Header::read(&mut reader).map_err(|e| at.header(e))?
        };
        let found = member.size.saturating_sub(header.start as u64);
        // What is announced must fit before anything of that size is read.
        let mut array = NpyArray::new(at, header, Source::Memory(bytes::Bytes::new()), found)?;
        let start = array.header.start as u64;
        let at_once = if array.header.fortran && array.header.shape.len() > 1 {
            found
        } else {
            (array.row_len() as u64).saturating_mul(array.dtype().size() as u64)
        };
        if member.deflated && at_once > most_bytes(self.zipped.length()) {
            return Err(array.at.damaged(format!(
                "{at_once} bytes must be unpacked at once, from an archive of {}; save it with numpy.savez",
                self.zipped.length()
            )));
        }
        array.source = if !member.deflated {
            self.verify(member, &array.at, None)?;
            let path = self.zipped.path();
            let file = File::open(path).map_err(Error::io(path))?;
            Source::File { file, start: member.start + start }
        } else if at_once == found {
            let mut bytes = vec![];
            self.verify(member, &array.at, Some(&mut bytes))?;
            Source::Memory(bytes::Bytes::from(bytes).slice(array.header.start..))
        } else {
            self.verify(member, &array.at, None)?;
            let deflated = Deflated::new(self.zipped.path().to_owned(), member.start, member.compressed);
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
        if member.size > most_bytes(self.zipped.length()) {
            let problem =
                format!("unpacks to {} bytes, the archive has {}", member.size, self.zipped.length());
            return Err(at.damaged(problem));
        }
        let mut bytes = vec![];
        self.verify(member, &at, Some(&mut bytes))?;
        objects(bytes.into(), at)
    }

    fn find(&self, name: &str) -> Result<(&Member, Location), Error> {
        let path = self.zipped.path().to_owned();
        if let Some(member) = self.zipped.find(&format!("{name}{SUFFIX}")) {
            return Ok((member, Location { path, member: Some(name.to_owned()) }));
        }
        let names = self.names().take(10).map(|name| format!("`{name}`")).collect::<Vec<_>>();
        let found = if names.is_empty() { "no arrays".to_owned() } else { names.join(", ") };
        Err(Error::MissingField { path, field: name.to_owned(), found })
    }

    /// Compares a member with its length and checksum, and keeps its bytes if asked to.
    fn verify(&self, member: &Member, at: &Location, keep: Option<&mut Vec<u8>>) -> Result<(), Error> {
        self.zipped.verify(member, keep).map_err(|problem| at.zipped(problem))
    }
}

impl Location {
    fn zipped(&self, problem: Problem) -> Error {
        match problem {
            Problem::Io(source) => Error::Io { path: self.path.clone(), source },
            Problem::Damaged(problem) => self.damaged(problem),
        }
    }
}
