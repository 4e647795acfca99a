//! Downloads one file over HTTP from the first address that has it, and resumes an earlier download.
//!
//! An answer is accepted only if it is certain to be the complete file: its length must be known from the server, from
//! the end mark of a chunked answer or from the catalogue; it must agree with the catalogue, and all bytes must have
//! arrived. Time and bytes are bounded whatever a server does.

mod answer;
mod failure;
mod known;

use crate::Error;
use answer::{ask, header, is_page};
use dash_core::error::{Classify, ErrorKind};
use dash_store::Partial;
use failure::{Failure, Response};
pub(crate) use known::{Expected, Patience};
use known::{UNKNOWN_MOST, Version};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Instant,
};

/// Bytes that are read at once.
const BLOCK: usize = 1 << 17;

/// Blocks that may wait to be written.
const AHEAD: usize = 8;

/// Fetches files.
pub(crate) struct Client {
    agent: ureq::Agent,
    patience: Patience,
}

/// Receives the number of bytes that have arrived and the size of the file; 0 if the size is not known.
pub(crate) type Progress<'p> = &'p mut dyn FnMut(u64, u64);

impl Client {
    pub(crate) fn new(patience: Patience) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(patience.answer))
            .timeout_connect(Some(patience.answer))
            .timeout_recv_response(Some(patience.answer))
            .user_agent(concat!("dash-nas/", env!("CARGO_PKG_VERSION")))
            .build();
        Client { agent: config.into(), patience }
    }

    /// Brings the whole of a file into the [`Partial`] of `target`, and says which address it came from.
    /// Bytes of an earlier download are kept if they are the beginning of the file that the address has now. `check` looks at the
    /// whole file: if it answers that this is another one (an error of the kind data), nothing
    /// of it is kept and the next address is asked.
    pub(crate) fn fetch<T>(
        &self,
        addresses: &[String],
        target: &Path,
        expected: &Expected,
        partial: &mut Partial,
        progress: Progress<'_>,
        check: &mut dyn FnMut(&Path) -> Result<T, Error>,
    ) -> Result<(T, String), Error> {
        let begun = Version::read(target).filter(|_| !partial.is_empty()).map(|version| version.address);
        let (first, others): (Vec<&String>, Vec<&String>) =
            addresses.iter().partition(|address| begun.as_ref() == Some(*address));
        let mut failures = vec![];
        for address in first.into_iter().chain(others) {
            let came = self.fetch_from(address, target, expected, partial, progress);
            let taken = came.and_then(|()| take(target, expected, partial, check));
            match taken {
                Ok(found) => return Ok((found, address.clone())),
                Err(Failure::Ours(error)) => return Err(error),
                Err(failure) => failures.push((address, failure)),
            }
        }
        if failures.iter().all(|(_, failure)| matches!(failure, Failure::Other(_)))
            && let Some((_, Failure::Other(error))) = failures.pop()
        {
            return Err(error);
        }
        let problems = failures.iter().map(|(address, failure)| format!("{address}: {}", failure.problem()));
        let problem = problems.collect::<Vec<_>>().join("; ");
        Err(Error::Download { path: target.to_owned(), problem })
    }

    /// Removes the record of a download that is complete.
    pub(crate) fn forget(target: &Path) -> Result<(), Error> {
        Ok(dash_store::remove(&Version::path(target))?)
    }

    fn fetch_from(
        &self,
        address: &str,
        target: &Path,
        expected: &Expected,
        partial: &mut Partial,
        progress: Progress<'_>,
    ) -> Result<(), Failure> {
        if !(address.starts_with("http://") || address.starts_with("https://")) {
            return Err(Failure::Final("this is not an address that begins with http:// or https://".into()));
        }
        if expected.sizes.as_ref().is_some_and(|sizes| partial.len() > *sizes.end()) {
            partial.clear()?;
        }
        let (began, before) = (Instant::now(), partial.len());
        let (mut most, mut idle) = (before, 0);
        loop {
            let failure = match self.request(address, target, expected, partial, progress) {
                Err(failure @ (Failure::Cut(_) | Failure::Slow(_))) => failure,
                other => return other,
            };
            // Only new bytes count: a server that cannot send the rest of a file might stop
            // at the same place for ever.
            let counts = partial.len() > most && matches!(failure, Failure::Cut(_));
            idle = if counts { 0 } else { idle + 1 };
            most = most.max(partial.len());
            let (passed, came) = (began.elapsed(), most - before);
            let too_slow = passed >= self.patience.bytes && came < self.patience.least(passed);
            if idle >= self.patience.tries || too_slow {
                return Err(failure);
            }
            thread::sleep(self.patience.pause);
        }
    }

    /// Sends one request for the missing bytes.
    fn request(
        &self,
        address: &str,
        target: &Path,
        expected: &Expected,
        partial: &mut Partial,
        progress: Progress<'_>,
    ) -> Result<(), Failure> {
        let here = partial.len();
        let known = Version::read(target).filter(|known| known.address == address && here > 0);
        let known = known.filter(|known| known.validator().is_some());
        let range = format!("bytes={here}-");
        // Bytes are counted: they must be those of the file, not of its compressed form.
        let mut headers = vec![("Accept-Encoding", "identity")];
        if let Some(validator) = known.as_ref().and_then(Version::validator) {
            headers.extend([("Range", range.as_str()), ("If-Range", validator)]);
        }
        let response = ask(&self.agent, address, &headers, self.patience.answer)?;
        if let Some(coding) = header(&response, "content-encoding")
            && !coding.trim().is_empty()
            && !coding.trim().eq_ignore_ascii_case("identity")
        {
            let problem = format!("it sends the file compressed ({coding:?}), which was not requested");
            return Err(Failure::Final(problem));
        }
        let length = announced(&response);
        match (response.status().as_u16(), known) {
            (200, _) => {
                let kind = header(&response, "content-type").unwrap_or_default().to_ascii_lowercase();
                if kind.starts_with("text/html") || kind.starts_with("application/xhtml") {
                    return Err(Failure::Final("this is a page, not the file".into()));
                }
                let total = length.or(expected.exact());
                match total {
                    Some(total) => expected.check(total)?,
                    None if is_chunked(&response) => {}
                    None => {
                        let problem = "it does not say how long the file is, so that it cannot be known \
                                       whether all of it came";
                        return Err(Failure::Final(problem.into()));
                    }
                }
                let version = Version::of(address, &response, length);
                partial.clear()?;
                version.write(target)?;
                self.body(response, expected, partial, total, progress)
            }
            (206, Some(known)) => {
                let range = header(&response, "content-range").and_then(|text| content_range(&text));
                let fits = range.is_some_and(|(first, total)| {
                    first == Some(here) && (known.total.is_none() || total.is_none() || known.total == total)
                });
                if !fits || known.differs(&Version::of(address, &response, None)) {
                    partial.clear()?;
                    return Err(Failure::Cut("it sends the rest of another version".into()));
                }
                let total = range.and_then(|(_, total)| total).or(known.total);
                let total = total.or(length.map(|length| here.saturating_add(length))).or(expected.exact());
                match total {
                    Some(total) => expected.check(total)?,
                    None if is_chunked(&response) => {}
                    None => return Err(Failure::Final("it does not say how long the file is".into())),
                }
                self.body(response, expected, partial, total, progress)
            }
            // There is no rest: all of it is here, if it is still the same file.
            (416, Some(known)) => {
                let range = header(&response, "content-range").and_then(|text| content_range(&text));
                let total = range.and_then(|(_, total)| total).or(known.total);
                if total == Some(here) && !known.differs(&Version::of(address, &response, None)) {
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

    /// Appends the body of an answer; `total` is the size of the whole file.
    fn body(
        &self,
        response: Response,
        expected: &Expected,
        partial: &mut Partial,
        total: Option<u64>,
        progress: Progress<'_>,
    ) -> Result<(), Failure> {
        let most = match (total, &expected.sizes) {
            (Some(total), _) => total,
            (None, Some(sizes)) => *sizes.end(),
            (None, None) => UNKNOWN_MOST,
        };
        // A download that does not fit is not started; for one of unknown size half of the disk is left free.
        let most = match (total, partial.free()) {
            (Some(total), _) => {
                partial.require(total.saturating_sub(partial.len()))?;
                most
            }
            (None, Some(free)) => most.min(partial.len() + free / 2),
            (None, None) => most,
        };
        let blocks = read_ahead(response);
        let shown = total.unwrap_or(0);
        progress(partial.len(), shown);
        let (mut since, mut had) = (Instant::now(), partial.len());
        loop {
            match blocks.recv_timeout(self.patience.bytes.saturating_sub(since.elapsed())) {
                Ok(Ok(block)) => {
                    if partial.len() + block.len() as u64 > most {
                        partial.clear()?;
                        return Err(Failure::Final(format!("it sends more than {most} bytes")));
                    }
                    partial.write(&block)?;
                }
                Ok(Err(error)) => return Err(Failure::Cut(error.to_string())),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if since.elapsed() >= self.patience.bytes {
                let (waited, came) = (since.elapsed().as_secs(), partial.len() - had);
                if came == 0 {
                    return Err(Failure::Cut(format!("nothing came for {waited} seconds")));
                }
                if came < self.patience.least(self.patience.bytes) {
                    return Err(Failure::Slow(format!("only {came} bytes came in {waited} seconds")));
                }
                (since, had) = (Instant::now(), partial.len());
            }
            progress(partial.len(), shown);
        }
        match total {
            Some(total) if partial.len() != total => {
                Err(Failure::Cut(format!("the file ends after {} of {total} bytes", partial.len())))
            }
            _ => Ok(()),
        }
    }
}

/// The length that an answer announces. (That of the HTTP library is absent for empty files.)
fn announced(response: &Response) -> Option<u64> {
    header(response, "content-length")?.trim().parse().ok().filter(|_| !is_chunked(response))
}

/// Whether the end of an answer can be distinguished from a cut although its length is not known.
fn is_chunked(response: &Response) -> bool {
    header(response, "transfer-encoding")
        .is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"))
}

/// The body of an answer in blocks, by a thread of its own, since only a channel can be waited on for a limited
/// time. A thread that hangs in a dead connection is left behind and ends with it, or with the program.
fn read_ahead(response: Response) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let mut reader = response.into_body().into_reader();
    let (send, receive) = mpsc::sync_channel::<io::Result<Vec<u8>>>(AHEAD);
    let reading = move || {
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
    };
    let spawned = thread::Builder::new().name("fetch".to_owned()).spawn(reading);
    match spawned {
        Ok(_) => receive,
        Err(error) => {
            // No more threads are allowed: the one block of this channel says so.
            let (send, receive) = mpsc::sync_channel(1);
            let _ = send.send(Err(error));
            receive
        }
    }
}

/// Looks at a file that is whole. Of one that cannot be it nothing is kept: it would be taken for the beginning
/// of the right one, or for all of it, ever again.
fn take<T>(
    target: &Path,
    expected: &Expected,
    partial: &mut Partial,
    check: &mut dyn FnMut(&Path) -> Result<T, Error>,
) -> Result<T, Failure> {
    let looked = (|| {
        expected.check(partial.len())?;
        let mut head = [0; 1024];
        let mut file = File::open(partial.path()).map_err(Error::io(partial.path()))?;
        let read = file.read(&mut head).map_err(Error::io(partial.path()))?;
        if is_page(head.get(..read).unwrap_or_default()) {
            return Err(Failure::Final("this is a page, not the file".into()));
        }
        check(partial.path()).map_err(|error| match error.kind() {
            ErrorKind::Data => Failure::Other(error),
            _ => Failure::Ours(error),
        })
    })();
    if matches!(looked, Err(Failure::Final(_) | Failure::Other(_))) {
        partial.clear()?;
        Client::forget(target)?;
    }
    looked
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
