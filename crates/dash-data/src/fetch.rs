//! Raw files that one already has, or that a server has -> the raw folder of a task, with the hash of each on
//! record.

use crate::{
    Error, Present, RawFile, RawTask,
    http::{Client, Expected, Patience},
    npy,
    recipe::in_words,
};
use dash_core::event::{Event, Listener};
use dash_store::{Lock, Partial};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Where a raw folder's hashes are recorded.
pub const HASHES_FILE: &str = "sha256.json";

/// A raw file that is in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
    /// Whether it was copied; if not, and not fetched, it had been there.
    pub copied: bool,
    /// The address that it was fetched from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Whether this hash is the first on record for it.
    pub first: bool,
    /// Whether the catalogue has this hash, as that of the published file.
    pub published: bool,
}

/// What was known of a file when it was first seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    bytes: u64,
    sha256: String,
}

/// Copies a task's raw files from the folder `from`, or a folder in it, into `raw`. Files that are there
/// already stay. The hash of each is recorded beside them when it is first seen, and compared with the
/// record afterwards; a copy is compared with its original.
///
/// # Errors
/// If a file is missing, of which nothing is copied then; if it cannot be read or written; if it is not
/// the one on record.
pub fn import(
    task: &RawTask,
    from: &Path,
    raw: &Path,
    listener: &dyn Listener,
) -> Result<Vec<Fetched>, Error> {
    let listing = crate::recipe::listing(from)?;
    let mut plan = vec![];
    let mut missing = vec![];
    for file in &task.files {
        let target = raw.join(&file.name);
        let named = |path: &&PathBuf| path.file_name().is_some_and(|name| name == file.name.as_str());
        match (target.is_file(), listing.iter().find(named)) {
            (true, _) => plan.push((file, target, None)),
            (false, Some(source)) => plan.push((file, target, Some(source))),
            (false, None) => missing.push(file.name.as_str()),
        }
    }
    if !missing.is_empty() {
        let problem = format!("there is no {}; {}", missing.join(", no "), in_words(from, &listing));
        return Err(Error::Raw { path: from.to_owned(), problem });
    }
    let mut known = read(raw)?;
    let mut fetched = vec![];
    let total = plan.len();
    for (file, target, source) in plan {
        let path = source.map_or(target.as_path(), PathBuf::as_path);
        let found = compare(&known, file, path)?;
        if let Some(source) = source {
            let mut original = File::open(source).map_err(Error::io(source))?;
            dash_store::publish_with(&target, |out| io::copy(&mut original, out).map(|_| ()))?;
            let copy = dash_store::sha256_file(&target)?;
            if copy != found.sha256 {
                // A copy that cannot be trusted is not left in the place of the data.
                dash_store::remove(&target)?;
                return Err(Error::Changed { path: target, recorded: found.sha256, found: copy });
            }
        }
        found.record(&mut known, file, raw)?;
        fetched.push(found.fetched(target, source.is_some(), None));
        listener.on(&Event::Progress { what: "files".to_owned(), done: fetched.len(), total });
    }
    Ok(fetched)
}

/// Addresses of raw files beside those of the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors(BTreeMap<String, Vec<String>>);

impl Mirrors {
    /// Reads a TOML file with a line per raw file, such as `"challenge2017.pkl" = ["https://..."]`.
    ///
    /// # Errors
    /// If it cannot be read, holds something else, or names a file that no task has.
    pub fn read(path: &Path) -> Result<Mirrors, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let wrong = |problem: String| Error::configuration(path.display().to_string(), problem);
        let addresses: BTreeMap<String, Vec<String>> = toml::from_str(&text)
            .map_err(|e| wrong(format!("a list of addresses per file is expected: {e}")))?;
        let tasks = crate::catalogue()?;
        let exists = |name: &String| tasks.iter().flat_map(|task| &task.files).any(|file| file.name == *name);
        match addresses.keys().find(|name| !exists(name)) {
            Some(name) => Err(wrong(format!("no task has a raw file called `{name}`"))),
            None => Ok(Mirrors(addresses)),
        }
    }
}

