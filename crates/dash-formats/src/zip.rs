//! Reads members of zip archives, stored or deflated. Nothing is unpacked to disk.

use crate::{Error, FileFormat, limits::unpack_limit};
use flate2::{Crc, read::DeflateDecoder};
use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom, Take},
    path::{Path, PathBuf},
};
use zip::{CompressionMethod, ZipArchive, result::ZipError};

/// The bytes that one decompressor makes of a part of a file.
pub(crate) type Inflater = DeflateDecoder<BufReader<Take<File>>>;

/// An archive and its directory.
#[derive(Debug)]
pub struct ZipFile {
    path: PathBuf,
    length: u64,
    /// In the order of the archive, without folders.
    members: Vec<ZipMember>,
    /// Positions of the members in the order of their names.
    sorted: Vec<usize>,
}

/// A file in an archive.
#[derive(Debug)]
pub struct ZipMember {
    /// Its name in the archive, folders included.
    pub name: String,
    pub(crate) start: u64,
    pub(crate) compressed: u64,
    /// The number of bytes that it unpacks to.
    pub size: u64,
    pub(crate) deflated: bool,
    crc: u32,
    /// The reason why it cannot be read; only reading it is an error.
    unreadable: Option<String>,
}

/// The reason why an archive or a member cannot be read.
#[derive(Debug)]
pub(crate) enum Problem {
    Io(io::Error),
    /// What is wrong with its bytes.
    Damaged(String),
}

impl Problem {
    /// The same about the file at `path`.
    fn about(self, path: &Path) -> Error {
        match self {
            Problem::Io(source) => Error::Io { path: path.to_owned(), source },
            Problem::Damaged(problem) => Error::invalid(FileFormat::Archive, path, problem),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Problem {
        match error.kind() {
            // The decompressor reports invalid streams with these kinds.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Problem::Damaged(format!("cannot be unpacked: {error}"))
            }
            _ => Problem::Io(error),
        }
    }
}

impl ZipFile {
    /// Reads the directory.
    ///
    /// # Errors
    /// If the file cannot be read, is not an archive, or has a member whose name leads out of a folder that it
    /// is unpacked into: such an archive is not to be trusted, even though nothing is unpacked here.
    pub fn open(path: &Path) -> Result<ZipFile, Error> {
        ZipFile::read_directory(path).map_err(|problem| problem.about(path))
    }

    pub(crate) fn read_directory(path: &Path) -> Result<ZipFile, Problem> {
        let file = File::open(path).map_err(Problem::Io)?;
        let length = file.metadata().map_err(Problem::Io)?.len();
        let wrong = |error: ZipError| match error {
            ZipError::Io(source) if source.kind() != io::ErrorKind::UnexpectedEof => Problem::Io(source),
            other => Problem::Damaged(format!("this is not a complete zip archive: {other}")),
        };
        let mut zip = ZipArchive::new(BufReader::new(file)).map_err(wrong)?;
        let mut members = vec![];
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index).map_err(wrong)?;
            let name = entry.name().map_err(wrong)?.into_owned();
            if name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|part| part == "..") {
                return Err(Problem::Damaged(format!("member {name:?} points out of the archive")));
            }
            if name.ends_with('/') {
                continue;
            }
            let method = entry.compression();
            let deflated = method == CompressionMethod::DEFLATE;
            let (compressed, size, crc) = (entry.compressed_size(), entry.size(), entry.crc32());
            let start = entry.data_start().filter(|start| {
                start.checked_add(compressed).is_some_and(|end| end <= length)
                    && (deflated || compressed == size)
            });
            let unreadable = if !deflated && method != CompressionMethod::Stored {
                Some(format!("is compressed as {method:?}; stored and deflated members are read"))
            } else if entry.encrypted() {
                Some("is encrypted".to_owned())
            } else if start.is_none() {
                Some("its bytes are not inside the archive".to_owned())
            } else {
                None
            };
            let start = start.unwrap_or_default();
            members.push(ZipMember { name, start, compressed, size, deflated, crc, unreadable });
        }
        let mut sorted: Vec<usize> = (0..members.len()).collect();
        sorted.sort_by_key(|&at| members.get(at).map(|member| member.name.as_str()));
        Ok(ZipFile { path: path.to_owned(), length, members, sorted })
    }

    /// The archive.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the archive.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The members, in the order of the archive.
    pub fn members(&self) -> &[ZipMember] {
        &self.members
    }

    /// The member of a name: as when unpacking, the last if there are several.
    pub fn find(&self, name: &str) -> Option<&ZipMember> {
        let member = |at: &usize| self.members.get(*at);
        let after = self.sorted.partition_point(|at| member(at).is_some_and(|m| m.name.as_str() <= name));
        let last = self.sorted.get(after.checked_sub(1)?).and_then(member)?;
        (last.name == name).then_some(last)
    }

    /// A stream of what a member unpacks to; the checksum is not verified.
    pub(crate) fn reader(&self, member: &ZipMember) -> Result<Box<dyn Read>, Problem> {
        if let Some(problem) = &member.unreadable {
            return Err(Problem::Damaged(problem.clone()));
        }
        let packed = part(&self.path, member.start, member.compressed).map_err(Problem::Io)?;
        Ok(if member.deflated { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) })
    }

    /// Reads a member once in blocks, compares length and checksum, and keeps the bytes if asked to.
    pub(crate) fn verify(&self, member: &ZipMember, mut keep: Option<&mut Vec<u8>>) -> Result<(), Problem> {
        // Reading one byte more than announced detects longer members.
        let mut reader = self.reader(member)?.take(member.size.saturating_add(1));
        let (mut crc, mut length) = (Crc::new(), 0u64);
        let mut block = vec![0u8; 1 << 16];
        loop {
            let read = match reader.read(&mut block) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
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
            return Err(Problem::Damaged(format!("{} bytes are announced, there are {more}", member.size)));
        }
        if crc.sum() != member.crc {
            return Err(Problem::Damaged("its checksum is not that of its bytes".to_owned()));
        }
        Ok(())
    }

    /// The bytes of a member, compared with their length and checksum.
    ///
    /// # Errors
    /// If the member cannot be read, is damaged, or unpacks to far more than its size in the archive.
    pub fn read(&self, member: &ZipMember) -> Result<Vec<u8>, Error> {
        self.unpack(member).map_err(|problem| problem.about(&self.path.join(&member.name)))
    }

    /// A stream of the bytes of a member, after one pass that compares them with their length and checksum.
    ///
    /// # Errors
    /// As [`ZipFile::read`].
    pub fn stream(&self, member: &ZipMember) -> Result<Box<dyn Read>, Error> {
        let open = || {
            if member.size > unpack_limit(self.length) {
                return Err(Problem::Damaged(format!("unpacks to {} bytes", member.size)));
            }
            self.verify(member, None)?;
            Ok(Box::new(self.reader(member)?.take(member.size)) as Box<dyn Read>)
        };
        open().map_err(|problem: Problem| problem.about(&self.path.join(&member.name)))
    }

    fn unpack(&self, member: &ZipMember) -> Result<Vec<u8>, Problem> {
        if member.size > unpack_limit(member.compressed) {
            let problem = format!("unpacks to {} bytes from {}", member.size, member.compressed);
            return Err(Problem::Damaged(problem));
        }
        let mut bytes = vec![];
        self.verify(member, Some(&mut bytes))?;
        Ok(bytes)
    }
}

