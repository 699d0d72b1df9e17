use std::fmt::Debug;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use super::key::Key;
use super::window::Window;
use crate::error::{Error, Result};

/// Bytes to store: pieces of memory that follow each other, or a file that a store reads in parts.
#[derive(Debug, Clone)]
pub enum Body {
    Memory(Vec<Bytes>),
    File(PathBuf),
}

impl From<Bytes> for Body {
    fn from(data: Bytes) -> Self {
        Self::Memory(vec![data])
    }
}

impl From<Vec<u8>> for Body {
    fn from(data: Vec<u8>) -> Self {
        Bytes::from(data).into()
    }
}

impl Body {
    /// Size in bytes.
    pub fn bytes(&self) -> Result<u64> {
        let path = match self {
            Self::Memory(pieces) => return Ok(pieces.iter().map(|p| p.len() as u64).sum()),
            Self::File(path) => path,
        };
        let unreadable = |reason: String| {
            Error::input(format!(
                "file {} cannot be read ({reason}); check the path",
                path.display()
            ))
        };
        // A pipe or a device may never end, and opening it may wait for ever.
        match std::fs::metadata(path) {
            Ok(found) if found.is_file() => Ok(found.len()),
            Ok(_) => Err(unreadable("it is no regular file".to_owned())),
            Err(e) => Err(unreadable(e.to_string())),
        }
    }
}

/// When a write happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Only if there is no object under the key (`If-None-Match: *`).
    Absent,
    /// In any case; a former object is replaced.
    Always,
}

/// What a conditional write did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    Written(Stored),
    /// There was an object already; nothing was changed.
    Exists,
}

/// What a store says of what it has just stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Version id, or an etag in its quotes, where the store has them.
    pub version: Option<String>,
    /// CRC-64/NVME of the bytes that were sent, where the store computed it on the way.
    pub crc64nvme: Option<u64>,
}

/// What a store says of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Size in bytes.
    pub bytes: u64,
    /// Version id, or an etag in its quotes, where the store has them.
    pub version: Option<String>,
    /// The etag in its quotes, where the store has them: it changes with each write.
    pub etag: Option<String>,
    /// CRC-64/NVME of the object, 16 hex digits, where the store keeps it.
    pub crc64nvme: Option<String>,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    /// Size in bytes.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: SystemTime,
}

/// An object that is written part by part; readers see nothing of it before [`Upload::complete`].
///
/// Dropped before that, what has been written is removed, as well as a destructor can.
#[async_trait]
pub trait Upload: Send + Debug {
    /// Adds the next part. S3 wants 5 MiB or more in all parts but the last, and at most 10,000 parts.
    async fn part(&mut self, data: Vec<Bytes>) -> Result<()>;

    /// Makes the parts an object.
    async fn complete(self: Box<Self>, condition: Condition) -> Result<Put>;

    /// Removes the parts.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// A place for objects, addressed by key.
///
/// A write is atomic: readers see the former object or the new one, whole, whatever happens to the writer.
/// Keys are relative to the store's URL, also those that `list` returns.
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// URL of the store, without a slash at its end.
    fn url(&self) -> &str;

    /// Stores `body` under `key`.
    async fn put(&self, key: &Key, body: Body, condition: Condition) -> Result<Put>;

    /// Starts an object whose size is not known yet.
    async fn upload(&self, key: &Key) -> Result<Box<dyn Upload>>;

    /// The bytes of an object, or of a range of it; a range past the end is cut.
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes>;

    /// Fills `window` with the bytes of an object from `start` on, as far as there are any, and says how many bytes
    /// the object has.
    ///
    /// `version` is what a reference says; a store that has versions reads that one or fails. With `fresh`,
    /// nothing of an earlier call is used again: no connection and no cache.
    async fn read(
        &self,
        key: &Key,
        version: Option<&str>,
        start: u64,
        window: &mut Window<'_>,
        fresh: bool,
    ) -> Result<u64>;

    /// What is known of an object without reading it.
    async fn head(&self, key: &Key) -> Result<Head>;

    /// Objects whose keys start with `prefix`, sorted by key.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>>;

    /// Removes an object; it is no error if there is none, or, with an etag, if there is another one.
    async fn delete(&self, key: &Key, etag: Option<&str>) -> Result<()>;

    /// Removes uploads that were started before `before` and never completed; returns their keys.
    async fn abandon(&self, prefix: &str, before: SystemTime, dry_run: bool)
    -> Result<Vec<String>>;

    /// A URL by which anyone can read the object for a while.
    async fn presign(&self, key: &Key, version: Option<&str>, expires: Duration) -> Result<String>;

    /// Time that a call which moves `bytes` may take; None where there is no network to wait for.
    fn deadline(&self, bytes: u64) -> Option<Duration> {
        let _ = bytes;
        None
    }

    /// How large reads and writes are cut.
    fn parts(&self) -> Parts {
        Parts::default()
    }

    /// Where an object lies, for a [`crate::Ref`].
    fn uri(&self, key: &Key) -> String {
        format!("{}/{}", self.url(), key.encoded())
    }
}

/// How a store likes large objects to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Smallest part that is worth a request of its own.
    pub least_bytes: u64,
    /// Most requests for one object at the same time.
    pub at_once: usize,
}

impl Default for Parts {
    /// One part after the other: memory and disks gain nothing from more.
    fn default() -> Self {
        Self { least_bytes: u64::MAX, at_once: 1 }
    }
}
