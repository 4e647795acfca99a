//! Reads gzip files, and tar archives, gzipped or not. Nothing is unpacked to disk.

use crate::{Error, FileFormat, limits::unpack_limit};
use flate2::read::MultiGzDecoder;
use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

/// Whether a file begins like a gzip file.
fn is_gzip(path: &Path) -> Result<bool, Error> {
    let mut magic = [0u8; 2];
    let mut file = File::open(path).map_err(Error::io(path))?;
    match file.read_exact(&mut magic) {
        Ok(()) => Ok(magic == [0x1f, 0x8b]),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(Error::io(path)(e)),
    }
}

/// A reader that fails where a decompression bomb would exceed the limit.
struct Limited<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let problem = format!("it unpacks to more than {} bytes", self.limit);
            io::Error::new(io::ErrorKind::InvalidData, problem)
        })?;
        Ok(read)
    }
}

/// The contents of a file, unpacked if it is a gzip file.
fn reader(path: &Path) -> Result<Limited<Box<dyn Read>>, Error> {
    let packed = is_gzip(path)?;
    let file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let length = file.get_ref().metadata().map_err(Error::io(path))?.len();
    let limit = if packed { unpack_limit(length) } else { length };
    let inner: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    Ok(Limited { inner, left: limit, limit })
}

fn problem(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::invalid(FileFormat::Archive, &path, "the file ends early"),
        // Decompressors and archive readers report invalid streams with these kinds.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other => {
            Error::invalid(FileFormat::Archive, &path, source.to_string())
        }
        _ => Error::Io { path: path.clone(), source },
    }
}

/// The bytes of a file, unpacked if it is a gzip file.
///
/// # Errors
/// If the file cannot be read, is damaged, or unpacks to far more than its size.
pub fn contents(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![];
    reader(path)?.read_to_end(&mut bytes).map_err(problem(path))?;
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// The files of a tar archive (gzipped or not) with the names `wanted`, in any folder of it, in the order of the
/// names.
///
/// # Errors
/// If the file cannot be read, is damaged, has a member that points out of the archive, or does not have exactly
/// one member of each name.
pub fn members(path: &Path, wanted: &[&str]) -> Result<Vec<Vec<u8>>, Error> {
    let damaged = |problem: String| Error::invalid(FileFormat::Archive, path, problem);
    let mut archive = tar::Archive::new(reader(path)?);
    let mut found = vec![None; wanted.len()];
    for entry in archive.entries().map_err(problem(path))? {
        let mut entry = entry.map_err(problem(path))?;
        let name = entry.path().map_err(problem(path))?.into_owned();
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if !name.components().all(plain) {
            return Err(damaged(format!(
                "member {:?} points out of the archive",
                name.display().to_string()
            )));
        }
        let at = wanted.iter().position(|&wanted| name.file_name().is_some_and(|name| name == wanted));
        let Some(slot) = at.and_then(|at| found.get_mut(at)) else { continue };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut bytes: Vec<u8> = vec![];
        entry.read_to_end(&mut bytes).map_err(problem(path))?;
        if bytes.len() as u64 != entry.size() {
            return Err(damaged("the file ends early".to_owned()));
        }
        if slot.replace(bytes).is_some() {
            return Err(damaged(format!("there are several members {:?}", name.display().to_string())));
        }
    }
    // Past the archive's end, where the checksum of a gzip file is.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(problem(path))?;
    let missing = |name: &str| damaged(format!("there is no member `{name}`"));
    found.into_iter().zip(wanted).map(|(bytes, name)| bytes.ok_or_else(|| missing(name))).collect()
}

/// A tar archive without compression, whose members are read in place.
#[derive(Debug)]
pub struct TarFile {
    path: PathBuf,
    file: File,
}

/// The bytes of a member of a [`TarFile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TarMember {
    start: u64,
    length: u64,
}

impl TarFile {
    /// Opens an archive and lists the members for which `key` returns a value; it gets the parts of their paths. A
    /// member whose path points out of the archive, or a listed one that is a link, means that the archive cannot
    /// be trusted, even though nothing is unpacked.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or has such a member.
    pub fn open<K>(
        path: &Path,
        key: impl Fn(&[&str]) -> Option<K>,
    ) -> Result<(TarFile, Vec<(K, TarMember)>), Error> {
        let invalid = |problem: String| Error::invalid(FileFormat::Archive, path, problem);
        let damaged = |error: io::Error| match error.kind() {
            io::ErrorKind::Other
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput => invalid(format!("is not a complete tar archive: {error}")),
            _ => Error::io(path)(error),
        };
        let file = File::open(path).map_err(Error::io(path))?;
        let size = file.metadata().map_err(Error::io(path))?.len();
        let mut archive = tar::Archive::new(file);
        let mut found = vec![];
        for entry in archive.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            let name = entry.path().map_err(damaged)?;
            let mut parts = vec![];
            for component in name.components() {
                match component {
                    Component::CurDir => {}
                    Component::Normal(part) => parts.extend(part.to_str()),
                    _ => {
                        return Err(invalid(format!(
                            "member `{}` points out of the archive",
                            name.display()
                        )));
                    }
                }
            }
            let Some(key) = key(&parts) else { continue };
            if !entry.header().entry_type().is_file() {
                return Err(invalid(format!("member `{}` is a link or not a plain file", name.display())));
            }
            let member = TarMember { start: entry.raw_file_position(), length: entry.size() };
            if member.start.checked_add(member.length).is_none_or(|end| end > size) {
                return Err(invalid(format!("ends early, in member `{}`", name.display())));
            }
            found.push((key, member));
        }
        Ok((TarFile { path: path.to_owned(), file: archive.into_inner() }, found))
    }

    /// The bytes of a member.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read(&self, member: TarMember) -> Result<Vec<u8>, Error> {
        // The length was compared with that of the archive.
        let length = usize::try_from(member.length).map_err(|_| {
            Error::invalid(FileFormat::Archive, &self.path, "has a member that does not fit into memory")
        })?;
        let mut bytes = vec![0u8; length];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(member.start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(Error::io(&self.path))?;
        Ok(bytes)
    }
}
