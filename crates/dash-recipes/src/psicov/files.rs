//! The benchmark's tree of proteins: files in a folder, or members of a zip archive, which is read in place
//! and never unpacked.

use crate::Error;
use dash_data::raw::{list_files, name_files};
use dash_formats::zip::ZipFile;
use std::path::{Path, PathBuf};

/// Name of the archive, and of the folder that it holds.
const ARCHIVE: &str = "protein.zip";
const FOLDER: &str = "protein";

/// The proteins that are trained on, and those of the test: names of lists and of folders.
pub(super) const TRAIN: &str = "deepcov";
pub(super) const TEST: &str = "psicov";

/// The files of the benchmark.
#[derive(Debug)]
pub(super) enum Tree {
    Folder(PathBuf),
    /// What precedes the names of its members.
    Archive(ZipFile, String),
}

impl Tree {
    /// The folder or archive that `named` names in `raw`; else unpacked files, else the archive.
    pub(super) fn open(raw: &Path, named: Option<&Path>) -> Result<Tree, Error> {
        if let Some(named) = named {
            let path = raw.join(named);
            return match (path.is_dir(), path.is_file()) {
                (true, _) => Ok(Tree::Folder(path)),
                (_, true) => Tree::archive(&path),
                _ => Err(Error::raw(path, "there is no such folder or archive")),
            };
        }
        let files = list_files(raw)?;
        let list = list_name(TRAIN);
        for folder in [raw.to_owned(), raw.join(FOLDER)] {
            if folder.join(&list).is_file() {
                return Ok(Tree::Folder(folder));
            }
        }
        let archive = raw.join(ARCHIVE);
        if archive.is_file() {
            return Tree::archive(&archive);
        }
        let problem =
            format!("there is neither a file `{list}` nor a file `{ARCHIVE}`; {}", name_files(raw, &files));
        Err(Error::raw(raw, problem))
    }

    fn archive(path: &Path) -> Result<Tree, Error> {
        let zip = ZipFile::open(path)?;
        let list = list_name(TRAIN);
        let prefixes: Vec<&str> = zip
            .members()
            .iter()
            .filter_map(|member| member.name.strip_suffix(list.as_str()))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('/'))
            .collect();
        match *prefixes.as_slice() {
            [prefix] => {
                let prefix = prefix.to_owned();
                Ok(Tree::Archive(zip, prefix))
            }
            [] => Err(Error::archive(path, format!("has no member `{FOLDER}/{list}`"))),
            _ => Err(Error::archive(path, format!("has several members `{list}`"))),
        }
    }

    /// Where a file is, for messages; a path on disk unless the tree is an archive.
    pub(super) fn locate(&self, name: &str) -> PathBuf {
        match self {
            Tree::Folder(folder) => folder.join(name),
            Tree::Archive(zip, prefix) => zip.path().join(format!("{prefix}{name}")),
        }
    }

    /// The files on disk that hold the named ones: themselves, or their archive.
    pub(super) fn sources(&self, names: impl Iterator<Item = String>) -> Vec<PathBuf> {
        match self {
            Tree::Folder(_) => names.map(|name| self.locate(&name)).collect(),
            Tree::Archive(zip, _) => vec![zip.path().to_owned()],
        }
    }

    /// The bytes of a file.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.locate(name);
        match self {
            Tree::Folder(_) => std::fs::read(&path).map_err(Error::io(&path)),
            Tree::Archive(zip, prefix) => {
                let member = format!("{prefix}{name}");
                let found = zip.find(&member);
                let found =
                    found.ok_or_else(|| Error::archive(zip.path(), format!("has no member `{member}`")))?;
                Ok(zip.read(found)?)
            }
        }
    }

    /// The proteins of a list, each of whose lines begins with one.
    pub(super) fn proteins(&self, list: &str) -> Result<Vec<String>, Error> {
        let (name, mut proteins) = (list_name(list), vec![]);
        let path = self.locate(&name);
        let bytes = self.read(&name)?;
        let mut seen = std::collections::HashSet::new();
        for (line, bytes) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            let wrong = |problem: String| Error::field(&path, format!("line {line}"), problem);
            let text = std::str::from_utf8(bytes).map_err(|_| wrong("is not text".to_owned()))?;
            let Some(id) = text.split_whitespace().next() else { continue };
            // The identifier becomes part of a path.
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if id.len() > 100 || id.starts_with('.') || !id.chars().all(plain) {
                return Err(wrong(format!(
                    "{id:?} identifies no protein: letters, digits, . _ - are expected"
                )));
            }
            if !seen.insert(id.to_owned()) {
                return Err(wrong(format!("the protein {id} is listed twice")));
            }
            proteins.push(id.to_owned());
        }
        if proteins.is_empty() {
            return Err(Error::field(&path, "line 1", "there is no protein in this list"));
        }
        Ok(proteins)
    }
}

/// Name of the file with a list.
pub(super) fn list_name(list: &str) -> String {
    format!("{list}.lst")
}

/// Name of the file with the features of a protein.
pub(super) fn features_name(list: &str, protein: &str) -> String {
    format!("{list}/features/{protein}.pkl")
}

/// Name of the file with the distances between its residues.
pub(super) fn distances_name(list: &str, protein: &str) -> String {
    format!("{list}/distance/{protein}-cb.npy")
}
