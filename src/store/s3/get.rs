use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;

use super::super::contract::Store as _;
use super::super::key::{Key, REF_SUFFIX};
use super::super::read::Memory;
use super::super::window::Window;
use super::direct::{Order, Reply};
use super::failure::{Failure, Kind};
use super::store::{S3Store, crc_of_base64};
use crate::aws::Clients;
use crate::error::{Error, Result};
use crate::reference::{crc, crc_text};

/// A body from which nothing comes for so long is given up, and asked for again from where it stopped.
const STALLED: Duration = Duration::from_secs(5);
/// Requests in a row that may end without a byte.
const FRUITLESS: u32 = 4;
/// Wait before the second of them; it doubles.
const BACKOFF: Duration = Duration::from_millis(50);
const READ: &str = "s3:GetObject";

/// What is asked for: an object, one of its versions, and over which connections.
struct Request<'a> {
    store: &'a S3Store,
    clients: &'a Clients,
    key: String,
    version: Option<String>,
    /// What all answers must have, once the first has said it.
    etag: Option<String>,
    fresh: bool,
}

/// What there is of an answer, from whichever way it came.
struct Answer {
    etag: Option<String>,
    content_length: Option<i64>,
    content_range: Option<String>,
    /// CRC-64/NVME of the object, in base64.
    crc64nvme: Option<String>,
    body: ByteStream,
}

impl From<GetObjectOutput> for Answer {
    fn from(found: GetObjectOutput) -> Self {
        Self {
            etag: found.e_tag,
            content_length: found.content_length,
            content_range: found.content_range,
            crc64nvme: found.checksum_crc64_nvme,
            body: found.body,
        }
    }
}

impl From<HttpResponse> for Answer {
    fn from(found: HttpResponse) -> Self {
        let header = |name: &str| found.headers().get(name).map(str::to_owned);
        Self {
            etag: header("etag"),
            content_length: header("content-length").and_then(|length| length.parse().ok()),
            content_range: header("content-range"),
            crc64nvme: header("x-amz-checksum-crc64nvme"),
            body: ByteStream::new(found.into_body()),
        }
    }
}

/// Why a body ended before its last byte.
struct Cut;

impl S3Store {
    /// See [`super::super::Store::read`].
    pub(super) async fn fill(
        &self,
        key: &Key,
        version: Option<&str>,
        start: u64,
        window: &mut Window<'_>,
        fresh: bool,
    ) -> Result<u64> {
        let clients = self.clients().await?;
        let of_etag = version.is_some_and(|version| version.starts_with('"'));
        let (etag, version) = if of_etag { (version, None) } else { (None, version) };
        let mut request = Request {
            store: self,
            clients: &clients,
            key: self.full(key)?,
            version: version.map(str::to_owned),
            etag: etag.map(str::to_owned),
            fresh,
        };
        request.fill(start, window, None).await
    }

