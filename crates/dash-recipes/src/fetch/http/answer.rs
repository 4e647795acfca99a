//! Sends a request, follows redirects, and detects answers that are not files.

use super::failure::{Failure, Response};
use std::{io, time::Duration};

/// How often an address may lead to another.
const REDIRECTS: usize = 10;

/// A header of an answer as text.
pub(super) fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// Requests a file and follows redirects. They are followed here so that errors behind a redirect can be reported
/// with its address.
pub(super) fn ask(
    agent: &ureq::Agent,
    address: &str,
    headers: &[(&str, &str)],
    patience: Duration,
) -> Result<Response, Failure> {
    let mut at = address.to_owned();
    for _ in 0..=REDIRECTS {
        let mut request = agent.get(&at);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let behind = if at == address { String::new() } else { format!(" (redirected to {at:?})") };
        let response = request.call().map_err(|error| explain(error, &at, &behind, patience))?;
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(response);
        }
        let Some(location) = header(&response, "location") else {
            return Err(Failure::Final(format!("it redirects without saying to where{behind}")));
        };
        let Some(next) = join(&at, &location) else {
            let problem =
                format!("it redirects to {location:?}, which is not an address of a web server{behind}");
            return Err(Failure::Final(problem));
        };
        // An address that is protected must not lead to one that is not.
        if address.starts_with("https:") && !next.starts_with("https:") {
            return Err(Failure::Final(format!("it redirects to {next:?}, which is not protected by https")));
        }
        at = next;
    }
    Err(Failure::Final(format!("it redirects more than {REDIRECTS} times")))
}

/// Explains a failure to get an answer, and decides whether another request may help.
fn explain(error: ureq::Error, at: &str, behind: &str, patience: Duration) -> Failure {
    let protected = at.starts_with("https:");
    match error {
        ureq::Error::Io(error) if protected && error.kind() == io::ErrorKind::InvalidData => {
            Failure::Final(format!("there is no protected connection (TLS): {error}{behind}"))
        }
        // A server that closes with unread bytes resets the connection.
        ureq::Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
        {
            let tls = if protected { "; perhaps the server does not speak TLS" } else { "" };
            Failure::Cut(format!("the connection was closed before there was an answer{tls}{behind}"))
        }
        ureq::Error::Io(error) => Failure::Cut(format!("{error}{behind}")),
        ureq::Error::Timeout(_) => {
            Failure::Cut(format!("there was no answer within {} seconds{behind}", patience.as_secs()))
        }
        ureq::Error::HostNotFound => {
            Failure::Final(format!("there is no such host, or no connection to the network{behind}"))
        }
        ureq::Error::Tls(problem) => {
            Failure::Final(format!("there is no protected connection (TLS): {problem}{behind}"))
        }
        ureq::Error::Rustls(problem) => {
            Failure::Final(format!("there is no protected connection (TLS): {problem}{behind}"))
        }
        other => Failure::Final(format!("{other}{behind}")),
    }
}

/// The address that a `Location` means, read at the address `base`; `None` if it is of no web server.
fn join(base: &str, location: &str) -> Option<String> {
    let location = location.trim().split('#').next().filter(|location| !location.is_empty())?;
    let (scheme, rest) = base.split_once("://")?;
    let has_scheme = location.split(['/', '?']).next().is_some_and(|first| first.contains(':'));
    if has_scheme {
        let lower = location.to_ascii_lowercase();
        let prefix = ["http://", "https://"].into_iter().find(|prefix| lower.starts_with(prefix))?;
        let host = location.get(prefix.len()..).filter(|rest| !rest.is_empty() && !rest.starts_with('/'))?;
        return Some(format!("{prefix}{host}"));
    }
    if let Some(host) = location.strip_prefix("//") {
        return (!host.is_empty() && !host.starts_with('/')).then(|| format!("{scheme}://{host}"));
    }
    let path = rest.split('?').next().unwrap_or(rest);
    let host = path.split('/').next().unwrap_or(path);
    Some(match location.chars().next() {
        Some('/') => format!("{scheme}://{host}{location}"),
        Some('?') => format!("{scheme}://{path}{location}"),
        _ => {
            let folder = path.rsplit_once('/').map_or(host, |(folder, _)| folder);
            format!("{scheme}://{folder}/{location}")
        }
    })
}

/// Whether the first bytes of a file are those of a web page, which some servers send instead of an error.
pub(super) fn is_page(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_lowercase();
    text.starts_with("<!doctype html") || text.starts_with("<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_at_the_address_that_redirects() {
        let base = "https://host:1/a/b?c=d";
        for (location, address) in [
            ("http://other/x", Some("http://other/x")),
            ("HTTPS://other/x#part", Some("https://other/x")),
            ("//other/x", Some("https://other/x")),
            ("/x:y", Some("https://host:1/x:y")),
            ("x", Some("https://host:1/a/x")),
            ("?e", Some("https://host:1/a/b?e")),
            ("file:///etc/passwd", None),
            ("ftp://other/x", None),
            ("https:///x", None),
            ("", None),
            ("#part", None),
        ] {
            assert_eq!(join(base, location).as_deref(), address, "{location}");
        }
        assert_eq!(join("http://host", "x").as_deref(), Some("http://host/x"));
    }

    #[test]
    fn pages_are_known_by_their_beginning() {
        assert!(is_page(b"\xef\xbb\xbf\n <!DOCTYPE html><p>") && is_page(b"<HTML>"));
        assert!(!is_page(b"") && !is_page(b"\x93NUMPY") && !is_page(b"<?xml"));
    }
}
