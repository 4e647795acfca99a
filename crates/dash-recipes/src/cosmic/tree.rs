//! The images of one part of the benchmark: files in a folder, or members of a tar archive, which is read
//! in place and never unpacked.

use crate::Error;
use dash_formats::{
    archive::{TarFile, TarMember},
    npy,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Name of the file with the sky levels of a visit.
const SKY: &str = "sky.npy";

/// `<filter>/<program>/<visit>/<file>`: where a file is in its tree. Sorts by level.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) filter: String,
    pub(super) program: String,
    pub(super) visit: String,
    pub(super) file: String,
}

impl Name {
    /// From the last four parts of a path; `None` if it is shorter or does not end in a `.npy` file.
    fn of(parts: &[&str]) -> Option<Name> {
        let [.., filter, program, visit, file] = parts else { return None };
        let owned = |part: &&str| (*part).to_owned();
        file.ends_with(".npy").then(|| Name {
            filter: owned(filter),
            program: owned(program),
            visit: owned(visit),
            file: owned(file),
        })
    }

    /// The field of the sky: `<program>_<visit>`.
    pub(super) fn field(&self) -> String {
        format!("{}_{}", self.program, self.visit)
    }

    /// The sky levels of the same visit.
    pub(super) fn sky(&self) -> Name {
        Name { file: SKY.to_owned(), ..self.clone() }
    }

    /// The number of the exposure, counted from 1: the part of the file name before the underscore.
    pub(super) fn exposure(&self) -> Option<usize> {
        self.file.split_once('_')?.0.parse().ok()
    }

    fn path(&self) -> PathBuf {
        [&self.filter, &self.program, &self.visit, &self.file].iter().collect()
    }
}

/// The `.npy` files of one part of the benchmark.
#[derive(Debug)]
pub(super) struct Tree {
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Folder(BTreeMap<Name, ()>),
    Archive(TarFile, BTreeMap<Name, TarMember>),
}

impl Tree {
    /// Lists a folder or a tar archive.
    pub(super) fn open(path: &Path) -> Result<Tree, Error> {
        let content = if path.is_dir() {
            let mut found = BTreeMap::new();
            walk(path, &mut vec![], &mut found)?;
            Content::Folder(found)
        } else {
            let (archive, members) = TarFile::open(path, Name::of)?;
            // As when unpacking, the last of several members of one name counts.
            Content::Archive(archive, members.into_iter().collect())
        };
        Ok(Tree { path: path.to_owned(), content })
    }

    /// The folder or archive.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All images, in order.
    pub(super) fn images(&self) -> impl Iterator<Item = &Name> {
        let names: Box<dyn Iterator<Item = &Name>> = match &self.content {
            Content::Folder(files) => Box::new(files.keys()),
            Content::Archive(_, members) => Box::new(members.keys()),
        };
        names.filter(|name| name.file != SKY)
    }

    /// Whether there is a file of this name.
    pub(super) fn contains(&self, name: &Name) -> bool {
        match &self.content {
            Content::Folder(files) => files.contains_key(name),
            Content::Archive(_, members) => members.contains_key(name),
        }
    }

    /// The files on disk that hold the named ones: themselves, or their archive.
    pub(super) fn sources<'a>(&'a self, names: impl Iterator<Item = &'a Name>) -> Vec<PathBuf> {
        match &self.content {
            Content::Folder(_) => names.map(|name| self.locate(name)).collect(),
            Content::Archive(..) => vec![self.path.clone()],
        }
    }

    /// Where a file is, for messages; a path on disk unless the tree is an archive.
    pub(super) fn locate(&self, name: &Name) -> PathBuf {
        self.path.join(name.path())
    }

    /// The array in a file of the tree.
    pub(super) fn array(&self, name: &Name) -> Result<npy::NpyArray, Error> {
        let path = self.locate(name);
        Ok(match &self.content {
            Content::Folder(_) => npy::NpyArray::open(&path),
            Content::Archive(archive, members) => {
                let missing =
                    || Error::archive(&self.path, format!("has no member `{}`", name.path().display()));
                let bytes = archive.read(*members.get(name).ok_or_else(missing)?)?;
                npy::NpyArray::from_bytes(bytes.into(), &path)
            }
        }?)
    }
}

/// Collects the files that lie four levels deep.
fn walk(folder: &Path, above: &mut Vec<String>, found: &mut BTreeMap<Name, ()>) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        // Names of the benchmark are ASCII.
        let Ok(part) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        above.push(part);
        if path.is_dir() {
            if above.len() < 4 {
                walk(&path, above, found)?;
            }
        } else if above.len() == 4 {
            let parts: Vec<&str> = above.iter().map(String::as_str).collect();
            found.extend(Name::of(&parts).map(|name| (name, ())));
        }
        above.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_last_four_parts() {
        let name = Name::of(&["npy_train", "f435w", "10760", "2", "12_1.npy"]).unwrap();
        assert_eq!((name.filter.as_str(), name.field().as_str()), ("f435w", "10760_2"));
        assert_eq!(name.exposure(), Some(12));
        assert_eq!(name.sky().path(), Path::new("f435w/10760/2/sky.npy"));
        assert_eq!(Name::of(&["10760", "2", "12_1.npy"]), None);
        assert_eq!(Name::of(&["f435w", "10760", "2", "notes.txt"]), None);
        assert_eq!(Name::of(&["f435w", "10760", "2", "x.npy"]).unwrap().exposure(), None);
    }
}
