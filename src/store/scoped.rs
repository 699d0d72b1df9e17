use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use super::contract::{Body, Condition, Head, Listed, Parts, Put, Store, Upload};
use super::key::Key;
use super::window::Window;
use crate::error::{Error, Result};

/// What a state has declared that it reads and writes.
///
/// An area is the first part of a key: the name of the stage that writes there, or `inputs` or `runs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Areas {
    /// The state's name.
    pub stage: String,
    pub reads: Vec<String>,
    /// Areas that it writes, and reads too.
    pub writes: Vec<String>,
    /// The area that all keys count as, whatever they are: another store than the state's own is one.
    pub whole: Option<String>,
}

/// A store, seen through what a state has declared: the rest is refused, as the role of its function refuses it.
#[derive(Debug)]
pub struct Scoped {
    inner: Arc<dyn Store>,
    areas: Areas,
}

impl Scoped {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, areas: Areas) -> Self {
        Self { inner, areas }
    }

    fn readable(&self, key: &str) -> Result<()> {
        let area = self.area(key);
        let allowed = self.areas.reads.iter().chain(&self.areas.writes);
        self.check("read", area, allowed)
    }

    fn writable(&self, key: &Key) -> Result<()> {
        // Another store is read only, whatever its area is called.
        let allowed = self.areas.writes.iter().filter(|_| self.areas.whole.is_none());
        self.check("write", self.area(key.as_str()), allowed)
    }

    fn area<'a>(&'a self, key: &'a str) -> &'a str {
        self.areas.whole.as_deref().unwrap_or_else(|| key.split('/').next().unwrap_or(key))
    }

    fn check<'a>(
        &self,
        action: &str,
        area: &str,
        allowed: impl Iterator<Item = &'a String>,
    ) -> Result<()> {
        let allowed: Vec<&str> = allowed.map(String::as_str).collect();
        if allowed.contains(&area) {
            return Ok(());
        }
        let declared = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
        let (stage, url, area) = (&self.areas.stage, self.inner.url(), area.escape_debug());
        Err(Error::Undeclared {
            reason: format!(
                "{stage} may not {action} {area}/ in {url}: it declares {declared}; \
                 add '{area}' to {action}s=[...] of its @legato.step"
            ),
        })
    }
}

#[async_trait]
impl Store for Scoped {
    fn url(&self) -> &str {
        self.inner.url()
    }

    async fn put(&self, key: &Key, body: Body, condition: Condition) -> Result<Put> {
        self.writable(key)?;
        self.inner.put(key, body, condition).await
    }

    async fn upload(&self, key: &Key) -> Result<Box<dyn Upload>> {
        self.writable(key)?;
        self.inner.upload(key).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        self.readable(key.as_str())?;
        self.inner.get(key, range).await
    }

    async fn read(
        &self,
        key: &Key,
        version: Option<&str>,
        start: u64,
        window: &mut Window<'_>,
        fresh: bool,
    ) -> Result<u64> {
        self.readable(key.as_str())?;
        self.inner.read(key, version, start, window, fresh).await
    }

    async fn head(&self, key: &Key) -> Result<Head> {
        self.readable(key.as_str())?;
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        // Without its slash a prefix is the beginning of other areas, too.
        if self.areas.whole.is_none() && !prefix.contains('/') {
            let stage = &self.areas.stage;
            let reason = format!("{stage} may list only below an area; give a prefix as 'inputs/'");
            return Err(Error::Undeclared { reason });
        }
        self.readable(prefix)?;
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &Key, etag: Option<&str>) -> Result<()> {
        self.writable(key)?;
        self.inner.delete(key, etag).await
    }

    async fn abandon(
        &self,
        prefix: &str,
        before: SystemTime,
        dry_run: bool,
    ) -> Result<Vec<String>> {
        let key = Key::parse(prefix.trim_end_matches('/'))?;
        self.writable(&key)?;
        self.inner.abandon(prefix, before, dry_run).await
    }

    async fn presign(&self, key: &Key, version: Option<&str>, expires: Duration) -> Result<String> {
        self.readable(key.as_str())?;
        self.inner.presign(key, version, expires).await
    }

    fn deadline(&self, bytes: u64) -> Option<Duration> {
        self.inner.deadline(bytes)
    }

    fn parts(&self) -> Parts {
        self.inner.parts()
    }
}
