//! Remembers hashes of files.

use crate::{
    Error,
    disk::parent,
    fingerprint::{hex, sha256_open},
    open_plain, publish_file, read_small,
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::{self, Metadata},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The first bytes of a memo file; the last one is the format. The SHA-256 of the rest follows, then the entries.
const MAGIC: &[u8; 16] = b"dash-nas hashes\x01";

/// The largest size of a memo file in bytes: a million entries.
const LIMIT: u64 = 256 << 20;

/// Above this number of entries, those of files that do not exist any more are dropped.
const MANY: usize = 200_000;

/// A file that was changed so shortly before it was hashed might change again without new time stamps, whose resolution is
/// up to two seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// Remembers the SHA-256 of files within this process and, if it has a file, across processes.
///
/// A hash is reused only for the same path, device and inode with the same size, modification time and change time, and
/// only if these times were at least two seconds old when the file was hashed (git's rule for its index). It is as reliable
/// as the time stamps of the file system: changes through a memory map, on a file system on which the change time can be
/// set, or by a failing disk are not detected. To detect damage, hash the file with [`sha256_file`](crate::sha256_file).
///
/// ```
/// # fn main() -> Result<(), dash_store::Error> {
/// # let here = std::env::temp_dir().join(format!("dash-store-memo-{}", std::process::id()));
/// let file = here.join("file");
/// dash_store::publish_file(&file, b"abc")?;
/// let memo = dash_store::HashMemo::open(&here.join("hashes"));
/// assert_eq!(memo.hash(&file)?, dash_store::sha256(b"abc"));
/// memo.save()?;
/// # dash_store::remove(&here)
/// # }
/// ```
#[derive(Debug, Default)]
pub struct HashMemo {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Entries that are in the file.
    known: Entries,
    /// Entries that were computed since.
    fresh: Entries,
    /// Canonical paths of folders.
    folders: HashMap<PathBuf, PathBuf>,
}

type Entries = HashMap<PathBuf, Entry>;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    hash: [u8; 32],
    version: Version,
}

/// What identifies the version of a file. Times are seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Version {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
    device: u64,
}

impl HashMemo {
    /// Opens the memo in the file `path`; it is empty if the file is missing or damaged.
    pub fn open(path: &Path) -> HashMemo {
        let known = load(path);
        HashMemo { path: Some(path.to_owned()), state: Mutex::new(State { known, ..State::default() }) }
    }