/// Fetches a task's raw files into `raw`, each from the first of its addresses that has it: a file of a size and,
/// where they are known, a hash as the catalogue and the record say. The addresses of
/// `mirrors` are tried before those of the catalogue. A file that an earlier try has begun is continued.
/// Files that are there stay, and hashes are recorded and compared as by [`import`].
///
/// # Errors
/// If no address is known for a file, of which nothing is fetched then; if no address has it; if it cannot
/// be written; if it is not the one on record; if another process fetches into `raw`.
pub fn download(
    task: &RawTask,
    mirrors: &Mirrors,
    raw: &Path,
    listener: &dyn Listener,
) -> Result<Vec<Fetched>, Error> {
    download_with(&Client::new(Patience::default()), task, mirrors, raw, listener)
}

fn download_with(
    client: &Client,
    task: &RawTask,
    mirrors: &Mirrors,
    raw: &Path,
    listener: &dyn Listener,
) -> Result<Vec<Fetched>, Error> {
    let mut plan = vec![];
    let mut unknown = vec![];
    for file in &task.files {
        let name = file.name.as_str();
        match file.find(raw) {
            Some(Present { path, bytes: Some(_) }) if path.ends_with(name) => plan.push((file, path, None)),
            Some(Present { path, .. }) => {
                let message = format!("{} is there: {name} is not fetched", path.display());
                listener.on(&Event::Warning { message });
            }
            None => {
                let own = mirrors.0.get(name).into_iter().flatten();
                let addresses: Vec<String> = own.chain(&file.mirrors).cloned().collect();
                if addresses.is_empty() {
                    unknown.push(name);
                }
                let path = raw.join(name);
                if path.symlink_metadata().is_ok() {
                    let problem = "is no plain file, nor a link to one; remove it".to_owned();
                    return Err(Error::Raw { path, problem });
                }
                plan.push((file, path, Some(addresses)));
            }
        }
    }
    if !unknown.is_empty() {
        let problem = format!(
            "no address is known of {}; get it from {} and use --from, or name an address with --mirrors",
            unknown.join(", "),
            task.page
        );
        return Err(Error::Raw { path: raw.to_owned(), problem });
    }
    let _lock = Lock::acquire(raw)?;
    let mut known = read(raw)?;
    let mut fetched = vec![];
    for (file, path, addresses) in plan {
        let (found, address) = match addresses {
            None => (compare(&known, file, &path)?, None),
            Some(addresses) => {
                let (found, address) = bring(client, &known, file, &addresses, &path, listener)?;
                (found, Some(address))
            }
        };
        found.record(&mut known, file, raw)?;
        fetched.push(found.fetched(path, false, address));
    }
    Ok(fetched)
}

/// Progress is told about once per so many bytes.
const STEP: u64 = 1 << 20;

/// A file whose hash was compared.
struct Found {
    bytes: u64,
    sha256: String,
    /// Whether it is the first on record, or replaces one that is not that of the published file.
    first: bool,
    published: bool,
}

impl Found {
    /// Records the hash beside the files, if it is not there yet.
    fn record(&self, known: &mut BTreeMap<String, Known>, file: &RawFile, raw: &Path) -> Result<(), Error> {
        if self.first {
            known.insert(file.name.clone(), Known { bytes: self.bytes, sha256: self.sha256.clone() });
            write(raw, known)?;
        }
        Ok(())
    }

    fn fetched(self, path: PathBuf, copied: bool, address: Option<String>) -> Fetched {
        let Found { bytes, sha256, first, published } = self;
        Fetched { path, bytes, sha256, copied, address, first, published }
    }
}