    /// See [`super::super::Store::get`]: the size is S3's to say.
    pub(super) async fn fetch(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return self.head(key).await.map(|_| Bytes::new());
        }
        let found = self.fetch_once(key, range.clone(), false).await?;
        let again = match &found {
            // It may be the way that is damaged.
            Fetched::Damaged { .. } => true,
            // A reference is believed, so it must have been vouched for, or come twice the same.
            Fetched::Unvouched(_) => key.as_str().ends_with(REF_SUFFIX),
            Fetched::Whole(_) => false,
        };
        let (first, second) = if again {
            (Some(found), self.fetch_once(key, range, true).await?)
        } else {
            (None, found)
        };
        match (first, second) {
            (_, Fetched::Damaged { expected, found }) => {
                let (uri, what) = (self.uri(key), "crc64nvme");
                Err(Error::Corrupt { uri, what, expected, found })
            }
            (Some(Fetched::Unvouched(first)), Fetched::Unvouched(second)) if first != second => {
                let reason = "its bytes came differently each time".to_owned();
                Err(Error::Unavailable { uri: self.uri(key), reason })
            }
            // What the first answer said of the bytes still holds.
            (Some(Fetched::Damaged { expected, .. }), Fetched::Unvouched(data)) => {
                let found = crc_text(crc(&data));
                if found == expected {
                    return Ok(data);
                }
                let (uri, what) = (self.uri(key), "crc64nvme");
                Err(Error::Corrupt { uri, what, expected, found })
            }
            (_, Fetched::Whole(data) | Fetched::Unvouched(data)) => Ok(data),
        }
    }

    async fn fetch_once(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        fresh: bool,
    ) -> Result<Fetched> {
        let clients = self.clients().await?;
        let uri = || self.uri(key);
        let mut request = Request {
            store: self,
            clients: &clients,
            key: self.full(key)?,
            version: None,
            etag: None,
            fresh,
        };
        let opened = self.within(uri(), 0, async {
            match request.open(range.clone()).await {
                Ok(answer) => Ok(Some(answer)),
                // There is an object, and none of it in the range.
                Err(failure) if failure.kind == Kind::Range => Ok(None),
                Err(failure) => Err(request.failed(failure).await),
            }
        });
        let Some(answer) = opened.await? else { return Ok(Fetched::Whole(Bytes::new())) };
        let bytes = match answer.content_length.and_then(|n| u64::try_from(n).ok()) {
            Some(bytes) => bytes,
            // A body in chunks.
            None => self.head(key).await?.bytes,
        };
        // Of a part of the object it would say nothing.
        let whole = answer.crc64nvme.as_deref().filter(|_| range.is_none());
        let expected = whole.and_then(crc_of_base64).map(crc_text);
        let mut memory = Memory::of(&uri(), bytes)?;
        let mut window = Window::new(memory.buffer());
        let start = range.map_or(0, |range| range.start);
        let fill = Box::pin(request.fill(start, &mut window, Some(answer)));
        self.within(uri(), bytes, fill).await?;
        let missing = window.missing();
        if missing > 0 {
            let reason = format!("{missing} of {bytes} bytes did not come");
            return Err(Error::Unavailable { uri: uri(), reason });
        }
        let found = crc_text(window.crc());
        // SAFETY: the window has the whole buffer, and no byte of it is missing.
        let data = unsafe { memory.filled() };
        Ok(match expected {
            None => Fetched::Unvouched(data),
            Some(expected) if expected == found => Fetched::Whole(data),
            Some(expected) => Fetched::Damaged { expected, found },
        })
    }
}

/// What came of a read.
enum Fetched {
    /// Bytes whose CRC the answer has.
    Whole(Bytes),
    /// Bytes of which the answer has no CRC.
    Unvouched(Bytes),
    /// The CRCs that the answer and the bytes have.
    Damaged { expected: String, found: String },
}

