//! A small S3 server in memory, for `bench/store.py`: what a client costs must not hide behind a server's cost.
//!
//! Built by `rustc -O`, without dependencies: `s3_memory` prints the port that it listens on, on loopback.
//! A thread a connection, keep-alive, path style; no signature is checked, and no bucket must be made.
//! Objects keep the parts that they were sent in, and are written to the socket from where they lie.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Bodies up to this size travel in one piece with the head of the answer.
const SMALL: usize = 64 << 10;
/// Smallest buffer that is kept for the next upload, or the kernel would clear new pages for each.
const KEPT: usize = 1 << 20;
const BUFFER: usize = 256 << 10;
const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
const CRC: &str = "x-amz-checksum-crc64nvme";

static STATE: Mutex<State> = Mutex::new(State::new());
static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

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

/// Bytes whose memory is used again.
struct Data(Vec<u8>);

struct Request {
    method: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
}

struct Answer {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    object: Option<(Arc<Object>, usize, usize)>,
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

fn serve(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(BUFFER, stream);
    let mut head = Vec::new();
    while let Some(request) = Request::read(&mut reader)? {
        if request.header("expect").is_some() {
            (&*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = request.body(&mut reader)?;
        let answer = request.answer(body);
        answer.send(&request, stream, &mut head)?;
    }
    Ok(())
}

impl Request {
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(invalid("a request line"));
        };
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let (key, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query = query.map(|(name, value)| (name.to_owned(), value.replace("%2F", "/")));
        let key = key.trim_matches('/').to_owned();
        Ok(Some(Self { method, key, query: query.collect(), headers }))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn body(&self, reader: &mut impl BufRead) -> io::Result<Data> {
        let signed = self.header("x-amz-content-sha256").unwrap_or("");
        if signed.starts_with("STREAMING-") || self.header("transfer-encoding").is_some() {
            return read_chunks(reader);
        }
        let length = self.header("content-length").map_or(Ok(0), str::parse::<usize>);
        let length = length.map_err(|_| invalid("a length"))?;
        let mut data = Data::with_capacity(length);
        if reader.take(length as u64).read_to_end(&mut data.0)? < length {
            return Err(invalid("a whole body"));
        }
        Ok(data)
    }

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
            ("DELETE", Some(id)) => {
                state.uploads.remove(&id);
                Answer::of("204 No Content")
            }
            ("DELETE", None) => {
                state.objects.remove(&self.key);
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
            let Some(key) = key.starts_with(&start).then(|| &key[self.key.len() + 1..]) else { break };
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

impl Answer {
    fn of(status: &'static str) -> Self {
        Self { status, headers: String::new(), body: Vec::new(), object: None }
    }

    fn xml(body: &str) -> Self {
        let headers = "content-type: application/xml\r\n".to_owned();
        Self { headers, body: body.as_bytes().to_vec(), ..Self::of("200 OK") }
    }

    fn error(status: &'static str, code: &str) -> Self {
        let body = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
        Self { status, ..Self::xml(&body) }
    }

    fn send(&self, request: &Request, stream: &TcpStream, head: &mut Vec<u8>) -> io::Result<()> {
        let length = self.object.as_ref().map_or(self.body.len(), |(_, start, end)| end - start);
        head.clear();
        write!(head, "HTTP/1.1 {}\r\n{}date: {DATE}\r\n", self.status, self.headers)?;
        // A status without a body has no length either.
        if !self.status.starts_with("204") {
            write!(head, "content-length: {length}\r\n")?;
        }
        head.extend_from_slice(b"x-amz-request-id: bench\r\n\r\n");
        let bodiless = request.method == "HEAD";
        let pieces: Vec<&[u8]> = match &self.object {
            _ if bodiless => vec![],
            Some((object, start, end)) => object.slices(*start, *end),
            None => vec![&self.body],
        };
        if length <= SMALL {
            pieces.iter().for_each(|piece| head.extend_from_slice(piece));
            return (&*stream).write_all(head);
        }
        write_all(stream, head, &pieces)
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

/// Writes a head and a body, of which the first piece goes with the head.
fn write_all(mut stream: &TcpStream, head: &[u8], pieces: &[&[u8]]) -> io::Result<()> {
    let Some((first, rest)) = pieces.split_first() else { return stream.write_all(head) };
    let sent = stream.write_vectored(&[IoSlice::new(head), IoSlice::new(first)])?;
    stream.write_all(head.get(sent..).unwrap_or(&[]))?;
    stream.write_all(&first[sent.saturating_sub(head.len())..])?;
    rest.iter().try_for_each(|piece| stream.write_all(piece))
}

/// Reads a body in chunks: those of HTTP and those of `aws-chunked` look alike, signatures aside.
fn read_chunks(reader: &mut impl BufRead) -> io::Result<Data> {
    let mut data = Data::with_capacity(0);
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let size = line.trim_end().split(';').next().unwrap_or("");
        let size = u64::from_str_radix(size, 16).map_err(|_| invalid("a chunk"))?;
        reader.by_ref().take(size).read_to_end(&mut data.0)?;
        // What follows the last chunk are trailers, and an empty line.
        while reader.read_line(&mut line)? > 2 && size == 0 {}
        if size == 0 {
            return Ok(data);
        }
    }
}

fn invalid(expected: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("expected {expected}"))
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

impl Data {
    fn with_capacity(bytes: usize) -> Self {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |data: &Vec<u8>| (bytes..=2 * bytes).contains(&data.capacity());
        match free.iter().position(fits) {
            Some(place) if bytes >= KEPT => Self(free.swap_remove(place)),
            _ => Self(Vec::with_capacity(bytes)),
        }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let mut data = std::mem::take(&mut self.0);
        if data.capacity() >= KEPT {
            data.clear();
            FREE.lock().unwrap_or_else(PoisonError::into_inner).push(data);
        }
    }
}
