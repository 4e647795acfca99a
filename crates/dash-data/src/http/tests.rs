//! Servers as they are: those that cut, those that cannot go on, those that have another file by now.

use super::*;
use crate::testing::server::{Answer, Request, Server, answer, cut};
use dash_core::error::{Classify, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};

const FILE: &[u8] = b"0123456789abcdefghij";

fn client() -> Client {
    let second = Duration::from_secs(1);
    Client::new(Patience { answer: second, bytes: second, pause: Duration::ZERO, tries: 2 })
}

/// A place for one file.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn target(&self) -> PathBuf {
        self.0.path().join("file.bin")
    }

    fn fetch(&self, addresses: &[String]) -> Result<String, Error> {
        let mut partial = Partial::open(&self.target()).unwrap();
        client().fetch(addresses, &self.target(), &mut partial, &mut |_, _| {})
    }

    fn there(&self) -> Vec<u8> {
        std::fs::read(Partial::path_of(&self.target())).unwrap()
    }
}

/// The rest that a request asks for, as a server with ranges sends it.
fn rest(request: &Request, tag: &str, body: &[u8]) -> Answer {
    let from = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    match from {
        Some(from) if request.header("if-range") == Some(tag) => {
            let from: usize = from.parse().unwrap();
            let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
            answer(206, &[("ETag", tag), ("Content-Range", &range)], &body[from..])
        }
        _ => answer(200, &[("ETag", tag)], body),
    }
}

/// A server whose answers are numbered.
fn numbered(respond: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::new(move |request| respond(count.fetch_add(1, Ordering::SeqCst), request))
}

#[test]
fn a_file_that_was_cut_is_continued() {
    let place = Place::new();
    let server = numbered(|number, request| match number {
        0 => cut(200, &[("ETag", "\"a\"")], FILE, 7),
        _ => rest(request, "\"a\"", FILE),
    });
    let mut told = vec![];
    let mut partial = Partial::open(&place.target()).unwrap();
    let addresses = [server.address("/file")];
    client()
        .fetch(&addresses, &place.target(), &mut partial, &mut |done, total| told.push((done, total)))
        .unwrap();
    assert_eq!(place.there(), FILE);
    assert!(told.contains(&(7, 20)) && told.last() == Some(&(20, 20)), "{told:?}");
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].header("range"), seen[0].header("accept-encoding")), (None, Some("identity")));
    assert_eq!((seen[1].header("range"), seen[1].header("if-range")), (Some("bytes=7-"), Some("\"a\"")));
}

#[test]
fn another_run_goes_on_where_the_first_has_stopped() {
    let place = Place::new();
    let tag = ("Last-Modified", "Tue, 01 Jan 2030 00:00:00 GMT");
    let server = numbered(move |number, request| match number {
        // The first run gets nothing more, and gives up.
        0 => cut(200, &[tag], FILE, 5),
        1 | 2 => answer(503, &[], b""),
        _ => {
            assert_eq!(request.header("if-range"), Some(tag.1));
            answer(206, &[tag, ("Content-Range", "bytes 5-19/20")], &FILE[5..])
        }
    });
    let addresses = [server.address("/")];
    let error = place.fetch(&addresses).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.hint().unwrap().contains("goes on where this one has stopped"));
    assert!(error.to_string().contains("it answers with status 503"), "{error}");
    assert_eq!(place.there(), b"01234");
    place.fetch(&addresses).unwrap();
    assert_eq!(place.there(), FILE);
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let place = Place::new();
    let server = numbered(|number, _| match number {
        0 => cut(200, &[("ETag", "\"a\"")], FILE, 7),
        _ => answer(200, &[("ETag", "\"a\"")], FILE),
    });
    place.fetch(&[server.address("/")]).unwrap();
    assert_eq!(place.there(), FILE);
    // One that does not say which version it has is not asked for a rest.
    let place = Place::new();
    let server = numbered(|number, _| match number {
        0 => cut(200, &[("ETag", "W/\"a\"")], FILE, 7),
        _ => answer(200, &[], FILE),
    });
    place.fetch(&[server.address("/")]).unwrap();
    assert_eq!(place.there(), FILE);
    assert_eq!(server.seen()[1].header("range"), None);
}