/// Fetches one file, and puts it in its place if it is the published one, or the one on record, as far as either
/// is known.
fn bring(
    client: &Client,
    known: &BTreeMap<String, Known>,
    file: &RawFile,
    addresses: &[String],
    target: &Path,
    listener: &dyn Listener,
) -> Result<(Found, String), Error> {
    let mut partial = Partial::open(target)?;
    let mut told = None;
    let mut progress = |done: u64, total: u64| {
        if told.is_none_or(|told: u64| done.abs_diff(told) >= STEP) || (done == total && told != Some(done)) {
            told = Some(done);
            let [done, total] = [done, total].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
            listener.on(&Event::Progress { what: file.name.clone(), done, total });
        }
    };
    // Messages name the place of the file, not that of its parts.
    let mut check = |part: &Path| {
        let whole = if file.bytes == 0 { check_form(file, part) } else { Ok(()) };
        whole.and_then(|()| compare(known, file, part)).map_err(|error| match error {
            Error::Npy { problem, .. } => Error::Npy { path: target.to_owned(), problem },
            Error::Changed { recorded, found, .. } => {
                Error::Changed { path: target.to_owned(), recorded, found }
            }
            Error::Unpublished { published, found, .. } => {
                Error::Unpublished { path: target.to_owned(), published, found }
            }
            other => other,
        })
    };
    let expected = Expected { sizes: file.sizes() };
    let came = client.fetch(addresses, target, &expected, &mut partial, &mut progress, &mut check);
    if came.is_err() && partial.is_empty() {
        dash_store::remove(partial.path())?;
    }
    let (found, address) = came?;
    partial.publish()?;
    Client::forget(target)?;
    Ok((found, address))
}

/// Whether a file whose size nobody knows is whole, where its form says it.
fn check_form(file: &RawFile, path: &Path) -> Result<(), Error> {
    match Path::new(&file.name).extension() {
        Some(end) if end == "npy" => npy::Array::open(path).map(|_| ()),
        _ => Ok(()),
    }
}

/// Compares a file with the published hash, or else with what is on record under its name: a record is made of
/// whatever came first, and must not keep out the right file.
fn compare(known: &BTreeMap<String, Known>, file: &RawFile, path: &Path) -> Result<Found, Error> {
    let bytes = std::fs::metadata(path).map_err(Error::io(path))?.len();
    let sha256 = dash_store::sha256_file(path)?;
    let recorded = known.get(&file.name).map(|known| known.sha256.as_str());
    if let Some(published) = &file.sha256 {
        if *published != sha256 {
            let (published, found) = (published.clone(), sha256);
            return Err(Error::Unpublished { path: path.to_owned(), published, found });
        }
        let first = recorded != Some(published);
        return Ok(Found { bytes, sha256, first, published: true });
    }
    match recorded {
        Some(recorded) if recorded != sha256 => {
            let (recorded, found) = (recorded.to_owned(), sha256);
            Err(Error::Changed { path: path.to_owned(), recorded, found })
        }
        recorded => Ok(Found { bytes, first: recorded.is_none(), sha256, published: false }),
    }
}

fn read(raw: &Path) -> Result<BTreeMap<String, Known>, Error> {
    let path = raw.join(HASHES_FILE);
    // Reading anything but a plain file may wait for ever.
    if std::fs::metadata(&path).is_ok_and(|meta| !meta.is_file()) {
        return Err(Error::Raw { path, problem: "is no plain file; remove it".to_owned() });
    }
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| Error::Raw {
            path,
            problem: format!("is no record of hashes: {e}; remove it to record them anew"),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(Error::Io { path, source }),
    }
}