    /// The SHA-256 of a plain file in lower-case hexadecimal digits, remembered or computed. Links are followed.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn hash(&self, path: &Path) -> Result<String, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.hash_at(path, now)
    }

    fn hash_at(&self, path: &Path, now: Duration) -> Result<String, Error> {
        let found = fs::metadata(path).map_err(Error::io("open", path))?;
        let key = self.canonical(path)?;
        if let Some(entry) = self.entry(&key).filter(|entry| entry.version == Version::of(&found)) {
            return Ok(hex(&entry.hash));
        }
        let mut file = open_plain(path)?;
        let version = Version::of(&file.metadata().map_err(Error::io("inspect", path))?);
        let hash = sha256_open(&mut file, path)?;
        let after = Version::of(&file.metadata().map_err(Error::io("inspect", path))?);
        if let (true, true, Some(hash)) = (version == after, version.settled(now), unhex(&hash)) {
            self.lock().fresh.insert(key, Entry { hash, version });
        }
        Ok(hash)
    }

    /// Adds the newly computed hashes to the file, and keeps those that other processes added meanwhile. Does nothing without
    /// a file.
    ///
    /// # Errors
    /// If the file cannot be written. Only time is lost then.
    pub fn save(&self) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut state = self.lock();
        if state.fresh.is_empty() {
            return Ok(());
        }
        let mut all = load(path);
        all.extend(state.fresh.iter().map(|(path, entry)| (path.clone(), *entry)));
        if all.len() > MANY {
            all.retain(|path, entry| fs::metadata(path).is_ok_and(|now| Version::of(&now) == entry.version));
        }
        publish_file(path, &encode(&all))?;
        state.known = all;
        state.fresh.clear();
        Ok(())
    }

    fn entry(&self, key: &Path) -> Option<Entry> {
        let state = self.lock();
        state.fresh.get(key).or_else(|| state.known.get(key)).copied()
    }

    /// The path without links. Each folder is resolved once; if it changes, files are only hashed again.
    fn canonical(&self, path: &Path) -> Result<PathBuf, Error> {
        let whole = || fs::canonicalize(path).map_err(Error::io("open", path));
        let plain = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
        let (true, Some(name)) = (plain, path.file_name()) else { return whole() };
        let dir = parent(path);
        if let Some(known) = self.lock().folders.get(dir) {
            return Ok(known.join(name));
        }
        let known = fs::canonicalize(dir).map_err(Error::io("open", dir))?;
        let canonical = known.join(name);
        self.lock().folders.insert(dir.to_owned(), known);
        Ok(canonical)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Version {
    fn of(found: &Metadata) -> Version {
        Version {
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            inode: found.ino(),
            device: found.dev(),
        }
    }

    /// Whether a change after `now` (since 1970) would change the time stamps.
    fn settled(&self, now: Duration) -> bool {
        let (seconds, nanoseconds) = self.modified.max(self.changed);
        let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
            return false;
        };
        now.checked_sub(Duration::new(seconds, nanoseconds)).is_some_and(|age| age >= SETTLED)
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn encode(entries: &Entries) -> Vec<u8> {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_unstable_by_key(|(path, _)| *path);
    let mut bytes = [&MAGIC[..], &[0; 32]].concat();
    for (path, Entry { hash, version }) in sorted {
        let path = path.as_os_str().as_bytes();
        let Ok(length) = u32::try_from(path.len()) else { continue };
        bytes.extend(hash);
        let Version { size, modified, changed, inode, device } = version;
        bytes.extend([*size, *inode, *device].iter().flat_map(|n| n.to_le_bytes()));
        let times = [modified.0, modified.1, changed.0, changed.1];
        bytes.extend(times.iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend(length.to_le_bytes());
        bytes.extend(path);
    }
    let (head, rest) = bytes.split_at_mut(MAGIC.len() + 32);
    if let Some(place) = head.get_mut(MAGIC.len()..) {
        place.copy_from_slice(&Sha256::digest(rest));
    }
    bytes
}

fn load(path: &Path) -> Entries {
    read_small(path, LIMIT).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default()
}

/// `None` if any byte was changed.
fn decode(bytes: &[u8]) -> Option<Entries> {
    let bytes = bytes.strip_prefix(MAGIC)?;
    let (digest, mut rest) = bytes.split_at_checked(32)?;
    if Sha256::digest(rest).as_slice() != digest {
        return None;
    }
    let mut entries = Entries::with_capacity(rest.len() / 128);
    while !rest.is_empty() {
        let hash = take::<32>(&mut rest)?;
        let mut number = || take::<8>(&mut rest);
        let mut count = || number().map(u64::from_le_bytes);
        let (size, inode, device) = (count()?, count()?, count()?);
        let mut time = || number().map(i64::from_le_bytes);
        let (modified, changed) = ((time()?, time()?), (time()?, time()?));
        let length = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
        let (path, others) = rest.split_at_checked(length)?;
        rest = others;
        let version = Version { size, modified, changed, inode, device };
        entries.insert(Path::new(std::ffi::OsStr::from_bytes(path)).to_owned(), Entry { hash, version });
    }
    Some(entries)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, others) = rest.split_first_chunk::<N>()?;
    *rest = others;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256;
    use std::{
        fs::{File, FileTimes},
        io::Write,
    };

    /// A time at which all files of now are settled.
    fn later() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(10)
    }

    fn overwrite(path: &Path, bytes: &[u8]) {
        File::options().write(true).open(path).unwrap().write_all(bytes).unwrap();
    }

    /// Gives a remembered hash that is wrong to the file as it is, so that its use shows.
    fn plant(memo: &HashMemo, path: &Path) {
        memo.hash_at(path, later()).unwrap();
        let key = memo.canonical(path).unwrap();
        memo.lock().fresh.get_mut(&key).unwrap().hash = [7; 32];
    }

    #[test]
    fn a_file_that_did_not_change_is_hashed_once_and_over_processes() {
        let dir = tempfile::tempdir().unwrap();
        let (file, store) = (dir.path().join("file"), dir.path().join("hashes"));
        publish_file(&file, b"abc").unwrap();
        let memo = HashMemo::open(&store);
        assert_eq!(memo.hash_at(&file, later()).unwrap(), sha256(b"abc"));
        plant(&memo, &file);
        memo.save().unwrap();
        let planted = hex(&[7; 32]);
        for memo in [memo, HashMemo::open(&store)] {
            assert_eq!(memo.hash(&file).unwrap(), planted);
        }
        // Through a link it is the same file.
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        assert_eq!(HashMemo::open(&store).hash(&dir.path().join("link/file")).unwrap(), planted);
        assert!(HashMemo::default().hash(&dir.path().join("none")).unwrap_err().is_missing());
        HashMemo::default().save().unwrap();
    }

    #[test]
    fn other_content_of_the_same_size_and_modification_time_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        publish_file(&file, b"abc").unwrap();
        let memo = HashMemo::default();
        plant(&memo, &file);
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        // Until the clock of the file system has moved on.
        let before = Version::of(&fs::metadata(&file).unwrap());
        while Version::of(&fs::metadata(&file).unwrap()).changed == before.changed {
            overwrite(&file, b"xyz");
            let open = File::options().write(true).open(&file).unwrap();
            open.set_times(FileTimes::new().set_modified(modified)).unwrap();
        }
        let after = Version::of(&fs::metadata(&file).unwrap());
        assert_eq!((after.size, after.modified, after.inode), (before.size, before.modified, before.inode));
        assert_eq!(memo.hash(&file).unwrap(), sha256(b"xyz"));
    }

    #[test]
    fn a_file_in_the_place_of_another_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("file"), dir.path().join("other"));
        publish_file(&file, b"abc").unwrap();
        publish_file(&other, b"xyz").unwrap();
        let memo = HashMemo::default();
        plant(&memo, &file);
        let key = memo.canonical(&file).unwrap();
        crate::disk::disk().rename(&other, &file).unwrap();
        // All but the inode is made equal.
        let mut state = memo.lock();
        let entry = state.fresh.get_mut(&key).unwrap();
        let inode = entry.version.inode;
        entry.version = Version { inode, ..Version::of(&fs::metadata(&file).unwrap()) };
        drop(state);
        assert_eq!(memo.hash(&file).unwrap(), sha256(b"xyz"));
    }

    #[test]
    fn what_changed_a_moment_ago_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        publish_file(&file, b"abc").unwrap();
        let memo = HashMemo::open(&dir.path().join("hashes"));
        assert_eq!(memo.hash(&file).unwrap(), sha256(b"abc"));
        // Perhaps within the same tick of the file system's clock.
        overwrite(&file, b"xyz");
        assert_eq!(memo.hash(&file).unwrap(), sha256(b"xyz"));
        assert!(memo.lock().fresh.is_empty());
        memo.save().unwrap();
        assert!(!dir.path().join("hashes").exists());
        // Nor what was changed in the future.
        let version = Version::of(&fs::metadata(&file).unwrap());
        assert!(!version.settled(Duration::ZERO) && version.settled(later()));
        assert!(!Version { modified: (-1, 0), changed: (-1, 0), ..version }.settled(later()));
    }

    #[test]
    fn a_damaged_memo_is_an_empty_one_and_two_that_save_are_merged() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a", "b"] {
            publish_file(&at(name), name.as_bytes()).unwrap();
        }
        let (one, two) = (HashMemo::open(&at("hashes")), HashMemo::open(&at("hashes")));
        one.hash_at(&at("a"), later()).unwrap();
        two.hash_at(&at("b"), later()).unwrap();
        one.save().unwrap();
        two.save().unwrap();
        let bytes = fs::read(at("hashes")).unwrap();
        assert_eq!(decode(&bytes).unwrap().len(), 2);
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                assert!(decode(&damaged).is_none());
            }
            assert!(decode(&bytes[..place]).is_none());
        }
        publish_file(&at("hashes"), &bytes[1..]).unwrap();
        let memo = HashMemo::open(&at("hashes"));
        assert_eq!(memo.hash_at(&at("a"), later()).unwrap(), sha256(b"a"));
        memo.save().unwrap();
        assert_eq!(load(&at("hashes")).len(), 1);
    }
}
