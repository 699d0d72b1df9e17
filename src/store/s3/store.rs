use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{ChecksumMode, RequestPayer};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use percent_encoding::{percent_decode_str, utf8_percent_encode};

use super::super::contract::{Body, Condition, Head, Listed, Parts, Put, Store, Upload};
use super::super::deadline::within;
use super::super::key::{Key, RESERVED};
use super::super::window::Window;
use super::direct::Direct;
use super::failure::{Failure, Kind};
use super::multipart::S3Upload;
use super::options::S3Options;
use crate::aws::{self, Clients};
use crate::error::{Error, Result};
use crate::reference::crc_text;

/// Longest key that S3 takes.
const KEY_BYTES: usize = 1024;
/// A range that is smaller is not worth a request beside others.
const PART_BYTES: u64 = 2 << 20;
/// Requests for one object at the same time: S3 gives some 90 MB/s to each.
const AT_ONCE: usize = 8;
/// Longest time for which S3 signs a URL.
const LONGEST_URL: Duration = Duration::from_hours(7 * 24);

/// Objects in a bucket, below a prefix.
#[derive(Debug, Clone)]
pub(crate) struct S3Store {
    url: String,
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) options: S3Options,
    environment: aws::Environment,
    pub(super) direct: Arc<Direct>,
}

impl S3Store {
    /// Opens `bucket/prefix`; nothing is asked of S3 before the first call.
    pub(crate) fn open(path: &str, options: S3Options) -> Result<Self> {
        let bad = |reason: &str| Error::input(format!("store 's3://{}' {reason}", shown(path)));
        options.check()?;
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        let ends = bucket.starts_with(['-', '.']) || bucket.ends_with(['-', '.']);
        if !(3..=63).contains(&bucket.len())
            || !bucket.bytes().all(plain)
            || ends
            || bucket.contains("..")
        {
            return Err(bad(
                "has no bucket; write s3://bucket/prefix, the bucket of 3 to 63 letters, digits, - .",
            ));
        }
        let prefix = percent_decode_str(prefix.trim_end_matches('/')).decode_utf8();
        let prefix =
            prefix.map_err(|_| bad("is not UTF-8; percent-encode the prefix"))?.into_owned();
        if !prefix.is_empty() {
            Key::parse(&prefix)?;
        }
        let slash = if prefix.is_empty() { "" } else { "/" };
        let url = format!("s3://{bucket}{slash}{}", utf8_percent_encode(&prefix, RESERVED));
        let environment = aws::environment();
        let direct = Arc::default();
        Ok(Self { url, bucket: bucket.to_owned(), prefix, options, environment, direct })
    }

    pub(super) async fn clients(&self) -> Result<Arc<Clients>> {
        aws::clients(self.environment, self.options.addressing).await
    }

    /// The key in the bucket.
    pub(super) fn full(&self, key: &Key) -> Result<String> {
        let full = self.full_prefix(key.as_str());
        match full.len() {
            0..=KEY_BYTES => Ok(full),
            bytes => Err(Error::input(format!(
                "a key has {bytes} bytes with the prefix of {}, S3 takes {KEY_BYTES}; shorten it",
                self.url
            ))),
        }
    }

    pub(super) fn full_prefix(&self, prefix: &str) -> String {
        if self.prefix.is_empty() { prefix.to_owned() } else { format!("{}/{prefix}", self.prefix) }
    }

    pub(super) fn payer(&self) -> Option<RequestPayer> {
        self.options.request_payer.then_some(RequestPayer::Requester)
    }

    pub(super) fn owner(&self) -> Option<String> {
        self.options.bucket_owner.clone()
    }

    /// Headers of all requests that are made without the SDK.
    pub(super) fn common_headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let owner = self.owner().map(|owner| ("x-amz-expected-bucket-owner", owner));
        let payer = self.payer().map(|payer| ("x-amz-request-payer", payer.as_str().to_owned()));
        owner.into_iter().chain(payer)
    }

    /// Runs a call within its deadline.
    pub(super) fn within<'call, T: 'call>(
        &self,
        uri: String,
        bytes: u64,
        call: impl Future<Output = Result<T>> + Send + 'call,
    ) -> BoxFuture<'call, Result<T>> {
        within(self.deadline(bytes), move || uri, call)
    }

    /// An error about an object from what S3 answered.
    pub(super) async fn failed(
        &self,
        clients: &Clients,
        action: &'static str,
        key: &str,
        failure: Failure,
    ) -> Error {
        let resource = format!("arn:aws:s3:::{}/{key}", self.bucket);
        let uri = format!("s3://{}/{}", self.bucket, utf8_percent_encode(key, RESERVED));
        failure.into_error(clients, action, uri, &resource).await
    }

    async fn sdk_failed<E>(
        &self,
        clients: &Clients,
        action: &'static str,
        key: &str,
        error: SdkError<E, HttpResponse>,
    ) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.failed(clients, action, key, Failure::of(error)).await
    }

    async fn remove(&self, key: &Key, etag: Option<&str>) -> Result<()> {
        let (clients, key) = (self.clients().await?, self.full(key)?);
        let removed = Box::pin(
            clients
                .read
                .delete_object()
                .bucket(&self.bucket)
                .key(&key)
                .set_if_match(etag.map(str::to_owned))
                .set_expected_bucket_owner(self.owner())
                .set_request_payer(self.payer())
                .send(),
        )
        .await;
        let Err(error) = removed else { return Ok(()) };
        let failure = Failure::of(error);
        match failure.kind {
            Kind::NotFound | Kind::Precondition => Ok(()),
            _ => Err(self.failed(&clients, "s3:DeleteObject", &key, failure).await),
        }
    }

    async fn about(&self, key: &Key) -> Result<Head> {
        let (clients, key) = (self.clients().await?, self.full(key)?);
        let found = Box::pin(
            clients
                .read
                .head_object()
                .bucket(&self.bucket)
                .key(&key)
                .checksum_mode(ChecksumMode::Enabled)
                .set_expected_bucket_owner(self.owner())
                .set_request_payer(self.payer())
                .send(),
        )
        .await;
        let found = match found {
            Ok(found) => found,
            // HEAD is granted by the permission to read.
            Err(e) => return Err(self.sdk_failed(&clients, "s3:GetObject", &key, e).await),
        };
        Ok(Head {
            bytes: found.content_length.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            version: version(found.version_id.as_deref(), found.e_tag.as_deref()),
            etag: found.e_tag,
            crc64nvme: found.checksum_crc64_nvme.as_deref().and_then(crc_of_base64).map(crc_text),
        })
    }
}

