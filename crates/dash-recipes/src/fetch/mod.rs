//! Brings raw files into the raw folder of a task: copies of local files, or downloads. Records the hash of each.

mod catalogue;
mod http;
#[cfg(test)]
pub(crate) mod test_server;

pub use catalogue::{Present, RawFile, RawTask, catalogue};

use crate::Error;
use dash_core::event::{Event, Listener};
use dash_data::raw::{list_files, name_files};
use dash_formats::{Error as FileError, npy};
use dash_store::{Lock, Partial};
use http::{Client, Expected, Patience};
use schemars::JsonSchema;
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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

/// The recorded size and hash of a file.
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
    let listing = list_files(from)?;
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
        let problem = format!("there is no {}; {}", missing.join(", no "), name_files(from, &listing));
        return Err(Error::raw(from, problem));
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
        let tasks = catalogue()?;
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
                    let problem = "is not a plain file, nor a link to one; remove it".to_owned();
                    return Err(Error::raw(path, problem));
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
        return Err(Error::raw(raw, problem));
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

/// Progress is reported about once per so many bytes.
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
    let mut reported = None;
    let mut progress = |done: u64, total: u64| {
        if reported.is_none_or(|last: u64| done.abs_diff(last) >= STEP)
            || (done == total && reported != Some(done))
        {
            reported = Some(done);
            let [done, total] = [done, total].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
            listener.on(&Event::Download { file: file.name.clone(), done, total });
        }
    };
    // Messages name the place of the file, not that of its parts.
    let mut check = |part: &Path| {
        let whole = if file.bytes == 0 { check_form(file, part) } else { Ok(()) };
        whole.and_then(|()| compare(known, file, part)).map_err(|error| match error {
            Error::Data(dash_data::Error::File(FileError::Invalid { format, problem, .. })) => {
                FileError::invalid(format, target, problem).into()
            }
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

/// Checks that a file of unknown size is complete, if its format allows that.
fn check_form(file: &RawFile, path: &Path) -> Result<(), Error> {
    match Path::new(&file.name).extension() {
        Some(end) if end == "npy" => Ok(npy::NpyArray::open(path).map(|_| ())?),
        _ => Ok(()),
    }
}

/// Compares a file with the published hash, or else with the recorded one. A record is made of the first file that
/// arrives, and must not exclude the right file.
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
    // Reading anything but a plain file may block forever.
    if std::fs::metadata(&path).is_ok_and(|meta| !meta.is_file()) {
        return Err(Error::raw(path, "is not a plain file; remove it"));
    }
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| {
            Error::raw(path, format!("is not a record of hashes: {e}; remove it to record them again"))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(Error::io(&path)(source)),
    }
}

fn write(raw: &Path, known: &BTreeMap<String, Known>) -> Result<(), Error> {
    let path = raw.join(HASHES_FILE);
    let mut text =
        serde_json::to_vec_pretty(known).map_err(|e| Error::raw(&path, format!("cannot be written: {e}")))?;
    text.push(b'\n');
    Ok(dash_store::publish_file(&path, &text)?)
}

#[cfg(test)]
mod tests;
