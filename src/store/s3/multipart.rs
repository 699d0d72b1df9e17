use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
};
use bytes::Bytes;

use super::super::contract::{Condition, Put, Stored, Upload};
use super::failure::{Failure, Kind};
use super::pieces::{crc, stream};
use super::put::{CONFLICT_WAIT, WRITE};
use super::store::{S3Store, base64_of_crc, crc_of_base64, version};
use crate::error::{Error, Result};
use crate::reference::{combine_lengths, crc_text};
use crate::runtime;

/// Most parts of an upload.
pub(super) const LARGEST_PARTS: u64 = 10_000;
/// Attempts of a completion while another conditional write is under way, and of a part that arrived damaged.
const ATTEMPTS: u32 = 8;

/// A part that S3 has.
#[derive(Debug, Clone)]
pub(super) struct Part {
    number: i32,
    etag: Option<String>,
    pub(super) crc: u64,
    pub(super) bytes: u64,
}

/// A multipart upload. Its parts are removed unless it is completed.
#[derive(Debug)]
pub(super) struct S3Upload {
    store: S3Store,
    key: String,
    id: String,
    parts: Vec<Part>,
    open: bool,
}

impl S3Upload {
    pub(super) async fn begin(store: S3Store, key: String) -> Result<Self> {
        let clients = store.clients().await?;
        let kms = store.options.kms_key.clone();
        let begun = Box::pin(
            clients
                .write
                .create_multipart_upload()
                .bucket(&store.bucket)
                .key(&key)
                .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                .checksum_type(ChecksumType::FullObject)
                .set_server_side_encryption(kms.as_ref().map(|_| ServerSideEncryption::AwsKms))
                .set_ssekms_key_id(kms)
                .set_expected_bucket_owner(store.owner())
                .set_request_payer(store.payer())
                .send(),
        )
        .await;
        let id = match begun {
            Ok(begun) => begun.upload_id,
            Err(e) => return Err(store.failed(&clients, WRITE, &key, Failure::of(e)).await),
        };
        let id = id.ok_or_else(|| Error::Unavailable {
            uri: format!("s3://{}/{key}", store.bucket),
            reason: "the server began an upload without an id".to_owned(),
        })?;
        Ok(Self::found(store, key, id))
    }

    /// An upload that was begun before.
    pub(super) fn found(store: S3Store, key: String, id: String) -> Self {
        Self { store, key, id, parts: Vec::new(), open: true }
    }