/// A URL's path as a message may show it: what stands before an `@` may be a password.
fn shown(path: &str) -> String {
    path.rsplit_once('@').map_or(path, |(_, host)| host).escape_debug().to_string()
}

/// What a reference keeps: the version, or the etag where the bucket has no versions.
pub(super) fn version(version: Option<&str>, etag: Option<&str>) -> Option<String> {
    // "null" is what all writes share while a bucket keeps no versions.
    version.filter(|version| *version != "null").or(etag).map(str::to_owned)
}

/// A CRC as S3 writes it.
pub(super) fn base64_of_crc(crc: u64) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(crc.to_be_bytes())
}

pub(super) fn crc_of_base64(text: &str) -> Option<u64> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    bytes.try_into().ok().map(u64::from_be_bytes)
}

#[async_trait]
impl Store for S3Store {
    fn url(&self) -> &str {
        &self.url
    }

    async fn put(&self, key: &Key, body: Body, condition: Condition) -> Result<Put> {
        let bytes = body.bytes()?;
        self.within(self.uri(key), bytes, self.store(key, body, bytes, condition)).await
    }

    async fn upload(&self, key: &Key) -> Result<Box<dyn Upload>> {
        let begun = S3Upload::begin(self.clone(), self.full(key)?);
        Ok(Box::new(self.within(self.uri(key), 0, begun).await?))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        self.fetch(key, range).await
    }

    async fn read(
        &self,
        key: &Key,
        version: Option<&str>,
        start: u64,
        window: &mut Window<'_>,
        fresh: bool,
    ) -> Result<u64> {
        let bytes = window.missing() as u64;
        let read = self.fill(key, version, start, window, fresh);
        self.within(self.uri(key), bytes, read).await
    }

    async fn head(&self, key: &Key) -> Result<Head> {
        self.within(self.uri(key), 0, self.about(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        self.listing(prefix).await
    }

    async fn delete(&self, key: &Key, etag: Option<&str>) -> Result<()> {
        self.within(self.uri(key), 0, self.remove(key, etag)).await
    }

    async fn abandon(
        &self,
        prefix: &str,
        before: SystemTime,
        dry_run: bool,
    ) -> Result<Vec<String>> {
        self.abandoned(prefix, before, dry_run).await
    }

    async fn presign(&self, key: &Key, version: Option<&str>, expires: Duration) -> Result<String> {
        if expires.is_zero() || expires > LONGEST_URL {
            return Err(Error::input("a URL can last 1 second to 7 days (604,800 seconds)"));
        }
        let signing = PresigningConfig::expires_in(expires)
            .map_err(|e| Error::input(format!("a URL cannot be signed ({e})")))?;
        let (clients, full) = (self.clients().await?, self.full(key)?);
        let version = version.filter(|version| !version.starts_with('"')).map(str::to_owned);
        let request = clients.read.get_object().bucket(&self.bucket).key(&full);
        match request.set_version_id(version).presigned(signing).await {
            Ok(signed) => Ok(signed.uri().to_owned()),
            Err(e) => Err(self.sdk_failed(&clients, "s3:GetObject", &full, e).await),
        }
    }

    fn deadline(&self, bytes: u64) -> Option<Duration> {
        Some(self.options.deadline(bytes))
    }

    fn parts(&self) -> Parts {
        Parts { least_bytes: PART_BYTES, at_once: AT_ONCE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_prefixes() {
        let url = |path: &str| S3Store::open(path, S3Options::default()).map(|store| store.url);
        assert_eq!(url("bucket").unwrap(), "s3://bucket");
        assert_eq!(url("bucket/").unwrap(), "s3://bucket");
        assert_eq!(url("my-bucket.x/a/b/").unwrap(), "s3://my-bucket.x/a/b");
        assert_eq!(url("bucket/a%20b").unwrap(), "s3://bucket/a%20b");
        for bad in [
            "",
            "ab",
            "Bucket",
            "-bucket",
            "bucket..x",
            "bucket/../x",
            "bucket//x",
            "b_cket",
            "bucket/%0a",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn crcs_in_base64() {
        assert_eq!(
            crc_of_base64(&base64_of_crc(0x0123_4567_89ab_cdef)),
            Some(0x0123_4567_89ab_cdef)
        );
        assert_eq!(crc_of_base64("AAAA"), None);
    }

    #[test]
    fn what_a_reference_keeps_of_a_version() {
        assert_eq!(version(Some("v1"), Some("\"e\"")).as_deref(), Some("v1"));
        assert_eq!(version(Some("null"), Some("\"e\"")).as_deref(), Some("\"e\""));
        assert_eq!(version(None, None), None);
    }
}
