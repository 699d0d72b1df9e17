use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt as _};

use super::super::contract::{Body, Condition, Put, Stored};
use super::super::key::Key;
use super::direct::{Order, Reply};
use super::failure::{Failure, Kind};
use super::multipart::{LARGEST_PARTS, Part, S3Upload};
use super::pieces::{SIGNED, crc, cut, joined, stream};
use super::store::{S3Store, base64_of_crc, version};
use crate::aws::Clients;
use crate::error::{Error, Result};
use crate::reference::combine_lengths;
use crate::runtime;

/// A larger object is sent in parts.
const SINGLE_BYTES: u64 = 16 << 20;
/// Size of the parts, where 10,000 of them are enough.
const PART_BYTES: u64 = 8 << 20;
/// Parts on the way at the same time.
const AT_ONCE: usize = 4;
/// Attempts of a conditional write while another one is under way.
const CONFLICTS: u32 = 8;
pub(super) const CONFLICT_WAIT: Duration = Duration::from_millis(50);
pub(super) const WRITE: &str = "s3:PutObject";

impl S3Store {
    /// See [`super::super::Store::put`].
    pub(super) async fn store(
        &self,
        key: &Key,
        body: Body,
        bytes: u64,
        condition: Condition,
    ) -> Result<Put> {
        let key = self.full(key)?;
        let source = Source::open(body)?;
        if bytes <= SINGLE_BYTES {
            return self.put_whole(&key, source.part(0, bytes).await?, condition).await;
        }
        let size = PART_BYTES.max(bytes.div_ceil(LARGEST_PARTS).next_multiple_of(1 << 20));
        let upload = S3Upload::begin(self.clone(), key).await?;
        let starts = (0..bytes).step_by(usize::try_from(size).unwrap_or(usize::MAX));
        let parts = send_all(&upload, &source, starts.zip(1..), size, bytes).await;
        match parts {
            Ok(parts) => {
                let sums: Vec<_> = parts.iter().map(|part| (part.crc, part.bytes)).collect();
                let put = upload.finish(parts, condition).await?;
                Ok(match put {
                    Put::Written(stored) => {
                        Put::Written(Stored { crc64nvme: Some(combine_lengths(&sums).0), ..stored })
                    }
                    Put::Exists => Put::Exists,
                })
            }
            Err(e) => {
                let _ = upload.drop_parts().await;
                Err(e)
            }
        }
    }

    async fn put_whole(&self, key: &str, pieces: Vec<Bytes>, condition: Condition) -> Result<Put> {
        let clients = self.clients().await?;
        let crc = crc(&pieces);
        let length = pieces.iter().map(Bytes::len).sum::<usize>();
        if let Some(put) = self.put_directly(&clients, key, &pieces, crc, condition).await {
            return Ok(put);
        }
        let kms = self.options.kms_key.clone();
        for conflicts in 0.. {
            let sent = Box::pin(
                clients
                    .write
                    .put_object()
                    .bucket(&self.bucket)
                    .key(key)
                    .content_length(i64::try_from(length).unwrap_or(i64::MAX))
                    .checksum_crc64_nvme(base64_of_crc(crc))
                    .set_if_none_match((condition == Condition::Absent).then(|| "*".to_owned()))
                    .set_server_side_encryption(kms.as_ref().map(|_| ServerSideEncryption::AwsKms))
                    .set_ssekms_key_id(kms.clone())
                    .set_expected_bucket_owner(self.owner())
                    .set_request_payer(self.payer())
                    .body(stream(pieces.clone()))
                    .send(),
            )
            .await;
            let failure = match sent {
                Ok(sent) => {
                    let version = version(sent.version_id.as_deref(), sent.e_tag.as_deref());
                    return Ok(Put::Written(Stored { version, crc64nvme: Some(crc) }));
                }
                Err(e) => Failure::of(e),
            };
            match failure.kind {
                Kind::Precondition => return Ok(Put::Exists),
                Kind::Conflict | Kind::Digest if conflicts < CONFLICTS => {
                    tokio::time::sleep(CONFLICT_WAIT * (conflicts + 1)).await;
                }
                _ => return Err(self.failed(&clients, WRITE, key, failure).await),
            }
        }
        Err(Error::internal("a write neither succeeded nor failed"))
    }
}

impl S3Store {
    /// Sends a small object by the short way.
    async fn put_directly(
        &self,
        clients: &Clients,
        key: &str,
        pieces: &[Bytes],
        crc: u64,
        condition: Condition,
    ) -> Option<Put> {
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        if bytes > SIGNED || self.options.kms_key.is_some() {
            return None;
        }
        let mut headers = vec![
            ("content-length", bytes.to_string()),
            ("content-type", "application/octet-stream".to_owned()),
            ("x-amz-checksum-crc64nvme", base64_of_crc(crc)),
        ];
        headers.extend((condition == Condition::Absent).then(|| ("if-none-match", "*".to_owned())));
        headers.extend(self.common_headers());
        let body = joined(pieces.to_vec());
        let order = Order { method: "PUT", key, query: None, headers, body };
        let answer = match self.direct.send(clients, &self.bucket, order).await {
            Reply::Success(answer) => answer,
            Reply::Precondition if condition == Condition::Absent => return Some(Put::Exists),
            Reply::Precondition | Reply::Other => return None,
        };
        let header = |name: &str| answer.headers().get(name);
        let version = version(header("x-amz-version-id"), header("etag"));
        Some(Put::Written(Stored { version, crc64nvme: Some(crc) }))
    }
}

/// Sends the parts that begin at these places; they come back in order, and so make the object's CRC.
async fn send_all(
    upload: &S3Upload,
    source: &Source,
    mut starts: impl Iterator<Item = (u64, i32)> + Send,
    size: u64,
    bytes: u64,
) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut running: FuturesOrdered<BoxFuture<'_, Result<Part>>> = FuturesOrdered::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((start, number)) = starts.next()
        {
            running.push_back(Box::pin(async move {
                let pieces = source.part(start, size.min(bytes - start)).await?;
                upload.send(number, pieces).await
            }));
        }
        match running.next().await {
            Some(part) => parts.push(part?),
            None => return Ok(parts),
        }
    }
}

/// Where the bytes of parts come from.
enum Source {
    Memory(Vec<Bytes>),
    File(Arc<File>),
}

impl Source {
    fn open(body: Body) -> Result<Self> {
        Ok(match body {
            Body::Memory(pieces) => Self::Memory(pieces),
            Body::File(path) => Self::File(Arc::new(open(&path)?)),
        })
    }

    async fn part(&self, start: u64, length: u64) -> Result<Vec<Bytes>> {
        let file = match self {
            Self::Memory(pieces) => return Ok(cut(pieces, start, length)),
            Self::File(file) => Arc::clone(file),
        };
        let read = runtime::aside(move || {
            let mut data = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut data, start).map(|()| vec![Bytes::from(data)])
        });
        read.await?
            .map_err(|e| Error::input(format!("a file became shorter while it was stored ({e})")))
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| {
        Error::input(format!("file {} cannot be read ({e}); check the path", path.display()))
    })
}
