//! What the server reads from a connection and writes to it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use super::Object;

/// Bodies up to this size travel in one piece with the head of the answer.
const SMALL: usize = 64 << 10;
/// Smallest buffer that is kept for the next upload, or the kernel would clear new pages for each.
const KEPT: usize = 1 << 20;
const BUFFER: usize = 256 << 10;
pub const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Bytes whose memory is used again.
pub struct Data(pub Vec<u8>);

pub struct Request {
    pub method: String,
    pub key: String,
    pub query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
}

pub struct Answer {
    pub status: &'static str,
    pub headers: String,
    pub body: Vec<u8>,
    pub object: Option<(Arc<Object>, usize, usize)>,
}

/// Answers what comes over a connection until its end.
pub fn serve(stream: &TcpStream) -> io::Result<()> {
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

    pub fn header(&self, name: &str) -> Option<&str> {
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
}

impl Answer {
    pub fn of(status: &'static str) -> Self {
        Self { status, headers: String::new(), body: Vec::new(), object: None }
    }

    pub fn xml(body: &str) -> Self {
        let headers = "content-type: application/xml\r\n".to_owned();
        Self { headers, body: body.as_bytes().to_vec(), ..Self::of("200 OK") }
    }

    pub fn error(status: &'static str, code: &str) -> Self {
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
            for piece in pieces {
                head.extend_from_slice(piece);
            }
            return (&*stream).write_all(head);
        }
        write_all(stream, head, &pieces)
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
