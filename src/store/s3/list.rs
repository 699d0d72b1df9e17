use std::time::SystemTime;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::list_multipart_uploads::ListMultipartUploadsOutput;
use aws_sdk_s3::types::Object;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::super::contract::{Listed, Store as _};
use super::super::key::Key;
use super::failure::Failure;
use super::multipart::S3Upload;
use super::store::S3Store;
use crate::aws::Clients;
use crate::error::{Error, Result};

impl S3Store {
    /// See [`super::super::Store::list`]. A page is a call with a deadline: all of a large bucket may take longer.
    pub(super) async fn listing(&self, prefix: &str) -> Result<Vec<Listed>> {
        let clients = self.clients().await?;
        let mut pages = clients
            .read
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(self.full_prefix(prefix))
            .set_expected_bucket_owner(self.owner())
            .set_request_payer(self.payer())
            .into_paginator()
            .send();
        let mut found = Vec::new();
        loop {
            let page = async { Ok(pages.next().await) };
            let Some(page) = self.within(self.url().to_owned(), 0, page).await? else { break };
            match page {
                Ok(page) => {
                    let objects = page.contents.unwrap_or_default();
                    found.extend(objects.iter().filter_map(|object| self.listed(object, prefix)));
                }
                Err(e) => {
                    return Err(self.bucket_failed(&clients, "s3:ListBucket", prefix, e).await);
                }
            }
        }
        // Not every server lists by bytes.
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// An object of this store. What legato could not have written is not: folders' placeholders, for one.
    fn listed(&self, object: &Object, prefix: &str) -> Option<Listed> {
        let key = object.key.as_deref()?;
        let key = if self.prefix.is_empty() {
            key
        } else {
            key.strip_prefix(&self.prefix)?.strip_prefix('/')?
        };
        if !key.starts_with(prefix) || Key::parse(key).is_err() {
            return None;
        }
        let modified = object.last_modified.and_then(|at| SystemTime::try_from(at).ok());
        Some(Listed {
            key: key.to_owned(),
            bytes: object.size.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    /// See [`super::super::Store::abandon`].
    pub(super) async fn abandoned(
        &self,
        prefix: &str,
        before: SystemTime,
        dry_run: bool,
    ) -> Result<Vec<String>> {
        let (mut found, mut markers) = (Vec::new(), (None, None));
        loop {
            let page = self.uploads(prefix, markers);
            let page = self.within(self.url().to_owned(), 0, page).await?;
            for upload in page.uploads.unwrap_or_default() {
                let (Some(key), Some(id), Some(at)) =
                    (upload.key, upload.upload_id, upload.initiated)
                else {
                    continue;
                };
                if SystemTime::try_from(at).is_ok_and(|at| at < before) {
                    if !dry_run {
                        S3Upload::found(self.clone(), key.clone(), id).drop_parts().await?;
                    }
                    found.push(key);
                }
            }
            if page.is_truncated != Some(true) {
                return Ok(found);
            }
            markers = (page.next_key_marker, page.next_upload_id_marker);
        }
    }

    async fn uploads(
        &self,
        prefix: &str,
        (key, id): (Option<String>, Option<String>),
    ) -> Result<ListMultipartUploadsOutput> {
        let clients = self.clients().await?;
        let listed = Box::pin(
            clients
                .read
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(self.full_prefix(prefix))
                .set_key_marker(key)
                .set_upload_id_marker(id)
                .set_expected_bucket_owner(self.owner())
                .send(),
        );
        match listed.await {
            Ok(page) => Ok(page),
            Err(e) => {
                Err(self.bucket_failed(&clients, "s3:ListBucketMultipartUploads", prefix, e).await)
            }
        }
    }

    /// An error about the bucket itself.
    async fn bucket_failed<E>(
        &self,
        clients: &Clients,
        action: &'static str,
        prefix: &str,
        error: SdkError<E, HttpResponse>,
    ) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let resource = format!("arn:aws:s3:::{}", self.bucket);
        // What a grant's condition is about: `s3:prefix`.
        let uri = format!("{}/{prefix}", self.url());
        Failure::of(error).into_error(clients, action, uri, &resource).await
    }
}