/// A part of a file.
pub(crate) fn part(path: &Path, start: u64, length: u64) -> io::Result<BufReader<Take<File>>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    Ok(BufReader::new(file.take(length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Member, file, zip};

    fn open(bytes: &[u8]) -> (tempfile::TempDir, Result<ZipFile, Error>) {
        let (folder, path) = file("a.zip", bytes);
        let zip = ZipFile::open(&path);
        (folder, zip)
    }

    fn read(bytes: &[u8], name: &str) -> Result<Option<Vec<u8>>, Error> {
        let (_folder, zip) = open(bytes);
        let zip = zip?;
        zip.find(name).map(|member| zip.read(member)).transpose()
    }

    #[test]
    fn members_are_read_in_place() {
        let text = b"some words, some words, some words".repeat(30);
        for deflated in [false, true] {
            let whole = zip(&[
                Member { name: "b", bytes: b"overwritten", deflated },
                Member { name: "a/", bytes: b"", deflated: false },
                Member { name: "a/x.txt", bytes: &text, deflated },
                Member { name: "b", bytes: b"", deflated },
            ]);
            let (_folder, archive) = open(&whole);
            let archive = archive.unwrap();
            let read = |name: &str| archive.find(name).map(|member| archive.read(member).unwrap());
            let names: Vec<&str> = archive.members().iter().map(|member| member.name.as_str()).collect();
            assert_eq!(names, ["b", "a/x.txt"]);
            assert_eq!(read("a/x.txt").unwrap(), text);
            assert_eq!(read("b").unwrap(), b"");
            assert_eq!((read("a"), read(""), read("c")), (None, None, None));
        }
    }

    #[test]
    fn damaged_archives_are_refused() {
        let text: Vec<u8> = (0..300u32).map(|i| (i * i % 251) as u8).collect();
        for deflated in [false, true] {
            let whole = zip(&[Member { name: "x", bytes: &text, deflated }]);
            for length in (0..whole.len()).step_by(5) {
                let error = read(&whole[..length], "x").unwrap_err();
                assert!(error.is_about_content(), "{error}");
            }
            // One wrong bit: never a panic, and never wrong bytes under the right name.
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x10;
                match read(&bytes, "x") {
                    Ok(found) => assert!(found.is_none_or(|found| found == text), "byte {at}"),
                    Err(error) => assert!(error.is_about_content(), "{error}"),
                }
            }
        }
        let message = |bytes: &[u8], name: &str| read(bytes, name).unwrap_err().to_string();
        for name in ["../x", "a/../../x", "/x", "a\\..\\x"] {
            let bytes = zip(&[Member { name, bytes: b"1", deflated: false }]);
            assert!(message(&bytes, name).contains("points out of the archive"));
        }
        let bomb = zip(&[Member { name: "x", bytes: &vec![0; 80 << 20], deflated: true }]);
        assert!(message(&bomb, "x").contains("a.zip/x: unpacks to 83886080 bytes from"));
        assert!(message(b"PK\x05\x06 no archive", "x").contains("this is not a complete zip archive"));
    }
}
