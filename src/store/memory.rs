use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::contract::{Body, Condition, Put, Store};
use super::key::Key;
use crate::error::{Error, Result};

/// Objects in this process's memory, for tests and notebooks: `memory://NAME`.
///
/// Stores of one name are the same store for as long as the process lives.
#[derive(Debug)]
pub struct MemoryStore {
    url: String,
    objects: Mutex<BTreeMap<String, Bytes>>,
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

    fn object(&self, key: &Key) -> Result<Bytes> {
        lock(&self.objects)
            .get(key.as_str())
            .cloned()
            .ok_or_else(|| Error::NotFound { uri: self.uri(key) })
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn url(&self) -> &str {
        &self.url
    }

    async fn put(&self, key: &Key, body: Body, condition: Condition) -> Result<Put> {
        let data = match body {
            // A copy: the caller's memory may be a view of something that changes.
            Body::Bytes(data) => Bytes::copy_from_slice(&data),
            Body::File(path) => std::fs::read(&path).map(Bytes::from).map_err(|e| {
                Error::input(format!(
                    "file {} cannot be read ({e}); check the path",
                    path.display()
                ))
            })?,
        };
        let mut objects = lock(&self.objects);
        if condition == Condition::Absent && objects.contains_key(key.as_str()) {
            return Ok(Put::Exists);
        }
        objects.insert(key.as_str().to_owned(), data);
        Ok(Put::Written)
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        let data = self.object(key)?;
        let Some(range) = range else { return Ok(data) };
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(data.len());
        let (start, end) = (at(range.start), at(range.end));
        Ok(data.slice(start..end.max(start)))
    }

    async fn head(&self, key: &Key) -> Result<u64> {
        self.object(key).map(|data| data.len() as u64)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let objects = lock(&self.objects);
        let keys = objects.range(prefix.to_owned()..).map(|(key, _)| key);
        Ok(keys.take_while(|key| key.starts_with(prefix)).cloned().collect())
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        lock(&self.objects).remove(key.as_str());
        Ok(())
    }
}
