//! The raw files, on disk or as members of the archive, which is read in place and never unpacked.

use super::wav;
use crate::{
    Error,
    npy::most_bytes,
    recipe::{in_words, listing},
};
use dash_core::pipeline::Fsd50k;
use flate2::{Crc, read::DeflateDecoder};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};
use zip::{CompressionMethod, ZipArchive, result::ZipError};

/// The table whose folder is that of all tables and chunks.
const TABLE: &str = "tr.csv";
/// Folders between the raw folder and the tables.
const DEEPEST_TABLE: usize = 2;
/// Folders between the raw folder and a recording.
const DEEPEST: usize = 6;

/// A raw file, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId(usize);

/// Where the raw data is.
#[derive(Debug)]
pub(super) enum Root {
    /// The folder of the tables.
    Folder(PathBuf),
    Archive(PathBuf),
}

impl Root {
    /// Unpacked tables in the raw folder or folders in it, else the archive.
    pub(super) fn find(config: &Fsd50k) -> Result<Root, Error> {
        let mut level = vec![config.raw.clone()];
        for _ in 0..=DEEPEST_TABLE {
            level.retain(|folder| folder.is_dir());
            let with_table: Vec<PathBuf> =
                level.iter().filter(|folder| folder.join(TABLE).is_file()).cloned().collect();
            match with_table.as_slice() {
                [] => {}
                [folder] => return Ok(Root::Folder(folder.clone())),
                several => return Err(Root::several(&config.raw, several)),
            }
            let mut below = vec![];
            for folder in &level {
                for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
                    let path = entry.map_err(Error::io(folder))?.path();
                    if path.is_dir() {
                        below.push(path);
                    }
                }
            }
            below.sort();
            level = below;
        }
        let found = listing(&config.raw)?;
        let archives: Vec<PathBuf> = std::iter::once(config.raw.join(&config.archive))
            .filter(|path| path.is_file())
            .chain(found.iter().filter(|path| path.file_name() == Some(config.archive.as_os_str())).cloned())
            .collect();
        match archives.first() {
            Some(archive) => Ok(Root::Archive(archive.clone())),
            None => Err(Error::Raw {
                path: config.raw.clone(),
                problem: format!(
                    "there is neither a table `{TABLE}` nor an archive `{}`; {}",
                    config.archive.display(),
                    in_words(&config.raw, &found)
                ),
            }),
        }
    }

    fn several(raw: &Path, folders: &[PathBuf]) -> Error {
        let names =
            folders.iter().map(|folder| folder.strip_prefix(raw).unwrap_or(folder).display().to_string());
        let names = names.collect::<Vec<_>>().join(", ");
        let problem = format!("several folders have a table `{TABLE}`: {names}; `dataset.raw` must name one");
        Error::Raw { path: raw.to_owned(), problem }
    }
}

/// The bytes of a member.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    compressed: u64,
    size: u64,
    crc: u32,
    deflated: bool,
}

/// A file below the root: its path, parts parted by `/`, and its bytes if it is a member.
#[derive(Debug)]
struct Entry {
    path: String,
    span: Option<Span>,
}

impl Entry {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it lies in a folder of this name.
    fn is_in(&self, folder: &str) -> bool {
        self.path.rsplit('/').skip(1).any(|part| part == folder)
    }
}

/// All raw files.
#[derive(Debug)]
pub(super) struct Files {
    /// The folder that paths are relative to, or the archive.
    root: PathBuf,
    packed: bool,
    entries: Vec<Entry>,
    /// The folder of the tables, with the `/` at its end.
    tables: String,
    /// Recordings by file name, `None` where several have it.
    recordings: HashMap<String, Option<FileId>>,
    /// Recordings of noise, by path.
    noise: Vec<FileId>,
}