impl Request<'_> {
    /// Fills the window from `start` on, by as many requests as it takes: each goes on at the last good byte.
    async fn fill(
        &mut self,
        start: u64,
        window: &mut Window<'_>,
        mut opened: Option<Answer>,
    ) -> Result<u64> {
        let mut fruitless = 0;
        let mut size = None;
        while window.missing() > 0 {
            let before = window.filled();
            let from = start + before as u64;
            let answer = match opened.take() {
                Some(answer) => Ok(answer),
                None => self.open(Some(from..from + window.missing() as u64)).await,
            };
            let failure = match answer {
                Ok(answer) => {
                    size = known_size(&answer).or(size);
                    match self.take(from, answer, window).await? {
                        Ok(()) => break,
                        // It promised more than there is, and all has come.
                        Err(Cut) if window.missing() == 0 => break,
                        Err(Cut) => Failure::transient("the body ended early"),
                    }
                }
                // All that there is has been read.
                Err(failure) if failure.kind == Kind::Range => break,
                Err(failure) => failure,
            };
            fruitless = if window.filled() > before { 0 } else { fruitless + 1 };
            if failure.kind != Kind::Transient || fruitless >= FRUITLESS {
                return Err(self.failed(failure).await);
            }
            if fruitless > 0 {
                tokio::time::sleep(BACKOFF * (1 << fruitless)).await;
            }
        }
        Ok(size.unwrap_or(start + window.filled() as u64))
    }

    async fn open(&mut self, range: Option<Range<u64>>) -> Result<Answer, Failure> {
        let range = range.map(|range| {
            // Past the last byte that a header can name there is none.
            format!("bytes={}-{}", range.start, range.end.min(i64::MAX as u64).saturating_sub(1))
        });
        let answer = match self.ask_directly(range.as_deref()).await {
            Some(answer) => answer,
            None => self.ask(range).await?,
        };
        // An object that is replaced meanwhile must not give half of each.
        if self.etag.is_none() {
            self.etag.clone_from(&answer.etag);
        }
        Ok(answer)
    }

    /// Asks by the short way, if what is asked for is known to be there.
    async fn ask_directly(&self, range: Option<&str>) -> Option<Answer> {
        let range = range.filter(|_| !self.fresh)?;
        let mut headers = vec![("range", range.to_owned())];
        headers.extend(self.etag.clone().map(|etag| ("if-match", etag)));
        headers.extend(self.store.common_headers());
        let query = self.version.as_deref().map(|version| ("versionId", version));
        let order = Order { method: "GET", key: &self.key, query, headers, body: Bytes::new() };
        match self.store.direct.send(self.clients, &self.store.bucket, order).await {
            Reply::Success(answer) => Some((*answer).into()),
            Reply::Precondition | Reply::Other => None,
        }
    }

    async fn ask(&self, range: Option<String>) -> Result<Answer, Failure> {
        let Self { store, clients, key, version, etag, fresh } = self;
        let client = if *fresh { &clients.fresh } else { &clients.read };
        let answer = Box::pin(
            client
                .get_object()
                .bucket(&store.bucket)
                .key(key.as_str())
                // Without a range the answer says the CRC of the object, where S3 has it.
                .set_checksum_mode(range.is_none().then_some(ChecksumMode::Enabled))
                .set_range(range)
                .set_version_id(version.clone())
                .set_if_match(etag.clone())
                .set_expected_bucket_owner(store.owner())
                .set_request_payer(store.payer())
                .send(),
        )
        .await;
        answer.map(Answer::from).map_err(Failure::of)
    }

    /// Takes a body into the window. The outer error is final, the inner one worth another request.
    async fn take(
        &self,
        from: u64,
        answer: Answer,
        window: &mut Window<'_>,
    ) -> Result<Result<(), Cut>> {
        // A server that ignores the range sends the object from its beginning.
        let first = answer.content_range.as_deref().map_or(Some(0), first_byte);
        if first != Some(from) {
            let reason = "the server does not answer ranges".to_owned();
            return Err(Error::Unavailable { uri: self.uri(), reason });
        }
        let size = known_size(&answer);
        let before = window.filled();
        let taken = drain(answer.body, window).await?;
        let came = (window.filled() - before) as u64;
        // The object may be smaller than the reference says: the caller compares the sizes.
        let ended = window.missing() == 0 || size.is_some_and(|size| from + came >= size);
        Ok(taken.and(if ended { Ok(()) } else { Err(Cut) }))
    }

    fn uri(&self) -> String {
        format!("s3://{}/{}", self.store.bucket, self.key)
    }

    async fn failed(&self, failure: Failure) -> Error {
        if failure.kind == Kind::Precondition {
            let expected = self.etag.clone().unwrap_or_default();
            let (uri, found) = (self.uri(), "another".to_owned());
            return Error::Corrupt { uri, what: "version", expected, found };
        }
        self.store.failed(self.clients, READ, &self.key, failure).await
    }
}

/// Bytes of the object, of which an answer may have a part. A body in chunks does not say it.
fn known_size(answer: &Answer) -> Option<u64> {
    let length = answer.content_length.and_then(|n| u64::try_from(n).ok());
    answer.content_range.as_deref().and_then(total).or(length)
}

async fn drain(mut body: ByteStream, window: &mut Window<'_>) -> Result<Result<(), Cut>> {
    loop {
        let Ok(next) = tokio::time::timeout(STALLED, body.next()).await else {
            return Ok(Err(Cut));
        };
        match next {
            None => return Ok(Ok(())),
            Some(Err(_)) => return Ok(Err(Cut)),
            Some(Ok(data)) => {
                // A server may send more than it was asked for.
                let data = &data[..data.len().min(window.missing())];
                window.push(data)?;
                if window.missing() == 0 && data.is_empty() {
                    return Ok(Ok(()));
                }
            }
        }
    }
}

/// The first byte of `bytes 8-15/100`.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// The object's size in `bytes 8-15/100`.
fn total(range: &str) -> Option<u64> {
    range.rsplit('/').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{first_byte, total};

    #[test]
    fn ranges_of_answers() {
        assert_eq!((first_byte("bytes 8-15/100"), total("bytes 8-15/100")), (Some(8), Some(100)));
        assert_eq!((first_byte("8-15"), total("bytes 0-1/*")), (None, None));
    }
}