#[test]
fn a_server_that_always_stops_at_the_same_place_is_given_up() {
    let place = Place::new();
    let server = Server::new(|_| cut(200, &[], FILE, 7));
    assert!(place.fetch(&[server.address("/")]).is_err());
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_file_that_changed_is_begun_anew() {
    let new = b"another file of another length";
    // By the rules: all of the new file.
    let place = Place::new();
    let server = numbered(move |number, request| match number {
        0 => cut(200, &[("ETag", "\"a\"")], FILE, 7),
        _ => rest(request, "\"b\"", new),
    });
    place.fetch(&[server.address("/")]).unwrap();
    assert_eq!(place.there(), new);
    // Against them: a rest of the new file, or a rest of other length or from another place.
    for headers in [
        [("ETag", "\"b\""), ("Content-Range", "bytes 7-29/30")],
        [("ETag", "\"a\""), ("Content-Range", "bytes 7-29/30")],
        [("ETag", "\"a\""), ("Content-Range", "bytes 0-19/20")],
        [("ETag", "\"a\""), ("Content-Range", "rubbish")],
    ] {
        let place = Place::new();
        let server = numbered(move |number, _| match number {
            0 => cut(200, &[("ETag", "\"a\"")], FILE, 7),
            1 => answer(206, &headers, &new[7..]),
            _ => answer(200, &[("ETag", "\"b\"")], new),
        });
        place.fetch(&[server.address("/")]).unwrap();
        assert_eq!(place.there(), new, "{headers:?}");
    }
}

#[test]
fn a_file_that_is_whole_is_not_sent_again() {
    let place = Place::new();
    let server = numbered(|number, _| match number {
        0 => answer(200, &[("ETag", "\"a\"")], FILE),
        1 => answer(416, &[("Content-Range", "bytes */20")], b""),
        2 => answer(416, &[("Content-Range", "bytes */9")], b""),
        _ => answer(200, &[], &FILE[..9]),
    });
    for expected in [20, 20, 9] {
        place.fetch(&[server.address("/")]).unwrap();
        assert_eq!(place.there(), FILE[..expected]);
    }
}

#[test]
fn mirrors_are_tried_in_turn_and_their_parts_are_not_mixed() {
    let place = Place::new();
    let first = numbered(|number, _| match number {
        0 => cut(200, &[("ETag", "\"a\"")], b"first mirror", 5),
        _ => answer(410, &[], b"gone"),
    });
    let second = Server::new(|request| rest(request, "\"a\"", b"second mirror"));
    let page = Server::new(|_| answer(200, &[("Content-Type", "text/html; charset=utf-8")], b"<html>"));
    // Nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let addresses = [
        format!("http://{nobody}/"),
        "ftp://127.0.0.1/file".to_owned(),
        page.address("/"),
        first.address("/"),
        second.address("/"),
    ];
    assert_eq!(place.fetch(&addresses).unwrap(), addresses[4]);
    assert_eq!(place.there(), b"second mirror");
    assert_eq!(second.seen()[0].header("range"), None);

    let message = place.fetch(&addresses[..4]).unwrap_err().to_string();
    for part in [
        "file.bin: cannot be fetched: http://127.0.0.1",
        "ftp://127.0.0.1/file: this is no address that begins with http",
        "this is a page, not the file",
        "it answers with status 410",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // What has begun is continued where it came from.
    let mut partial = Partial::open(&place.target()).unwrap();
    partial.clear().unwrap();
    partial.write(b"second").unwrap();
    assert_eq!(place.fetch(&addresses).unwrap(), addresses[4]);
    assert_eq!(second.seen().last().unwrap().header("range"), Some("bytes=6-"));
    assert_eq!(place.there(), b"second mirror");
}

#[test]
fn a_server_that_falls_silent_is_left() {
    let place = Place::new();
    let server = numbered(|number, request| match number {
        0 => Answer { silence: 3000, ..cut(200, &[("ETag", "\"a\"")], FILE, 7) },
        _ => rest(request, "\"a\"", FILE),
    });
    place.fetch(&[server.address("/")]).unwrap();
    assert_eq!(place.there(), FILE);
}

#[test]
fn ranges_are_read_strictly() {
    assert_eq!(content_range("bytes 5-9/10"), Some((Some(5), Some(10))));
    assert_eq!(content_range("bytes 5-9/*"), Some((Some(5), None)));
    assert_eq!(content_range("bytes */10"), Some((None, Some(10))));
    for text in ["", "5-9/10", "bytes 5/10", "bytes -5-9/10", "bytes 5-9", "bytes x-9/10"] {
        assert_eq!(content_range(text), None, "{text}");
    }
}