impl Files {
    pub(super) fn open(config: &Fsd50k, root: Root) -> Result<Files, Error> {
        let (root, packed, entries, tables) = match root {
            Root::Archive(path) => {
                let entries = members(&path)?;
                let tables = table_folder(&path, &entries)?;
                (path, true, entries, tables)
            }
            Root::Folder(folder) => {
                // Noise lies beside the folder of the tables or in it.
                let beside = !config.noise.is_empty() && !folder.join(&config.noise).is_dir();
                let above = folder.parent().map(|parent| parent.join(&config.noise));
                let mut entries = vec![];
                walk(&folder, "", &mut entries, 0)?;
                if let Some(noise) = above.filter(|noise| beside && noise.is_dir()) {
                    walk(&noise, &format!("../{}/", config.noise), &mut entries, DEEPEST)?;
                }
                (folder, false, entries, String::new())
            }
        };
        let mut files = Files { root, packed, entries, tables, recordings: HashMap::new(), noise: vec![] };
        for (number, entry) in files.entries.iter().enumerate() {
            let name = entry.name();
            if !name.to_ascii_lowercase().ends_with(".wav") {
                continue;
            }
            if !config.noise.is_empty() && entry.is_in(&config.noise) {
                files.noise.push(FileId(number));
            } else {
                let first = !files.recordings.contains_key(name);
                files.recordings.insert(name.to_owned(), first.then_some(FileId(number)));
            }
        }
        let entries = &files.entries;
        files.noise.sort_by_key(|id| entries.get(id.0).map(|entry| entry.path.as_str()));
        Ok(files)
    }

    /// The folder or archive.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the files are members of an archive.
    pub(super) fn packed(&self) -> bool {
        self.packed
    }

    /// The recordings of noise.
    pub(super) fn noise(&self) -> &[FileId] {
        &self.noise
    }

    /// A file beside the tables.
    pub(super) fn table(&self, name: &str) -> Result<FileId, Error> {
        let wanted = format!("{}{name}", self.tables);
        let found = self.entries.iter().position(|entry| entry.path == wanted);
        found.map(FileId).ok_or_else(|| Error::Raw {
            path: self.root.join(&wanted),
            problem: format!("there is no such file beside `{TABLE}`"),
        })
    }

    /// The recording that a table means by a path: the one with its file name.
    pub(super) fn recording(&self, listed: &str) -> Result<FileId, String> {
        let name = listed.rsplit(['/', '\\']).next().unwrap_or_default();
        match self.recordings.get(name) {
            Some(Some(id)) => Ok(*id),
            Some(None) => Err(format!("there are several files {name:?}")),
            None => Err(format!("there is no file {name:?}")),
        }
    }

    /// Where a file is, for messages; a path on disk unless it is a member.
    pub(super) fn locate(&self, id: FileId) -> PathBuf {
        self.root.join(self.path(id))
    }

    /// Path below the root.
    fn path(&self, id: FileId) -> &str {
        self.entries.get(id.0).map(|entry| entry.path.as_str()).unwrap_or_default()
    }

    /// File name.
    pub(super) fn name(&self, id: FileId) -> &str {
        self.entries.get(id.0).map(Entry::name).unwrap_or_default()
    }

    /// All bytes of a file.
    pub(super) fn bytes(&self, id: FileId) -> Result<Vec<u8>, Error> {
        let path = self.locate(id);
        let Some(span) = self.span(id) else { return std::fs::read(&path).map_err(Error::io(&path)) };
        let limit = most_bytes(span.compressed);
        if span.size > limit {
            return Err(damaged(&path, format!("unpacks to {} bytes, more than {limit}", span.size)));
        }
        let mut bytes = vec![];
        self.verify(&path, span, Some(&mut bytes))?;
        Ok(bytes)
    }

    /// The bytes of a file, however many; those of a member after one pass that compares its checksum.
    pub(super) fn stream(&self, id: FileId) -> Result<Box<dyn Read>, Error> {
        let path = self.locate(id);
        match self.span(id) {
            None => Ok(Box::new(BufReader::new(File::open(&path).map_err(Error::io(&path))?))),
            Some(span) => {
                let packed = std::fs::metadata(&self.root).map_err(Error::io(&self.root))?.len();
                if span.size > most_bytes(packed) {
                    return Err(damaged(&path, format!("unpacks to {} bytes", span.size)));
                }
                self.verify(&path, span, None)?;
                Ok(Box::new(self.inflate(span)?.take(span.size)))
            }
        }
    }

    /// The samples of a recording, repeated if they are fewer than `least`.
    pub(super) fn signal(
        &self,
        id: FileId,
        bytes: &[u8],
        sample_rate: u32,
        least: usize,
        most: Option<usize>,
    ) -> Result<Vec<f64>, Error> {
        Ok(wav::repeat(wav::decode(&self.locate(id), bytes, sample_rate, most)?, least))
    }

    fn span(&self, id: FileId) -> Option<Span> {
        self.entries.get(id.0).and_then(|entry| entry.span)
    }

    fn inflate(&self, span: Span) -> Result<Box<dyn Read>, Error> {
        let mut file = File::open(&self.root).map_err(Error::io(&self.root))?;
        file.seek(SeekFrom::Start(span.start)).map_err(Error::io(&self.root))?;
        let stored = BufReader::new(file.take(span.compressed));
        Ok(if span.deflated { Box::new(DeflateDecoder::new(stored)) } else { Box::new(stored) })
    }

