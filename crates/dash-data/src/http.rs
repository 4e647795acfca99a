//! One file over HTTP: from the first address that has it, beginning where an earlier try has stopped.

use crate::Error;
use dash_store::Partial;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// Bytes that are read at once.
const BLOCK: usize = 1 << 17;

/// Blocks that may wait to be written.
const AHEAD: usize = 8;

/// How long a server may keep us waiting, and how often it may fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until there is a connection, and from then until there is an answer.
    pub(crate) answer: Duration,
    /// Until the next bytes of a file come.
    pub(crate) bytes: Duration,
    /// Before a server is asked again.
    pub(crate) pause: Duration,
    /// Tries in a row that bring nothing new.
    pub(crate) tries: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            answer: Duration::from_secs(60),
            bytes: Duration::from_secs(60),
            pause: Duration::from_secs(2),
            tries: 3,
        }
    }
}

/// Which version of a file the bytes of a [`Partial`] belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

impl Version {
    fn path(target: &Path) -> PathBuf {
        let mut path = Partial::path_of(target).into_os_string();
        path.push(".json");
        path.into()
    }

    /// What is on record; a record that cannot be read is none, and the file is begun anew.
    fn read(target: &Path) -> Option<Version> {
        serde_json::from_slice(&std::fs::read(Version::path(target)).ok()?).ok()
    }

    fn write(&self, target: &Path) -> Result<(), Error> {
        let path = Version::path(target);
        let text = serde_json::to_vec(self).map_err(|e| Error::Download {
            path: path.clone(),
            problem: format!("the record of what comes cannot be written: {e}"),
        })?;
        Ok(dash_store::publish_file(&path, &text)?)
    }

    fn of(address: &str, response: &Response) -> Version {
        Version {
            address: address.to_owned(),
            etag: header(response, "etag"),
            modified: header(response, "last-modified"),
            total: None,
        }
    }

    /// What the rest may be asked for with: a server that has another version then sends all of it. Weak
    /// entity tags do not promise equal bytes.
    fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        strong.or(self.modified.as_deref())
    }

    /// Whether a server that has sent the rest means another version after all.
    fn differs(&self, other: &Version) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        differ(&self.etag, &other.etag) || differ(&self.modified, &other.modified)
    }
}

type Response = ureq::http::Response<ureq::Body>;

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// Why an address did not give the file.
enum Failure {
    /// It may be asked again.
    Cut(String),
    /// It does not have the file.
    Final(String),
    /// The fault is on this side.
    Ours(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ours(error)
    }
}

impl From<dash_store::Error> for Failure {
    fn from(error: dash_store::Error) -> Failure {
        Failure::Ours(error.into())
    }
}

/// Fetches files.
pub(crate) struct Client {
    agent: ureq::Agent,
    patience: Patience,
}

/// Hears how many bytes of how many are there; 0 of all if that is not known.
pub(crate) type Progress<'p> = &'p mut dyn FnMut(u64, u64);

