//! Packed raw files: gzip, and tar inside gzip. Nothing is unpacked to disk.

use crate::{Error, npy::most_bytes};
use flate2::read::MultiGzDecoder;
use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Component, Path},
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

/// A reader that fails where a bomb would go on.
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
    let limit = if packed { most_bytes(length) } else { length };
    let inner: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    Ok(Limited { inner, left: limit, limit })
}

fn problem(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::UnexpectedEof => {
            Error::Packed { path: path.clone(), problem: "the file ends early".to_owned() }
        }
        // What decompressors and archive readers say about bytes that they cannot have written.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other => {
            Error::Packed { path: path.clone(), problem: source.to_string() }
        }
        _ => Error::Io { path: path.clone(), source },
    }
}

/// The bytes of a file, unpacked if it is a gzip file.
pub(crate) fn contents(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![];
    reader(path)?.read_to_end(&mut bytes).map_err(problem(path))?;
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// The files of a tar archive (gzipped or not) with the names `wanted`, in whatever folder of it, in the
/// order of the names.
pub(crate) fn members(path: &Path, wanted: &[&str]) -> Result<Vec<Vec<u8>>, Error> {
    let damaged = |problem: String| Error::Packed { path: path.to_owned(), problem };
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
