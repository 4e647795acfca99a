//! The raw files, on disk or as members of the archive, which is read in place and never unpacked.

use crate::{CollectedFile, Error};
use dash_core::pipeline::Fsd50k;
use dash_data::raw::{list_files, name_files};
use dash_formats::{
    wav::WavRecording,
    zip::{ZipFile, ZipMember},
};
use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

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
        let found = list_files(&config.raw)?;
        let archives: Vec<PathBuf> = std::iter::once(config.raw.join(&config.archive))
            .filter(|path| path.is_file())
            .chain(found.iter().filter(|path| path.file_name() == Some(config.archive.as_os_str())).cloned())
            .collect();
        match archives.first() {
            Some(archive) => Ok(Root::Archive(archive.clone())),
            None => Err(Error::raw(
                &config.raw,
                format!(
                    "there is neither a table `{TABLE}` nor an archive `{}`; {}",
                    config.archive.display(),
                    name_files(&config.raw, &found)
                ),
            )),
        }
    }

    fn several(raw: &Path, folders: &[PathBuf]) -> Error {
        let names =
            folders.iter().map(|folder| folder.strip_prefix(raw).unwrap_or(folder).display().to_string());
        let names = names.collect::<Vec<_>>().join(", ");
        let problem = format!("several folders have a table `{TABLE}`: {names}; `dataset.raw` must name one");
        Error::raw(raw, problem)
    }
}

/// Files below the root.
#[derive(Debug)]
enum Content {
    /// Their paths, parts parted by `/`.
    Folder(Vec<String>),
    Archive(ZipFile),
}

impl Content {
    fn paths(&self) -> impl Iterator<Item = &str> {
        let (paths, members) = match self {
            Content::Folder(paths) => (paths.as_slice(), &[][..]),
            Content::Archive(zip) => (&[][..], zip.members()),
        };
        paths.iter().map(String::as_str).chain(members.iter().map(|member| member.name.as_str()))
    }

    fn path(&self, id: FileId) -> &str {
        let path = match self {
            Content::Folder(paths) => paths.get(id.0).map(String::as_str),
            Content::Archive(zip) => zip.members().get(id.0).map(|member| member.name.as_str()),
        };
        path.unwrap_or_default()
    }
}

fn is_recording(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".wav")
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// All raw files.
#[derive(Debug)]
pub(super) struct Files {
    /// The folder that paths are relative to, or the archive.
    root: PathBuf,
    content: Content,
    /// The folder of the tables, with the `/` at its end.
    tables: String,
    /// Recordings by file name, `None` where several have it.
    recordings: HashMap<String, Option<FileId>>,
    /// Recordings of noise, by path.
    noise: Vec<FileId>,
}

impl Files {
    pub(super) fn open(config: &Fsd50k, root: Root) -> Result<Files, Error> {
        let (root, content, tables) = match root {
            Root::Archive(path) => {
                let zip = ZipFile::open(&path)?;
                let tables = table_folder(&zip)?;
                (path, Content::Archive(zip), tables)
            }
            Root::Folder(folder) => {
                // Noise lies beside the folder of the tables or in it.
                let beside = !config.noise.is_empty() && !folder.join(&config.noise).is_dir();
                let above = folder.parent().map(|parent| parent.join(&config.noise));
                let mut paths = vec![];
                walk(&folder, "", &mut paths, 0)?;
                if let Some(noise) = above.filter(|noise| beside && noise.is_dir()) {
                    walk(&noise, &format!("../{}/", config.noise), &mut paths, DEEPEST)?;
                }
                (folder, Content::Folder(paths), String::new())
            }
        };
        let (mut recordings, mut noise) = (HashMap::new(), vec![]);
        for (number, path) in content.paths().enumerate() {
            let name = file_name(path);
            if !is_recording(name) {
                continue;
            }
            if !config.noise.is_empty() && path.rsplit('/').skip(1).any(|part| part == config.noise) {
                noise.push(FileId(number));
            } else {
                let first = !recordings.contains_key(name);
                recordings.insert(name.to_owned(), first.then_some(FileId(number)));
            }
        }
        noise.sort_by_key(|&id| content.path(id));
        Ok(Files { root, content, tables, recordings, noise })
    }