    /// Reads a member once, compares length and checksum, and keeps the bytes if asked to.
    fn verify(&self, path: &Path, span: Span, mut keep: Option<&mut Vec<u8>>) -> Result<(), Error> {
        // One byte more than announced tells a longer member apart.
        let mut reader = self.inflate(span)?.take(span.size.saturating_add(1));
        let (mut crc, mut length) = (Crc::new(), 0u64);
        let mut block = vec![0u8; 1 << 16];
        loop {
            let read = match reader.read(&mut block) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // What the decompressor says about bytes that it cannot have made.
                Err(e) => return Err(damaged(path, format!("cannot be unpacked: {e}"))),
            };
            let bytes = block.get(..read).unwrap_or_default();
            crc.update(bytes);
            length += read as u64;
            if let Some(kept) = &mut keep {
                kept.extend_from_slice(bytes);
            }
        }
        if length != span.size || crc.sum() != span.crc {
            let problem = format!("{} bytes with another checksum are announced", span.size);
            return Err(damaged(path, problem));
        }
        Ok(())
    }
}

fn damaged(path: &Path, problem: impl Into<String>) -> Error {
    Error::Packed { path: path.to_owned(), problem: problem.into() }
}

/// Collects the files below a folder, `depth` folders below the raw one; `prefix` is the path to it.
fn walk(folder: &Path, prefix: &str, found: &mut Vec<Entry>, depth: usize) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        // Names of the benchmark are ASCII.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type().map_err(Error::io(folder))?;
        let path = format!("{prefix}{name}");
        if kind.is_dir() || (kind.is_symlink() && entry.path().is_dir()) {
            if depth < DEEPEST {
                walk(&entry.path(), &format!("{path}/"), found, depth + 1)?;
            }
        } else {
            found.push(Entry { path, span: None });
        }
    }
    Ok(())
}

/// The files of an archive. A member whose path would lead out of a folder that the archive is unpacked
/// into means that the archive is not to be trusted, even though nothing is unpacked here.
fn members(path: &Path) -> Result<Vec<Entry>, Error> {
    let file = File::open(path).map_err(Error::io(path))?;
    let length = file.metadata().map_err(Error::io(path))?.len();
    let wrong = |error: ZipError| match error {
        ZipError::Io(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
            Error::Io { path: path.to_owned(), source }
        }
        other => damaged(path, format!("this is no complete zip archive: {other}")),
    };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(wrong)?;
    let mut found = vec![];
    for number in 0..archive.len() {
        let entry = archive.by_index_raw(number).map_err(wrong)?;
        let name = entry.name().map_err(wrong)?.into_owned();
        if name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|part| part == "..") {
            return Err(damaged(path, format!("member {name:?} points out of the archive")));
        }
        if name.ends_with('/') {
            continue;
        }
        let at = path.join(&name);
        let deflated = match entry.compression() {
            CompressionMethod::Stored => false,
            method if method == CompressionMethod::DEFLATE => true,
            method => {
                let problem = format!("is compressed as {method:?}; stored and deflated members are read");
                return Err(damaged(&at, format!("{problem}: unpack the archive instead")));
            }
        };
        if entry.encrypted() {
            return Err(damaged(&at, "is encrypted"));
        }
        let (compressed, size, crc) = (entry.compressed_size(), entry.size(), entry.crc32());
        let start = entry.data_start().filter(|start| {
            start.checked_add(compressed).is_some_and(|end| end <= length) && (deflated || compressed == size)
        });
        let start = start.ok_or_else(|| damaged(&at, "its bytes are not inside the archive"))?;
        let span = Span { start, compressed, size, crc, deflated };
        found.push(Entry { path: name, span: Some(span) });
    }
    Ok(found)
}

/// The folder of the table in an archive, with the `/` at its end.
fn table_folder(path: &Path, entries: &[Entry]) -> Result<String, Error> {
    let mut folders = entries.iter().filter(|entry| entry.name() == TABLE).map(|entry| {
        let (folder, _) = entry.path.split_at(entry.path.len() - TABLE.len());
        folder.to_owned()
    });
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder),
        (None, _) => Err(damaged(path, format!("there is no member `{TABLE}`"))),
        (Some(one), Some(other)) => {
            let problem = format!("there are tables `{TABLE}` in `{one}` and in `{other}`");
            Err(damaged(path, problem))
        }
    }
}