fn write(raw: &Path, known: &BTreeMap<String, Known>) -> Result<(), Error> {
    let path = raw.join(HASHES_FILE);
    let mut text = serde_json::to_vec_pretty(known)
        .map_err(|e| Error::Raw { path: path.clone(), problem: format!("cannot be written: {e}") })?;
    text.push(b'\n');
    Ok(dash_store::publish_file(&path, &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::server::{Server, answer};
    use dash_core::{
        error::{Classify, ErrorKind},
        event::Silent,
    };
    use std::time::Duration;

    fn task() -> RawTask {
        crate::catalogue().unwrap().into_iter().find(|task| task.recipe == "satellite").unwrap()
    }

    #[test]
    fn files_are_copied_once_recorded_and_compared_afterwards() {
        let place = tempfile::tempdir().unwrap();
        let (from, raw) = (place.path().join("from"), place.path().join("raw/satellite"));
        let put = |path: PathBuf, text: &str| dash_store::publish_file(&path, text.as_bytes()).unwrap();
        let run = || import(&task(), &from, &raw, &Silent);
        let refusal = || {
            let error = run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            assert!(error.hint().is_some());
            error.to_string()
        };
        assert!(refusal().contains("there is no such folder"));
        put(from.join("satellite_train.npy"), "train");
        let message = refusal();
        assert!(
            message.contains("there is no satellite_test.npy; the folder holds satellite_train.npy"),
            "{message}"
        );
        assert!(!raw.exists(), "nothing is copied unless everything is there");

        put(from.join("deep/satellite_test.npy"), "test");
        let fetched = run().unwrap();
        assert_eq!(
            fetched.iter().map(|f| (f.copied, f.first, f.bytes)).collect::<Vec<_>>(),
            [(true, true, 5), (true, true, 4)]
        );
        assert_eq!(fetched[1].sha256, dash_store::sha256(b"test"));
        assert_eq!(std::fs::read(raw.join("satellite_test.npy")).unwrap(), b"test");
        assert!(run().unwrap().iter().all(|file| !file.copied && !file.first));

        put(raw.join("satellite_test.npy"), "tost");
        let message = refusal();
        assert!(
            message.contains("satellite_test.npy: sha256 is") && message.contains("was recorded"),
            "{message}"
        );
        // Another edition is not taken for the one on record either.
        dash_store::remove(&raw.join("satellite_test.npy")).unwrap();
        put(from.join("deep/satellite_test.npy"), "other");
        assert!(refusal().contains("deep/satellite_test.npy: sha256 is"));
        assert!(!raw.join("satellite_test.npy").exists());
        put(from.join("deep/satellite_test.npy"), "test");
        assert_eq!(
            run().unwrap().iter().map(|f| (f.copied, f.first)).collect::<Vec<_>>(),
            [(false, false), (true, false)]
        );
        put(raw.join(HASHES_FILE), "[");
        assert!(refusal().contains("is no record of hashes"));
    }

    /// A task with one file at the addresses given.
    fn small(mirrors: &[String]) -> RawTask {
        let mut task = task();
        task.files.truncate(1);
        // The files of these tests have any size and kind.
        task.files[0].name = "small.bin".to_owned();
        task.files[0].bytes = 0;
        task.files[0].mirrors = mirrors.to_vec();
        task
    }

    fn fetch(task: &RawTask, mirrors: &Mirrors, raw: &Path) -> Result<Vec<Fetched>, Error> {
        let patience =
            Patience { pause: Duration::ZERO, bytes: Duration::from_millis(500), ..Patience::default() };
        download_with(&Client::new(patience), task, mirrors, raw, &Silent)
    }

    #[test]
    fn files_are_fetched_once_recorded_and_compared_afterwards() {
        let place = tempfile::tempdir().unwrap();
        let raw = place.path().join("raw");
        let server = Server::new(|request| match request.path.as_str() {
            "/old" => answer(200, &[], b"data"),
            "/new" => answer(200, &[], b"other data"),
            _ => answer(404, &[], b"no"),
        });
        let (gone, old, new) = (server.address("/gone"), server.address("/old"), server.address("/new"));
        let fetched = fetch(&small(&[gone.clone(), old.clone()]), &Mirrors::default(), &raw).unwrap();
        let [file] = fetched.as_slice() else { panic!("{fetched:?}") };
        assert_eq!((file.bytes, file.copied, file.first), (4, false, true));
        assert_eq!(file.address.as_deref(), Some(old.as_str()));
        assert_eq!(file.sha256, dash_store::sha256(b"data"));
        assert_eq!(std::fs::read(raw.join("small.bin")).unwrap(), b"data");
        assert!(!raw.join("small.bin.part").exists());
        assert!(!raw.join("small.bin.part.json").exists());

        // What is there stays, and is compared.
        let again = fetch(&small(std::slice::from_ref(&new)), &Mirrors::default(), &raw).unwrap();
        assert_eq!((again[0].address.as_deref(), again[0].first), (None, false));

        // Another file is not taken for the one on record, and leaves nothing to be continued.
        dash_store::remove(&raw.join("small.bin")).unwrap();
        let error = fetch(&small(std::slice::from_ref(&new)), &Mirrors::default(), &raw).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains("small.bin: sha256 is"), "{error}");
        let left: Vec<_> = std::fs::read_dir(&raw).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == HASHES_FILE || name == ".lock"), "{left:?}");

        // Mirrors that the user names go first.
        let mirrors = Mirrors([("small.bin".to_owned(), vec![old.clone()])].into());
        let fetched = fetch(&small(&[new]), &mirrors, &raw).unwrap();
        assert_eq!((fetched[0].address.as_deref(), fetched[0].first), (Some(old.as_str()), false));
    }

    #[test]
    fn files_without_an_address_and_unpacked_ones_are_told_about() {
        let place = tempfile::tempdir().unwrap();
        let raw = place.path().join("raw");
        let error = fetch(&small(&[]), &Mirrors::default(), &raw).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains("no address is known of small.bin"), "{error}");
        assert!(!raw.exists());
        let mut unpacked = small(&[]);
        unpacked.files[0].alternatives = vec!["unpacked/".to_owned()];
        dash_store::publish_file(&raw.join("unpacked/x"), b"1").unwrap();
        assert_eq!(fetch(&unpacked, &Mirrors::default(), &raw).unwrap(), []);
    }

    #[test]
    fn another_process_may_not_fetch_into_the_same_folder() {
        let place = tempfile::tempdir().unwrap();
        let _held = Lock::acquire(place.path()).unwrap();
        let error = fetch(&small(&["http://127.0.0.1:1/".to_owned()]), &Mirrors::default(), place.path());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Locked);
    }

    #[test]
    fn a_numpy_file_of_unknown_size_must_be_whole() {
        let place = tempfile::tempdir().unwrap();
        let whole = crate::testing::npy_f32(&[3, 2], &[0.0; 6]);
        let cut = whole[..whole.len() - 4].to_vec();
        let server = Server::new(move |request| match request.path.as_str() {
            "/text" => answer(200, &[], b"not found!"),
            "/cut" => answer(200, &[], &cut),
            _ => answer(200, &[], &whole),
        });
        let task = |paths: &[&str]| {
            let mut task = small(&paths.iter().map(|path| server.address(path)).collect::<Vec<_>>());
            task.files[0].name = "small.npy".to_owned();
            task
        };
        for path in ["/text", "/cut"] {
            let error = fetch(&task(&[path]), &Mirrors::default(), place.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            assert!(error.to_string().contains("small.npy: "), "{error}");
            assert!(!place.path().join(HASHES_FILE).exists());
        }
        let fetched = fetch(&task(&["/text", "/cut", "/whole"]), &Mirrors::default(), place.path()).unwrap();
        assert!(fetched[0].address.as_ref().unwrap().ends_with("/whole"));
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_fetched_through_links_or_over_special_files() {
        let place = tempfile::tempdir().unwrap();
        let (raw, precious) = (place.path().join("raw"), place.path().join("precious"));
        dash_store::publish_file(&precious, b"precious").unwrap();
        dash_store::publish_file(&raw.join("other"), b"").unwrap();
        let server = Server::new(|_| answer(200, &[], b"data"));
        for (name, to) in [
            ("small.bin.part", precious.as_path()),
            ("small.bin.part", Path::new("/dev/full")),
            ("small.bin", Path::new("/dev/null")),
            ("small.bin", Path::new("nowhere")),
            (HASHES_FILE, Path::new("/dev/zero")),
        ] {
            let link = raw.join(name);
            std::os::unix::fs::symlink(to, &link).unwrap();
            let error = fetch(&small(&[server.address("/")]), &Mirrors::default(), &raw).unwrap_err();
            assert!(error.to_string().contains(name) && error.to_string().contains("remove it"), "{error}");
            assert!(link.is_symlink());
            dash_store::remove(&link).unwrap();
        }
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
        assert_eq!(server.seen().len(), 0);
    }

    #[test]
    fn a_published_hash_decides_and_not_what_came_first() {
        let place = tempfile::tempdir().unwrap();
        let raw = place.path().join("raw");
        let server = Server::new(|request| match request.path.as_str() {
            "/bad" => answer(200, &[], b"dada"),
            _ => answer(200, &[("ETag", "\"a\"")], b"data"),
        });
        let published = |mirrors: &[&str]| {
            let mut task = small(&mirrors.iter().map(|path| server.address(path)).collect::<Vec<_>>());
            task.files[0].sha256 = Some(dash_store::sha256(b"data"));
            task.files[0].bytes = 4;
            task
        };
        // Nothing wrong is recorded, and the second mirror is asked.
        let error = fetch(&published(&["/bad"]), &Mirrors::default(), &raw).unwrap_err();
        assert!(error.to_string().contains("small.bin: sha256 is"), "{error}");
        assert!(matches!(error, Error::Unpublished { .. }) && !raw.join(HASHES_FILE).exists());
        let fetched = fetch(&published(&["/bad", "/good"]), &Mirrors::default(), &raw).unwrap();
        assert!(fetched[0].published && fetched[0].address.as_ref().unwrap().ends_with("/good"));

        // A wrong hash on record gives way, and so does a part that somebody has changed.
        dash_store::remove(&raw.join("small.bin")).unwrap();
        let wrong = Known { bytes: 4, sha256: dash_store::sha256(b"dada") };
        write(&raw, &[("small.bin".to_owned(), wrong)].into()).unwrap();
        dash_store::publish_file(&raw.join("small.bin.part"), b"dax").unwrap();
        fetch(&published(&["/good"]), &Mirrors::default(), &raw).unwrap();
        assert_eq!(std::fs::read(raw.join("small.bin")).unwrap(), b"data");
        assert_eq!(read(&raw).unwrap()["small.bin"].sha256, dash_store::sha256(b"data"));
        // What is there is compared too.
        dash_store::publish_file(&raw.join("small.bin"), b"dada").unwrap();
        let error = fetch(&published(&["/good"]), &Mirrors::default(), &raw).unwrap_err();
        assert!(error.hint().unwrap().contains("remove it and run"), "{error}");
    }

    #[test]
    fn files_of_mirrors_are_checked() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("mirrors.toml");
        let read = |text: &str| {
            dash_store::publish_file(&path, text.as_bytes()).unwrap();
            Mirrors::read(&path)
        };
        let mirrors = read("\"challenge2017.pkl\" = [\"https://a/b\"]").unwrap();
        assert_eq!(mirrors.0["challenge2017.pkl"], ["https://a/b"]);
        for (text, message) in [
            ("\"challenge.pkl\" = []", "no task has a raw file called `challenge.pkl`"),
            ("\"challenge2017.pkl\" = \"https://a/b\"", "a list of addresses per file is expected"),
            ("[", "a list of addresses per file is expected"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains(message), "{error}");
        }
        assert_eq!(Mirrors::read(place.path()).unwrap_err().kind(), ErrorKind::Data);
    }
}
