//! Servers as they are: those that cut, those that cannot go on, those that have another file by now.

use super::*;
use crate::fetch::test_server::{Answer, Request, Server, answer, cut};
use std::{
    ops::RangeInclusive,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

const FILE: &[u8] = b"0123456789abcdefghij";

fn client() -> Client {
    let second = Duration::from_secs(1);
    Client::new(Patience { answer: second, bytes: second, rate: 0, pause: Duration::ZERO, tries: 2 })
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
        self.fetch_as(&client(), addresses, &Expected::default())
    }

    fn fetch_as(&self, client: &Client, addresses: &[String], expected: &Expected) -> Result<String, Error> {
        let mut partial = Partial::open(&self.target()).unwrap();
        let (progress, check) = (&mut |_, _| {}, &mut |_: &Path| Ok(()));
        let fetched = client.fetch(addresses, &self.target(), expected, &mut partial, progress, check);
        fetched.map(|((), address)| address)
    }

    /// The message of a failure, after which nothing is left that could be taken for the file.
    fn refusal(
        &self,
        answer: impl Fn() -> Answer + Send + Sync + 'static,
        sizes: RangeInclusive<u64>,
    ) -> String {
        let server = Server::new(move |_| answer());
        let expected = Expected { sizes: Some(sizes) };
        let error = self.fetch_as(&client(), &[server.address("/")], &expected).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(!self.target().exists());
        error.to_string()
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
    let progress = &mut |done, total| told.push((done, total));
    let check = &mut |_: &Path| Ok(());
    client().fetch(&addresses, &place.target(), &Expected::default(), &mut partial, progress, check).unwrap();
    assert_eq!(place.there(), FILE);
    assert!(told.contains(&(7, 20)) && told.last() == Some(&(20, 20)), "{told:?}");
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].header("range"), seen[0].header("accept-encoding")), (None, Some("identity")));
    assert_eq!((seen[1].header("range"), seen[1].header("if-range")), (Some("bytes=7-"), Some("\"a\"")));
}

