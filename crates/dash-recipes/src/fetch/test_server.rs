//! A small HTTP server on this machine whose answers a test chooses.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// A request. Names of headers are in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// What is written to the connection before it is closed.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// Keeps the connection open for so many milliseconds without a word.
    pub(crate) silence: u64,
}

/// An answer with a length.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    cut(status, headers, body, body.len())
}

/// An answer of which only the first `length` bytes of the body come.
pub(crate) fn cut(status: u16, headers: &[(&str, &str)], body: &[u8], length: usize) -> Answer {
    let mut bytes = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    bytes.extend(b"Connection: close\r\n\r\n");
    bytes.extend(&body[..length]);
    Answer { bytes, silence: 0 }
}

/// Answers until the end of the test.
pub(crate) struct Server {
    host: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn new(respond: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(vec![]));
        let (log, respond) = (Arc::clone(&seen), Arc::new(respond));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, respond) = (Arc::clone(&log), Arc::clone(&respond));
                // One that keeps a connection open does not keep others waiting.
                thread::spawn(move || {
                    let Ok(mut stream) = stream else { return };
                    let Some(request) = read(&mut stream) else { return };
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                    let answer = respond(&request);
                    // The other side may have closed already.
                    let _ = stream.write_all(&answer.bytes);
                    thread::sleep(Duration::from_millis(answer.silence));
                });
            }
        });
        Server { host, seen }
    }

    pub(crate) fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Request { path, headers: headers.collect() })
}