    /// The folder or archive.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the files are members of an archive.
    pub(super) fn packed(&self) -> bool {
        matches!(self.content, Content::Archive(_))
    }

    /// The recordings of noise.
    pub(super) fn noise(&self) -> &[FileId] {
        &self.noise
    }

    /// All recordings, those of noise too, by path below the root, sorted.
    pub(super) fn recordings(&self) -> Vec<CollectedFile> {
        let is_recording = |path: &&str| is_recording(file_name(path));
        let mut paths: Vec<&str> = self.content.paths().filter(is_recording).collect();
        paths.sort_unstable();
        let file = |path: &str| CollectedFile { name: path.to_owned(), path: self.root.join(path) };
        paths.into_iter().map(file).collect()
    }

    /// A file beside the tables.
    pub(super) fn table(&self, name: &str) -> Result<FileId, Error> {
        let wanted = format!("{}{name}", self.tables);
        let found = self.content.paths().position(|path| path == wanted);
        found.map(FileId).ok_or_else(|| {
            Error::raw(self.root.join(&wanted), format!("there is no such file beside `{TABLE}`"))
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
        self.root.join(self.content.path(id))
    }

    /// File name.
    pub(super) fn name(&self, id: FileId) -> &str {
        file_name(self.content.path(id))
    }

    /// All bytes of a file.
    pub(super) fn bytes(&self, id: FileId) -> Result<Vec<u8>, Error> {
        let path = self.locate(id);
        match self.member(id) {
            None => std::fs::read(&path).map_err(Error::io(&path)),
            Some((zip, member)) => Ok(zip.read(member)?),
        }
    }

    /// The bytes of a file, however many; those of a member after one pass that compares its checksum.
    pub(super) fn stream(&self, id: FileId) -> Result<Box<dyn Read>, Error> {
        let path = self.locate(id);
        let Some((zip, member)) = self.member(id) else {
            return Ok(Box::new(BufReader::new(File::open(&path).map_err(Error::io(&path))?)));
        };
        Ok(zip.stream(member)?)
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
        let path = self.locate(id);
        let recording = WavRecording::parse(&path, bytes)?;
        let invalid = |field: &str, problem: String| Err(Error::field(&path, field, problem));
        if recording.sample_rate() != sample_rate {
            let found = recording.sample_rate();
            return invalid(
                "sample rate",
                format!("{found} per second, `dataset.sample_rate` is {sample_rate}"),
            );
        }
        if recording.is_empty() {
            return invalid("samples", "none".to_owned());
        }
        if let Some(most) = most.filter(|&most| recording.len() > most) {
            return invalid("samples", format!("{}, `dataset.chunk` is {most}", recording.len()));
        }
        Ok(repeat(recording.samples()?, least))
    }

    fn member(&self, id: FileId) -> Option<(&ZipFile, &ZipMember)> {
        let Content::Archive(zip) = &self.content else { return None };
        Some((zip, zip.members().get(id.0)?))
    }
}

/// The signal, repeated until it has `length` samples if it has fewer.
fn repeat(mut signal: Vec<f64>, length: usize) -> Vec<f64> {
    let once = signal.len();
    if once == 0 {
        return signal;
    }
    signal.reserve(length.saturating_sub(once));
    while signal.len() < length {
        let more = once.min(length - signal.len());
        signal.extend_from_within(..more);
    }
    signal
}

/// Collects the files below a folder, `depth` folders below the raw one; `prefix` is the path to it.
fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>, depth: usize) -> Result<(), Error> {
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
            found.push(path);
        }
    }
    Ok(())
}

/// The folder of the table in an archive, with the `/` at its end.
fn table_folder(zip: &ZipFile) -> Result<String, Error> {
    let names = zip.members().iter().map(|member| member.name.as_str());
    let mut folders = names.filter_map(|name| {
        let folder = name.strip_suffix(TABLE)?;
        (folder.is_empty() || folder.ends_with('/')).then(|| folder.to_owned())
    });
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder),
        (None, _) => Err(Error::archive(zip.path(), format!("there is no member `{TABLE}`"))),
        (Some(one), Some(other)) => {
            let problem = format!("there are tables `{TABLE}` in `{one}` and in `{other}`");
            Err(Error::archive(zip.path(), problem))
        }
    }
}
