//! A small S3 server in memory, for `bench/store.py`: what a client costs must not hide behind a server's cost.
//!
//! Built by `rustc -O`, without dependencies: `s3_memory` prints the port that it listens on, on loopback.
//! A thread a connection, keep-alive, path style; no signature is checked, and no bucket must be made.
//! Objects keep the parts that they were sent in, and are written to the socket from where they lie.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use http::{Answer, DATE, Data, Request, serve};

#[path = "s3_memory/http.rs"]
mod http;

const CRC: &str = "x-amz-checksum-crc64nvme";

static STATE: Mutex<State> = Mutex::new(State::new());

struct State {
    objects: BTreeMap<String, Arc<Object>>,
    uploads: BTreeMap<u64, BTreeMap<u32, Arc<Data>>>,
    next: u64,
}

struct Object {
    parts: Vec<Arc<Data>>,
    bytes: usize,
    etag: u64,
    crc: Option<String>,
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let stream = stream?;
        // A connection that ends in the middle is the client's affair.
        thread::spawn(move || serve(&stream));
    }
    Ok(())
}

impl Request {
    fn answer(&self, body: Data) -> Answer {
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        let upload = self.query.get("uploadId").and_then(|id| id.parse().ok());
        match (self.method.as_str(), upload) {
            ("PUT", Some(id)) => self.put_part(&mut state, id, body),
            ("PUT", None) if self.key.contains('/') => self.store(&mut state, vec![Arc::new(body)]),
            ("PUT", None) => Answer::of("200 OK"),
            ("POST", None) if self.query.contains_key("uploads") => {
                let id = state.number();
                state.uploads.insert(id, BTreeMap::new());
                Answer::xml(&format!(
                    "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key>\
                     <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ))
            }
            ("POST", Some(id)) => self.complete(&mut state, id),
            ("DELETE", id) => {
                match id {
                    Some(id) => drop(state.uploads.remove(&id)),
                    None => drop(state.objects.remove(&self.key)),
                }
                Answer::of("204 No Content")
            }
            ("GET" | "HEAD", _) if self.key.contains('/') => match state.objects.get(&self.key) {
                Some(object) => self.read_object(object),
                None => Answer::error("404 Not Found", "NoSuchKey"),
            },
            ("HEAD", _) => Answer::of("200 OK"),
            ("GET", _) => self.list(&state),
            _ => Answer::error("501 Not Implemented", "NotImplemented"),
        }
    }

    fn put_part(&self, state: &mut State, id: u64, body: Data) -> Answer {
        let number = self.query.get("partNumber").and_then(|number| number.parse().ok());
        let etag = state.number();
        match (state.uploads.get_mut(&id), number) {
            (Some(parts), Some(number)) => parts.insert(number, Arc::new(body)),
            _ => return Answer::error("404 Not Found", "NoSuchUpload"),
        };
        Answer { headers: format!("etag: \"{etag:032x}\"\r\n"), ..Answer::of("200 OK") }
    }

    /// All parts that came are taken: the list in the body is that of an honest client.
    fn complete(&self, state: &mut State, id: u64) -> Answer {
        let Some(parts) = state.uploads.remove(&id) else {
            return Answer::error("404 Not Found", "NoSuchUpload");
        };
        let stored = self.store(state, parts.into_values().collect());
        if stored.status != "200 OK" {
            return stored;
        }
        let etag = state.next;
        Answer::xml(&format!(
            "<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key>\
             <ETag>\"{etag:032x}\"</ETag></CompleteMultipartUploadResult>"
        ))
    }

    fn store(&self, state: &mut State, parts: Vec<Arc<Data>>) -> Answer {
        if self.header("if-none-match").is_some() && state.objects.contains_key(&self.key) {
            return Answer::error("412 Precondition Failed", "PreconditionFailed");
        }
        let (etag, crc) = (state.number(), self.header(CRC).map(str::to_owned));
        let bytes = parts.iter().map(|part| part.0.len()).sum();
        state.objects.insert(self.key.clone(), Arc::new(Object { parts, bytes, etag, crc }));
        Answer { headers: format!("etag: \"{etag:032x}\"\r\n"), ..Answer::of("200 OK") }
    }

    fn read_object(&self, object: &Arc<Object>) -> Answer {
        let Object { bytes, etag, crc, .. } = &**object;
        let mut headers =
            format!("etag: \"{etag:032x}\"\r\nlast-modified: {DATE}\r\naccept-ranges: bytes\r\n");
        headers.push_str("content-type: application/octet-stream\r\n");
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        let Some(range) = range else {
            if let Some(crc) = crc {
                _ = write!(headers, "{CRC}: {crc}\r\nx-amz-checksum-type: FULL_OBJECT\r\n");
            }
            let object = Some((object.clone(), 0, *bytes));
            return Answer { headers, object, ..Answer::of("200 OK") };
        };
        let (start, last) = match range.split_once('-').map(|(a, b)| (a.parse(), b.parse())) {
            Some((Ok(start), Ok(last))) => (start, bytes.saturating_sub(1).min(last)),
            Some((Ok(start), Err(_))) => (start, bytes.saturating_sub(1)),
            Some((Err(_), Ok(tail))) => (bytes.saturating_sub(tail), bytes.saturating_sub(1)),
            _ => return Answer::error("400 Bad Request", "InvalidArgument"),
        };
        if start > last || start >= *bytes {
            return Answer::error("416 Range Not Satisfiable", "InvalidRange");
        }
        _ = write!(headers, "content-range: bytes {start}-{last}/{bytes}\r\n");
        let object = Some((object.clone(), start, last + 1));
        Answer { headers, object, ..Answer::of("206 Partial Content") }
    }

    /// All keys at once, without the bucket's name.
    fn list(&self, state: &State) -> Answer {
        let prefix = self.query.get("prefix").map_or("", String::as_str);
        let start = format!("{}/{prefix}", self.key);
        let mut found = String::from("<IsTruncated>false</IsTruncated>");
        for (key, object) in state.objects.range(start.clone()..) {
            let Some(key) = key.starts_with(&start).then(|| &key[self.key.len() + 1..]) else {
                break;
            };
            let Object { bytes, etag, .. } = &**object;
            _ = write!(
                found,
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                 <ETag>\"{etag:032x}\"</ETag><Size>{bytes}</Size></Contents>"
            );
        }
        Answer::xml(&format!("<ListBucketResult>{found}</ListBucketResult>"))
    }
}

impl State {
    const fn new() -> Self {
        Self { objects: BTreeMap::new(), uploads: BTreeMap::new(), next: 0 }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Object {
    /// The bytes of a range, where they lie.
    fn slices(&self, start: usize, end: usize) -> Vec<&[u8]> {
        let mut found = Vec::new();
        let mut before = 0;
        for Data(part) in self.parts.iter().map(|part| &**part) {
            let (from, to) = (start.max(before), end.min(before + part.len()));
            if from < to {
                found.push(&part[from - before..to - before]);
            }
            before += part.len();
        }
        found
    }
}
