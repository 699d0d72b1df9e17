use std::fmt::Debug;
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use super::key::Key;
use crate::error::Result;

/// Bytes to store: in memory, or a file that a store may copy without reading it into memory.
#[derive(Debug, Clone)]
pub enum Body {
    Bytes(Bytes),
    File(PathBuf),
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Written,
    /// There was an object already; nothing was changed.
    Exists,
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

    /// The bytes of an object, or of a range of it; a range past the end is cut.
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes>;

    /// Size of an object in bytes.
    async fn head(&self, key: &Key) -> Result<u64>;

    /// Keys that start with `prefix`, sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<String>>;

    /// Removes an object; it is no error if there is none.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// Where an object lies, for a [`crate::Ref`].
    fn uri(&self, key: &Key) -> String {
        format!("{}/{}", self.url(), key.encoded())
    }
}