#[test]
fn another_run_resumes_where_the_first_stopped() {
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
    assert!(error.hint().unwrap().contains("resumes where this one stopped"));
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
        "ftp://127.0.0.1/file: this is not an address that begins with http",
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

/// An answer without a length: it ends when the connection does.
fn endless(headers: &str, body: &[u8]) -> Answer {
    let head = format!("HTTP/1.1 200 x\r\nConnection: close\r\n{headers}\r\n");
    Answer { bytes: [head.as_bytes(), body].concat(), silence: 0 }
}

#[test]
fn bodies_that_cannot_be_the_file_are_refused() {
    let place = Place::new();
    let refusal = |answer: fn() -> Answer, sizes: RangeInclusive<u64>| place.refusal(answer, sizes);
    let short = refusal(|| answer(200, &[], b"0123456789"), 15..=25);
    assert!(short.contains("has 10 bytes, the catalogue knows of 15 to 25"), "{short}");
    let empty = refusal(|| answer(200, &[], b""), 0..=25);
    assert!(empty.contains("the file that it sends is empty"), "{empty}");
    let gzip = refusal(|| answer(200, &[("Content-Encoding", "gzip")], FILE), 20..=20);
    assert!(gzip.contains("compressed (\"gzip\")"), "{gzip}");
    // Identity is not a coding.
    let server = Server::new(|_| answer(200, &[("Content-Encoding", "identity")], FILE));
    place.fetch(&[server.address("/")]).unwrap();
    // Without a length a cut would look like the end.
    let unknown = refusal(|| endless("", FILE), 15..=25);
    assert!(unknown.contains("it does not say how long the file is"), "{unknown}");
    // A page that says it is data.
    let page = refusal(|| answer(200, &[], b"<!DOCTYPE html><p>no"), 20..=20);
    assert!(page.contains("this is a page, not the file"), "{page}");
    assert!(place.there().is_empty(), "it would be taken for the beginning of the file");
    // More than announced by the catalogue, without end.
    let long =
        refusal(|| endless("Transfer-Encoding: chunked\r\n", &b"a\r\n0123456789\r\n".repeat(9)), 15..=25);
    assert!(long.contains("it sends more than 25 bytes"), "{long}");
}

#[test]
fn a_body_without_length_is_taken_where_its_end_is_certain() {
    let place = Place::new();
    let exact = Expected { sizes: Some(20..=20) };
    let server = Server::new(|_| endless("", FILE));
    place.fetch_as(&client(), &[server.address("/")], &exact).unwrap();
    assert_eq!(place.there(), FILE);
    let cut = Server::new(|_| endless("", &FILE[..7]));
    let error = place.fetch_as(&client(), &[cut.address("/")], &exact).unwrap_err();
    assert!(error.to_string().contains("the file ends after 7 of 20 bytes"), "{error}");
    let chunks = b"a\r\n0123456789\r\na\r\nabcdefghij\r\n0\r\n\r\n";
    let server = Server::new(|_| endless("Transfer-Encoding: chunked\r\n", chunks));
    place.fetch(&[server.address("/")]).unwrap();
    assert_eq!(place.there(), FILE);
    // Chunks that end without the end mark.
    let server = Server::new(|_| endless("Transfer-Encoding: chunked\r\n", &chunks[..20]));
    assert!(place.fetch(&[server.address("/")]).is_err());
}

#[test]
fn the_next_mirror_is_asked_whatever_is_wrong_with_the_first() {
    let bad: [fn() -> Answer; 7] = [
        || answer(200, &[], &FILE[..10]),
        || answer(200, &[], b""),
        || answer(200, &[("Content-Encoding", "br")], FILE),
        || endless("", &FILE[..9]),
        || answer(200, &[("Content-Type", "TEXT/HTML")], FILE),
        || cut(200, &[], FILE, 4),
        || answer(301, &[("Location", "file:///etc/passwd")], b""),
    ];
    for answer_badly in bad {
        let place = Place::new();
        let (first, second) = (Server::new(move |_| answer_badly()), Server::new(|_| answer(200, &[], FILE)));
        let addresses = [first.address("/"), second.address("/")];
        let expected = Expected { sizes: Some(18..=22) };
        assert_eq!(place.fetch_as(&client(), &addresses, &expected).unwrap(), addresses[1]);
        assert_eq!(place.there(), FILE);
    }
}

#[test]
fn a_mirror_with_another_file_is_left_for_the_next() {
    let place = Place::new();
    let (first, second) =
        (Server::new(|_| answer(200, &[], &[b'x'; 20])), Server::new(|_| answer(200, &[], FILE)));
    let mut check = |path: &Path| match std::fs::read(path).unwrap() == FILE {
        true => Ok(1),
        false => Err(Error::Changed { path: "file".into(), recorded: "a".into(), found: "b".into() }),
    };
    let mut partial = Partial::open(&place.target()).unwrap();
    let (target, expected) = (place.target(), Expected::default());
    let mut fetch = |addresses: &[String]| {
        client().fetch(addresses, &target, &expected, &mut partial, &mut |_, _| {}, &mut check)
    };
    let both = [first.address("/"), second.address("/")];
    assert_eq!(fetch(&both).unwrap(), (1, both[1].clone()));
    // Where all have another, that is the error.
    assert!(matches!(fetch(&both[..1]), Err(Error::Changed { .. })));
    assert!(place.there().is_empty());
}

#[test]
fn a_server_that_is_too_slow_is_left() {
    let place = Place::new();
    // A byte with every answer: something new each time, and never enough.
    let server = Server::new(move |request| {
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let from: usize = range.map_or(0, |from| from.parse().unwrap());
        let whole = rest(request, "\"a\"", FILE).bytes;
        let body = whole.len() - (FILE.len() - from);
        Answer { bytes: whole[..body + 1].to_vec(), silence: 900 }
    });
    let second = Duration::from_millis(500);
    let patience = Patience { answer: second, bytes: second, rate: 1000, pause: Duration::ZERO, tries: 3 };
    let error =
        place.fetch_as(&Client::new(patience), &[server.address("/")], &Expected::default()).unwrap_err();
    assert!(error.to_string().contains("only 1 bytes came in 0 seconds"), "{error}");
    assert!(server.seen().len() <= 3, "{}", server.seen().len());
}

#[test]
fn redirects_are_followed_and_bad_ones_told_with_their_address() {
    let place = Place::new();
    let server = Server::new(|request| match request.path.as_str() {
        "/a/file" => answer(302, &[("Location", "other?x=1")], b""),
        "/a/other?x=1" => answer(307, &[("Location", "/whole")], b""),
        "/whole" => answer(200, &[], FILE),
        "/loop" => answer(302, &[("Location", "/loop")], b""),
        "/nowhere" => answer(302, &[], b""),
        "/closed" => Answer { bytes: vec![], silence: 0 },
        "/to-closed" => answer(302, &[("Location", "/closed")], b""),
        "/passwd" => answer(302, &[("Location", "file:///etc/passwd")], b""),
        _ => answer(404, &[], b""),
    });
    place.fetch(&[server.address("/a/file")]).unwrap();
    assert_eq!(place.there(), FILE);
    for (path, expected) in [
        ("/loop", "it redirects more than 10 times"),
        ("/nowhere", "it redirects without saying to where"),
        ("/passwd", "it redirects to \"file:///etc/passwd\", which is not an address of a web server"),
        ("/closed", "the connection was closed before there was an answer"),
        ("/to-closed", "(redirected to \"http://127.0.0.1:"),
    ] {
        let error = Place::new().fetch(&[server.address(path)]).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("Peer disconnected"), "{error}");
    }
}

#[test]
fn faults_of_a_protected_connection_are_named() {
    // Neither speaks TLS: one closes at once, one answers in plain text.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closing = format!("https://{}/", listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().for_each(drop));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = format!("https://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = io::Write::write_all(&mut stream.unwrap(), b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    for address in [closing, plain] {
        let error = Place::new().fetch(&[address]).unwrap_err().to_string();
        assert!(error.contains("TLS") && !error.contains("Peer disconnected"), "{error}");
    }
}

#[test]
fn more_than_the_disk_has_is_not_begun() {
    let place = Place::new();
    let head = b"HTTP/1.1 200 x\r\nContent-Length: 4611686018427387904\r\n\r\n";
    let server = Server::new(|_| Answer { bytes: head.to_vec(), silence: 0 });
    let error = place.fetch(&[server.address("/")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    assert!(error.to_string().contains("file.bin.part needs 4611686018427387904 bytes"), "{error}");
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