    /// Sends a part; S3 compares its CRC.
    pub(super) async fn send(&self, number: i32, pieces: Vec<Bytes>) -> Result<Part> {
        let clients = self.store.clients().await?;
        let crc = crc(&pieces);
        let bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let body: ByteStream = stream(pieces.clone());
            let sent = Box::pin(
                clients
                    .write
                    .upload_part()
                    .bucket(&self.store.bucket)
                    .key(&self.key)
                    .upload_id(&self.id)
                    .part_number(number)
                    .content_length(i64::try_from(bytes).unwrap_or(i64::MAX))
                    .checksum_crc64_nvme(base64_of_crc(crc))
                    .set_expected_bucket_owner(self.store.owner())
                    .set_request_payer(self.store.payer())
                    .body(body)
                    .send(),
            )
            .await;
            let failure = match sent {
                Ok(sent) => return Ok(Part { number, etag: sent.e_tag, crc, bytes }),
                Err(e) => Failure::of(e),
            };
            if failure.kind != Kind::Digest || attempt >= ATTEMPTS {
                return Err(self.store.failed(&clients, WRITE, &self.key, failure).await);
            }
        }
    }

    /// Makes the parts an object.
    pub(super) async fn finish(mut self, parts: Vec<Part>, condition: Condition) -> Result<Put> {
        let clients = self.store.clients().await?;
        let sums: Vec<_> = parts.iter().map(|part| (part.crc, part.bytes)).collect();
        let (whole, _) = combine_lengths(&sums);
        let completed = parts.into_iter().map(|part| {
            CompletedPart::builder()
                .part_number(part.number)
                .set_e_tag(part.etag)
                .checksum_crc64_nvme(base64_of_crc(part.crc))
                .build()
        });
        let completed =
            CompletedMultipartUpload::builder().set_parts(Some(completed.collect())).build();
        let mut attempt = 0;
        let failure = loop {
            attempt += 1;
            let done = Box::pin(
                clients
                    .write
                    .complete_multipart_upload()
                    .bucket(&self.store.bucket)
                    .key(&self.key)
                    .upload_id(&self.id)
                    .multipart_upload(completed.clone())
                    .checksum_type(ChecksumType::FullObject)
                    .set_if_none_match((condition == Condition::Absent).then(|| "*".to_owned()))
                    .set_expected_bucket_owner(self.store.owner())
                    .set_request_payer(self.store.payer())
                    .send(),
            )
            .await;
            let failure = match done {
                Ok(done) => {
                    self.open = false;
                    let found = done.checksum_crc64_nvme.as_deref().and_then(crc_of_base64);
                    self.compare(whole, found)?;
                    let version = version(done.version_id.as_deref(), done.e_tag.as_deref());
                    return Ok(Put::Written(Stored { version, crc64nvme: Some(whole) }));
                }
                Err(e) => Failure::of(e),
            };
            if failure.kind != Kind::Conflict || attempt >= ATTEMPTS {
                break failure;
            }
            tokio::time::sleep(CONFLICT_WAIT * attempt).await;
        };
        let exists = failure.kind == Kind::Precondition;
        let error = self.store.failed(&clients, WRITE, &self.key, failure).await;
        let dropped = self.drop_parts().await;
        if exists { dropped.map(|()| Put::Exists) } else { Err(error) }
    }

    fn compare(&self, sent: u64, stored: Option<u64>) -> Result<()> {
        match stored {
            Some(stored) if stored != sent => Err(Error::Corrupt {
                uri: format!("s3://{}/{}", self.store.bucket, self.key),
                what: "crc64nvme",
                expected: crc_text(sent),
                found: crc_text(stored),
            }),
            _ => Ok(()),
        }
    }

    /// Removes the parts; it is no error if they are gone.
    pub(super) async fn drop_parts(mut self) -> Result<()> {
        self.open = false;
        let clients = self.store.clients().await?;
        let dropped = Box::pin(
            clients
                .write
                .abort_multipart_upload()
                .bucket(&self.store.bucket)
                .key(&self.key)
                .upload_id(&self.id)
                .set_expected_bucket_owner(self.store.owner())
                .set_request_payer(self.store.payer())
                .send(),
        )
        .await;
        let Err(e) = dropped else { return Ok(()) };
        let failure = Failure::of(e);
        if failure.kind == Kind::NotFound {
            return Ok(());
        }
        Err(self.store.failed(&clients, "s3:AbortMultipartUpload", &self.key, failure).await)
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        // Stopped in the middle: by Ctrl-C, by a deadline, by a failure of another part.
        if !std::mem::replace(&mut self.open, false) {
            return;
        }
        let left = Self::found(self.store.clone(), self.key.clone(), self.id.clone());
        runtime::leave(async move {
            // What stays is for `legato gc` and the bucket's lifecycle rule.
            let _ = left.drop_parts().await;
        });
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn part(&mut self, data: Vec<Bytes>) -> Result<()> {
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let part = self.send(number, data).await?;
        self.parts.push(part);
        Ok(())
    }

    async fn complete(mut self: Box<Self>, condition: Condition) -> Result<Put> {
        let mut parts = std::mem::take(&mut self.parts);
        if parts.is_empty() {
            // S3 makes no object of no parts.
            parts.push(self.send(1, Vec::new()).await?);
        }
        self.finish(parts, condition).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.drop_parts().await
    }
}
