//! References to objects that somebody else has stored.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use legato::reference::CHUNK_BYTES;
use legato::store::{self, Body, Condition, Head, Key, Listed, Put, Upload, Window};
use legato::{Error, Store};

use crate::stores::{about, each, key, keys, memory, on_each, on_these, run, write};

const CHUNK: usize = 8 << 20;

async fn adopt(store: &dyn Store, at: &str, version: Option<&str>) -> Result<legato::Ref, Error> {
    store::adopt(store, &key(at), version, about()).await
}

#[test]
fn an_adopted_object_has_the_reference_that_its_writer_had() {
    // Bytes that do not repeat with the chunks: chunks in another order would have other CRCs.
    let data: Vec<u8> = (0..=250u8).cycle().take(5 * CHUNK + 1).collect();
    on_each(async |store| {
        for bytes in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 4 * CHUNK, 5 * CHUNK + 1] {
            let part = Bytes::copy_from_slice(&data[..bytes]);
            let at = format!("inputs/{bytes}");
            let written = store::put(store, &key(&at), part.clone().into(), about()).await.unwrap();
            let adopted = adopt(store, &at, None).await.unwrap();
            assert_eq!(adopted, written, "{bytes}");
            assert_eq!(store::read(store, &adopted).await.unwrap(), part);
        }
        // Nothing was written beside them.
        assert_eq!(keys(store, "inputs/").await.len(), 7);
    });
}

#[test]
fn a_large_one_has_larger_chunks_and_no_sidecar() {
    let data: Bytes = (0..=250u8).cycle().take(17 * CHUNK + 5).collect::<Vec<_>>().into();
    on_these([memory()], async |store| {
        let sent = store.put(&key("k"), data.clone().into(), Condition::Always).await.unwrap();
        assert!(matches!(sent, Put::Written(_)));
        let adopted = adopt(store, "k", None).await.unwrap();
        assert_eq!((adopted.chunk_bytes, adopted.chunks.len()), (2 * CHUNK_BYTES, 9));
        assert_eq!(keys(store, "").await, ["k"]);
        let json = adopted.to_json().unwrap();
        assert_eq!(legato::Ref::from_json(json.as_bytes()).unwrap(), adopted);
        assert!(store::read(store, &adopted).await.unwrap() == data);
        // As a writer sums it, in chunks of another size.
        let written = store::put(store, &key("l"), data.clone().into(), about()).await.unwrap();
        assert_eq!(
            (&adopted.sha256, &adopted.crc64nvme, adopted.bytes),
            (&written.sha256, &written.crc64nvme, written.bytes)
        );
        let crcs = store::chunks(store, &adopted).await.unwrap();
        let last = store::read_chunk(store, &adopted, &crcs, 8).await.unwrap();
        assert!(last == data.slice(16 * CHUNK..));
        let mut damaged = data.to_vec();
        damaged[9 * CHUNK] ^= 1;
        write(store, "k", &damaged).await;
        let chunk = store::read_chunk(store, &adopted, &crcs, 4).await;
        assert!(matches!(chunk, Err(Error::Corrupt { .. })), "{chunk:?}");
    });
}

#[test]
fn it_must_be_the_version_that_was_named() {
    on_each(async |store| {
        write(store, "k", b"one").await;
        let head = store.head(&key("k")).await.unwrap();
        let etag = head.etag.unwrap();
        for version in [etag.as_str(), etag.trim_matches('"')] {
            let found = adopt(store, "k", Some(version)).await.unwrap();
            assert_eq!(found, adopt(store, "k", None).await.unwrap());
        }
        write(store, "k", b"other").await;
        let stale = adopt(store, "k", Some(&etag)).await;
        let Err(Error::Input { reason }) = stale else { panic!("{stale:?}") };
        assert!(reason.contains("it was replaced since"), "{reason}");
        for version in [None, Some(etag.as_str())] {
            let missing = adopt(store, "nothing", version).await;
            assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
        }
    });
}

/// A store whose object is replaced while it is read.
#[derive(Debug)]
struct Restless {
    store: Arc<dyn Store>,
    reads: AtomicU32,
    new: Bytes,
}

#[async_trait]
impl Store for Restless {
    fn url(&self) -> &str {
        self.store.url()
    }

    async fn put(&self, key: &Key, body: Body, condition: Condition) -> Result<Put, Error> {
        self.store.put(key, body, condition).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, Error> {
        self.store.get(key, range).await
    }

    async fn upload(&self, key: &Key) -> Result<Box<dyn Upload>, Error> {
        self.store.upload(key).await
    }

    async fn read(
        &self,
        key: &Key,
        version: Option<&str>,
        start: u64,
        window: &mut Window<'_>,
        fresh: bool,
    ) -> Result<u64, Error> {
        if self.reads.fetch_add(1, Ordering::Relaxed) == 1 {
            self.store.put(key, self.new.clone().into(), Condition::Always).await?;
        }
        self.store.read(key, version, start, window, fresh).await
    }

    async fn head(&self, key: &Key) -> Result<Head, Error> {
        self.store.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        self.store.list(prefix).await
    }

    async fn delete(&self, key: &Key, etag: Option<&str>) -> Result<(), Error> {
        self.store.delete(key, etag).await
    }

    async fn abandon(&self, at: &str, before: SystemTime, dry: bool) -> Result<Vec<String>, Error> {
        self.store.abandon(at, before, dry).await
    }

    async fn presign(&self, key: &Key, at: Option<&str>, time: Duration) -> Result<String, Error> {
        self.store.presign(key, at, time).await
    }
}

#[test]
fn an_object_that_changes_while_it_is_read_is_refused() {
    let old = vec![1; 2 * CHUNK];
    for new in [vec![2; 2 * CHUNK], vec![1; CHUNK + 7], vec![1; 3 * CHUNK]] {
        for fresh in each() {
            run(write(fresh.store.as_ref(), "k", &old));
            let (store, new) = (Arc::clone(&fresh.store), Bytes::from(new.clone()));
            let restless = Restless { store, reads: 0.into(), new };
            let adopted = run(adopt(&restless, "k", None));
            let Err(Error::Input { reason }) = adopted else { panic!("{adopted:?}") };
            assert!(reason.contains("changed while it was read"), "{reason}");
            assert!(restless.reads.load(Ordering::Relaxed) > 1);
        }
    }
}