impl Client {
    pub(crate) fn new(patience: Patience) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(patience.answer))
            .timeout_recv_response(Some(patience.answer))
            .user_agent(concat!("dash-nas/", env!("CARGO_PKG_VERSION")))
            .build();
        Client { agent: config.into(), patience }
    }

    /// Brings the whole of a file into the [`Partial`] of `target`, and says which address it came from.
    /// What is there already is kept if it is the beginning of what an address has now.
    pub(crate) fn fetch(
        &self,
        addresses: &[String],
        target: &Path,
        partial: &mut Partial,
        progress: Progress<'_>,
    ) -> Result<String, Error> {
        let begun = Version::read(target).filter(|_| !partial.is_empty()).map(|version| version.address);
        let (first, others): (Vec<&String>, Vec<&String>) =
            addresses.iter().partition(|address| begun.as_ref() == Some(*address));
        let mut failures = vec![];
        for address in first.into_iter().chain(others) {
            match self.fetch_from(address, target, partial, progress) {
                Ok(()) => return Ok(address.clone()),
                Err(Failure::Ours(error)) => return Err(error),
                Err(Failure::Cut(problem) | Failure::Final(problem)) => {
                    failures.push(format!("{address}: {problem}"));
                }
            }
        }
        Err(Error::Download { path: target.to_owned(), problem: failures.join("; ") })
    }

    /// Forgets which version a file is of that is whole.
    pub(crate) fn forget(target: &Path) -> Result<(), Error> {
        Ok(dash_store::remove(&Version::path(target))?)
    }

    fn fetch_from(
        &self,
        address: &str,
        target: &Path,
        partial: &mut Partial,
        progress: Progress<'_>,
    ) -> Result<(), Failure> {
        if !(address.starts_with("http://") || address.starts_with("https://")) {
            return Err(Failure::Final("this is no address that begins with http:// or https://".into()));
        }
        let (mut most, mut idle) = (partial.len(), 0);
        loop {
            match self.request(address, target, partial, progress) {
                Err(Failure::Cut(problem)) => {
                    // Only what was never there before counts: a server that cannot send the rest of a file
                    // might stop at the same place for ever.
                    idle = if partial.len() > most { 0 } else { idle + 1 };
                    most = most.max(partial.len());
                    if idle >= self.patience.tries {
                        return Err(Failure::Cut(problem));
                    }
                }
                other => return other,
            }
            thread::sleep(self.patience.pause);
        }
    }

    /// Asks once, for what is missing.
    fn request(
        &self,
        address: &str,
        target: &Path,
        partial: &mut Partial,
        progress: Progress<'_>,
    ) -> Result<(), Failure> {
        let here = partial.len();
        let known = Version::read(target).filter(|known| known.address == address && here > 0);
        let known = known.filter(|known| known.validator().is_some());
        // An address that is protected must not lead to one that is not.
        let request = self.agent.get(address).config().https_only(address.starts_with("https:")).build();
        // Bytes are counted: they must be those of the file, not of its compressed form.
        let mut request = request.header("Accept-Encoding", "identity");
        if let Some(validator) = known.as_ref().and_then(Version::validator) {
            request = request.header("Range", format!("bytes={here}-")).header("If-Range", validator);
        }
        let response = request.call().map_err(|error| match error {
            ureq::Error::Io(_) | ureq::Error::Timeout(_) => Failure::Cut(error.to_string()),
            other => Failure::Final(other.to_string()),
        })?;
        let length = response.body().content_length();
        match (response.status().as_u16(), known) {
            (200, _) => {
                if header(&response, "content-type").is_some_and(|kind| kind.starts_with("text/html")) {
                    return Err(Failure::Final("this is a page, not the file".into()));
                }
                let version = Version { total: length, ..Version::of(address, &response) };
                partial.clear()?;
                version.write(target)?;
                self.body(response, partial, length.unwrap_or(0), progress)
            }
            (206, Some(known)) => {
                let range = header(&response, "content-range").and_then(|text| content_range(&text));
                let fits = range.is_some_and(|(first, total)| {
                    first == Some(here) && (known.total.is_none() || total.is_none() || known.total == total)
                });
                if !fits || known.differs(&Version::of(address, &response)) {
                    partial.clear()?;
                    return Err(Failure::Cut("it sends the rest of another version".into()));
                }
                let total = range.and_then(|(_, total)| total).or(length.map(|length| here + length));
                self.body(response, partial, total.unwrap_or(0), progress)
            }
            // There is no rest: all of it is here, if it is still the same file.
            (416, Some(known)) => {
                let range = header(&response, "content-range").and_then(|text| content_range(&text));
                let total = range.and_then(|(_, total)| total).or(known.total);
                if total == Some(here) && !known.differs(&Version::of(address, &response)) {
                    return Ok(());
                }
                partial.clear()?;
                Err(Failure::Cut("it has no rest of the file that was begun".into()))
            }
            (status @ (408 | 425 | 429 | 500..), _) => {
                Err(Failure::Cut(format!("it answers with status {status}")))
            }
            (status, _) => Err(Failure::Final(format!("it answers with status {status}"))),
        }
    }

    /// Appends the body of an answer; `total` is the size of the whole file, 0 if not known.
    fn body(
        &self,
        response: Response,
        partial: &mut Partial,
        total: u64,
        progress: Progress<'_>,
    ) -> Result<(), Failure> {
        let mut reader = response.into_body().into_reader();
        let (send, receive) = mpsc::sync_channel::<io::Result<Vec<u8>>>(AHEAD);
        // A thread of its own, since only a channel can be waited on for a limited time. One that hangs in
        // a dead connection is left behind and ends with it, or with the program.
        thread::spawn(move || {
            loop {
                let mut block = vec![0; BLOCK];
                let read = match reader.read(&mut block) {
                    Ok(0) => return,
                    Ok(read) => Ok(read),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let last = read.is_err();
                let block = read.map(|read| {
                    block.truncate(read);
                    block
                });
                if send.send(block).is_err() || last {
                    return;
                }
            }
        });
        progress(partial.len(), total);
        loop {
            match receive.recv_timeout(self.patience.bytes) {
                Ok(Ok(block)) => partial.write(&block)?,
                Ok(Err(error)) => return Err(Failure::Cut(error.to_string())),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let waited = self.patience.bytes.as_secs();
                    return Err(Failure::Cut(format!("nothing came for {waited} seconds")));
                }
            }
            progress(partial.len(), total);
        }
        match total {
            0 => Ok(()),
            total if partial.len() == total => Ok(()),
            total => Err(Failure::Cut(format!("the file ends after {} of {total} bytes", partial.len()))),
        }
    }
}

/// `bytes 5-9/10` or `bytes */10`: the first byte and the size of the whole.
fn content_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let first = if range == "*" { None } else { Some(range.split_once('-')?.0.parse().ok()?) };
    Some((first, total))
}

#[cfg(test)]
mod tests;
