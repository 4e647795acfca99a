//! Members of zip archives, stored or deflated. Nothing is unpacked to disk.

use crate::{Error, npy::most_bytes};
use flate2::{Crc, read::DeflateDecoder};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};
use zip::{CompressionMethod, ZipArchive, result::ZipError};

/// An archive and its directory.
#[derive(Debug)]
pub(crate) struct Zipped {
    path: PathBuf,
    file: File,
    members: BTreeMap<String, Member>,
}

/// Where a member is and what the directory says about it.
#[derive(Clone, Copy, Debug)]
struct Member {
    start: u64,
    compressed: u64,
    size: u64,
    crc: u32,
    deflated: bool,
}

impl Zipped {
    /// Reads the directory. As when unpacking, the last of several members of one name counts.
    ///
    /// # Errors
    /// If the file cannot be read, is no archive, or has a member that is not inside it, or whose name
    /// leads out of a folder that it is unpacked into.
    pub(crate) fn open(path: &Path) -> Result<Zipped, Error> {
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let wrong = |error: ZipError| match error {
            ZipError::Io(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
                Error::Io { path: path.to_owned(), source }
            }
            other => damaged(path, format!("is no complete zip archive: {other}")),
        };
        let mut zip = ZipArchive::new(BufReader::new(&file)).map_err(wrong)?;
        let mut members = BTreeMap::new();
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index).map_err(wrong)?;
            let name = entry.name().map_err(wrong)?.into_owned();
            if name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|part| part == "..") {
                return Err(damaged(path, format!("member {name:?} leads out of its folder")));
            }
            if name.ends_with('/') {
                continue;
            }
            let deflated = match entry.compression() {
                CompressionMethod::Stored => false,
                method if method == CompressionMethod::DEFLATE => true,
                method => {
                    let problem = format!(
                        "member `{name}` is compressed as {method:?}; stored and deflated ones are read"
                    );
                    return Err(damaged(path, problem));
                }
            };
            if entry.encrypted() {
                return Err(damaged(path, format!("member `{name}` is encrypted")));
            }
            let (compressed, size) = (entry.compressed_size(), entry.size());
            let start = entry.data_start().filter(|start| {
                start.checked_add(compressed).is_some_and(|end| end <= length)
                    && (deflated || compressed == size)
            });
            let start = start.ok_or_else(|| {
                damaged(path, format!("the bytes of member `{name}` are not inside the archive"))
            })?;
            let crc = entry.crc32();
            members.insert(name, Member { start, compressed, size, crc, deflated });
        }
        drop(zip);
        Ok(Zipped { path: path.to_owned(), file, members })
    }

    /// The archive.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the members, in alphabetical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// The bytes of a member, compared with their length and checksum; `None` if there is no such member.
    ///
    /// # Errors
    /// If the member cannot be read, is damaged, or unpacks to far more than its size in the archive.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(member) = self.members.get(name) else { return Ok(None) };
        let wrong = |problem: String| damaged(&self.path, format!("member `{name}` {problem}"));
        if member.size > most_bytes(member.compressed) {
            let problem = format!("unpacks to {} bytes from {}", member.size, member.compressed);
            return Err(wrong(problem));
        }
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                wrong(format!("is damaged: {error}"))
            }
            _ => Error::Io { path: self.path.clone(), source: error },
        };
        let mut file = &self.file;
        file.seek(SeekFrom::Start(member.start)).map_err(failed)?;
        let packed = BufReader::new(file.take(member.compressed));
        let reader: Box<dyn Read> =
            if member.deflated { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) };
        let mut bytes = vec![];
        // One byte more than announced tells a longer member apart.
        reader.take(member.size + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 != member.size {
            let more = if bytes.len() as u64 > member.size { "more" } else { "less" };
            return Err(wrong(format!("announces {} bytes and holds {more}", member.size)));
        }
        let mut crc = Crc::new();
        crc.update(&bytes);
        if crc.sum() != member.crc {
            return Err(wrong("has another checksum than its bytes".to_owned()));
        }
        Ok(Some(bytes))
    }
}

fn damaged(path: &Path, problem: impl Into<String>) -> Error {
    Error::Packed { path: path.to_owned(), problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Member, zip};
    use dash_core::error::{Classify, ErrorKind};

    fn open(bytes: &[u8]) -> (tempfile::TempDir, Result<Zipped, Error>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        dash_store::publish_file(&path, bytes).unwrap();
        let zipped = Zipped::open(&path);
        (folder, zipped)
    }

    fn read(bytes: &[u8], name: &str) -> Result<Option<Vec<u8>>, Error> {
        open(bytes).1?.read(name)
    }

    #[test]
    fn members_are_read_in_place() {
        let text = b"some words, some words, some words".repeat(30);
        for deflated in [false, true] {
            let whole = zip(&[
                Member { name: "a/", bytes: b"", deflated: false },
                Member { name: "a/x.txt", bytes: &text, deflated },
                Member { name: "b", bytes: b"", deflated },
            ]);
            let (_folder, zipped) = open(&whole);
            let zipped = zipped.unwrap();
            assert_eq!(zipped.names().collect::<Vec<_>>(), ["a/x.txt", "b"]);
            assert_eq!(zipped.read("a/x.txt").unwrap().unwrap(), text);
            assert_eq!(zipped.read("b").unwrap().unwrap(), b"");
            assert_eq!(zipped.read("a").unwrap(), None);
        }
    }

    #[test]
    fn damaged_archives_are_refused() {
        let text: Vec<u8> = (0..300u32).map(|i| (i * i % 251) as u8).collect();
        for deflated in [false, true] {
            let whole = zip(&[Member { name: "x", bytes: &text, deflated }]);
            for length in (0..whole.len()).step_by(5) {
                let error = read(&whole[..length], "x").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Data, "{error}");
            }
            // One wrong bit: never a panic, and never wrong bytes under the right name.
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x10;
                match read(&bytes, "x") {
                    Ok(found) => assert!(found.is_none_or(|found| found == text), "byte {at}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Data, "{error}"),
                }
            }
        }
        let message = |bytes: &[u8], name: &str| read(bytes, name).unwrap_err().to_string();
        for name in ["../x", "a/../../x", "/x", "a\\..\\x"] {
            let bytes = zip(&[Member { name, bytes: b"1", deflated: false }]);
            assert!(message(&bytes, name).contains("leads out of its folder"));
        }
        let bomb = zip(&[Member { name: "x", bytes: &vec![0; 80 << 20], deflated: true }]);
        assert!(message(&bomb, "x").contains("member `x` unpacks to 83886080 bytes from"));
        assert!(message(b"PK\x05\x06 no archive", "x").contains("is no complete zip archive"));
    }
}
