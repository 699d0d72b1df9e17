use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use super::contract::{Body, Condition, Head, Listed, Put, Store, Stored, Upload};
use super::key::Key;
use super::window::Window;
use crate::error::{Error, Result};

/// Objects in this process's memory, for tests and notebooks: `memory://NAME`.
///
/// Stores of one name are the same store for as long as the process lives.
#[derive(Debug)]
pub struct MemoryStore {
    url: String,
    objects: Mutex<BTreeMap<String, Object>>,
}

#[derive(Debug, Clone)]
struct Object {
    data: Bytes,
    etag: String,
    modified: SystemTime,
}

static NAMED: LazyLock<Mutex<HashMap<String, Arc<MemoryStore>>>> = LazyLock::new(Mutex::default);

/// A panic of another thread cannot leave these maps half-changed, so its poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryStore {
    /// The store of this name.
    #[must_use]
    pub fn named(name: &str) -> Arc<Self> {
        let new = || Self { url: format!("memory://{name}"), objects: Mutex::default() };
        lock(&NAMED).entry(name.to_owned()).or_insert_with(|| Arc::new(new())).clone()
    }

    fn object(&self, key: &Key) -> Result<Object> {
        lock(&self.objects)
            .get(key.as_str())
            .cloned()
            .ok_or_else(|| Error::NotFound { uri: self.uri(key) })
    }

    fn insert(&self, key: &Key, data: Bytes, condition: Condition) -> Put {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut objects = lock(&self.objects);
        if condition == Condition::Absent && objects.contains_key(key.as_str()) {
            return Put::Exists;
        }
        let etag = format!("\"{}\"", NEXT.fetch_add(1, Ordering::Relaxed));
        objects.insert(key.as_str().to_owned(), Object { data, etag, modified: SystemTime::now() });
        Put::Written(Stored::default())
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn url(&self) -> &str {
        &self.url
    }

    async fn put(&self, key: &Key, body: Body, condition: Condition) -> Result<Put> {
        body.bytes()?;
        let data = match body {
            // A copy: the caller's memory may be a view of something that changes.
            Body::Memory(pieces) => Bytes::from(pieces.concat()),
            Body::File(path) => std::fs::read(&path).map(Bytes::from).map_err(|e| {
                Error::input(format!(
                    "file {} cannot be read ({e}); check the path",
                    path.display()
                ))
            })?,
        };
        Ok(self.insert(key, data, condition))
    }

    async fn upload(&self, key: &Key) -> Result<Box<dyn Upload>> {
        let name = self.url.trim_start_matches("memory://");
        Ok(Box::new(MemoryUpload { store: Self::named(name), key: key.clone(), data: Vec::new() }))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        let data = self.object(key)?.data;
        let Some(range) = range else { return Ok(data) };
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(data.len());
        let (start, end) = (at(range.start), at(range.end));
        Ok(data.slice(start..end.max(start)))
    }

    async fn read(
        &self,
        key: &Key,
        _version: Option<&str>,
        start: u64,
        window: &mut Window<'_>,
        _fresh: bool,
    ) -> Result<u64> {
        let end = start.saturating_add(window.missing() as u64);
        let data = self.get(key, Some(start..end)).await?;
        window.push(&data)?;
        self.object(key).map(|object| object.data.len() as u64)
    }

    async fn head(&self, key: &Key) -> Result<Head> {
        let Object { data, etag, .. } = self.object(key)?;
        Ok(Head { bytes: data.len() as u64, version: None, etag: Some(etag), crc64nvme: None })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let objects = lock(&self.objects);
        let found = objects.range(prefix.to_owned()..);
        let found = found.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, object)| {
            Listed { key: key.clone(), bytes: object.data.len() as u64, modified: object.modified }
        });
        Ok(found.collect())
    }

    async fn delete(&self, key: &Key, etag: Option<&str>) -> Result<()> {
        let mut objects = lock(&self.objects);
        let other = |found: &Object| etag.is_some_and(|etag| etag != found.etag);
        if !objects.get(key.as_str()).is_some_and(other) {
            objects.remove(key.as_str());
        }
        Ok(())
    }

    async fn abandon(&self, _: &str, _: SystemTime, _: bool) -> Result<Vec<String>> {
        // Parts live in their writer.
        Ok(Vec::new())
    }

    async fn presign(&self, key: &Key, _: Option<&str>, _: Duration) -> Result<String> {
        let uri = self.uri(key);
        Err(Error::input(format!(
            "{uri} is in this process's memory; only s3:// has URLs that expire"
        )))
    }
}

/// Parts that wait for the last one.
#[derive(Debug)]
struct MemoryUpload {
    store: Arc<MemoryStore>,
    key: Key,
    data: Vec<u8>,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn part(&mut self, data: Vec<Bytes>) -> Result<()> {
        for piece in data {
            self.data.extend_from_slice(&piece);
        }
        Ok(())
    }

    async fn complete(self: Box<Self>, condition: Condition) -> Result<Put> {
        Ok(self.store.insert(&self.key, self.data.into(), condition))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
