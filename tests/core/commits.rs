//! Outputs are written once: what a retry, a race, damage and a later legato do to `commit` and `find`.

use std::ops::Range;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use legato::store::{self, Body, Condition, Head, Key, Listed, Put, REF_SUFFIX, Upload, Window};
use legato::{Error, Ref, Store};

use crate::stores::{Fresh, about, body, each, key, keys, local, memory, on_each, run, write};

async fn commit(store: &dyn Store, at: &str, data: &'static str) -> Ref {
    store::commit(store, &key(at), Bytes::from_static(data.as_bytes()).into(), about())
        .await
        .unwrap()
}

#[test]
fn a_retry_gets_the_winner() {
    on_each(async |store| {
        let first = commit(store, "k", "first").await;
        assert_eq!(commit(store, "k", "second").await, first);
        assert_eq!(store::find(store, &key("k")).await.unwrap().as_ref(), Some(&first));
        assert_eq!(store::read(store, &first).await.unwrap(), "first");
        assert_eq!(keys(store, "").await, ["k", "k.ref"]);
    });
}

#[test]
fn an_object_without_its_ref_is_adopted() {
    on_each(async |store| {
        // What a writer leaves that dies between the two writes.
        write(store, "k", b"first").await;
        assert_eq!(store::find(store, &key("k")).await.unwrap(), None);
        let adopted = commit(store, "k", "second").await;
        assert_eq!(store::read(store, &adopted).await.unwrap(), "first");
        assert_eq!(store::find(store, &key("k")).await.unwrap(), Some(adopted));
    });
}

#[test]
fn what_is_damaged_is_made_again() {
    type Damage = (&'static str, &'static [u8]);
    let damages: [Damage; 7] = [
        ("k", b"First"),
        ("k", b"firs"),
        ("k", b"first and more"),
        ("k", b""),
        ("k.ref", b""),
        ("k.ref", b"{\"legato_ref\":1}"),
        ("k.ref", b"\xff\x00 not JSON"),
    ];
    for (at, bytes) in damages {
        on_each(async |store| {
            let before = commit(store, "k", "first").await;
            write(store, at, bytes).await;
            if at == "k" {
                let read = store::read(store, &before).await;
                assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
            }
            assert_eq!(store::find(store, &key("k")).await.unwrap(), None, "{at}");
            assert!(keys(store, "").await.is_empty(), "{at}: it was not removed");
            let again = commit(store, "k", "second").await;
            assert_eq!(store::read(store, &again).await.unwrap(), "second");
            assert_eq!(store::find(store, &key("k")).await.unwrap(), Some(again));
        });
    }
}

#[test]
fn a_commit_over_damage_needs_no_find_before_it() {
    on_each(async |store| {
        commit(store, "k", "first").await;
        write(store, "k", b"damaged").await;
        let again = commit(store, "k", "second").await;
        assert_eq!(store::read(store, &again).await.unwrap(), "second");
    });
}

#[test]
fn a_ref_without_its_object_is_removed() {
    on_each(async |store| {
        let lost = commit(store, "k", "first").await;
        store.delete(&key("k"), None).await.unwrap();
        let read = store::read(store, &lost).await;
        assert!(matches!(read, Err(Error::NotFound { .. })), "{read:?}");
        let again = commit(store, "k", "second").await;
        assert_eq!(store::read(store, &again).await.unwrap(), "second");
    });
}

#[test]
fn the_ref_of_a_later_legato_is_refused_and_kept() {
    on_each(async |store| {
        let reference = commit(store, "k", "first").await;
        let mut json = serde_json::to_value(&reference).unwrap();
        json["legato_ref"] = 2.into();
        json["something_new"] = "x".into();
        let newer = json.to_string();
        write(store, "k.ref", newer.as_bytes()).await;
        let found = store::find(store, &key("k")).await.map(|_| ());
        let data = Bytes::from_static(b"second");
        let made = store::commit(store, &key("k"), data.into(), about()).await.map(|_| ());
        for result in [found, made] {
            let Err(Error::Input { reason }) = result else { panic!("{result:?}") };
            assert!(reason.contains("install a newer legato"), "{reason}");
        }
        assert_eq!(store.get(&key("k.ref"), None).await.unwrap(), newer);
        assert_eq!(store.get(&key("k"), None).await.unwrap(), "first");
    });
}

#[test]
fn a_store_that_was_copied_stays_readable() {
    on_each(async |from| {
        let original = commit(from, "a/k", "data").await;
        for Fresh { store: to, folder: _folder } in [memory(), local()] {
            for at in keys(from, "").await {
                let data = from.get(&key(&at), None).await.unwrap();
                to.put(&key(&at), body(&data), Condition::Absent).await.unwrap();
            }
            let found = store::find(to.as_ref(), &key("a/k")).await.unwrap().unwrap();
            assert_eq!(found.uri, format!("{}/a/k", to.url()));
            assert_eq!(store::read(to.as_ref(), &found).await.unwrap(), "data");
            assert_eq!(commit(to.as_ref(), "a/k", "other").await, found);
            // The first store's own reference is not for this one.
            let read = store::read(to.as_ref(), &original).await;
            assert!(matches!(read, Err(Error::Input { .. })), "{read:?}");
        }
    });
}

/// What each of `WRITERS` threads got that committed at the same time.
fn race(store: &Arc<dyn Store>) -> Vec<Result<Ref, Error>> {
    const WRITERS: usize = 12;
    let start = Arc::new(Barrier::new(WRITERS));
    let writers = (0..WRITERS).map(|i| {
        let (store, start) = (Arc::clone(store), Arc::clone(&start));
        std::thread::spawn(move || {
            // Unlike in content and length, so that a mixture would show.
            let data = Bytes::from(vec![u8::try_from(i).unwrap(); 50_000 + i]);
            start.wait();
            run(store::commit(store.as_ref(), &key("k"), data.into(), about()))
        })
    });
    let writers: Vec<_> = writers.collect();
    writers.into_iter().map(|writer| writer.join().unwrap()).collect()
}

#[test]
fn of_concurrent_commits_one_wins() {
    for _ in 0..8 {
        for fresh in each() {
            let store = &fresh.store;
            let refs: Vec<Ref> = race(store).into_iter().map(Result::unwrap).collect();
            assert!(refs.iter().all(|reference| *reference == refs[0]), "{refs:?}");
            let data = run(store::read(store.as_ref(), &refs[0])).unwrap();
            assert_eq!(data.len(), 50_000 + usize::from(data[0]));
            assert!(data.iter().all(|&byte| byte == data[0]));
            assert_eq!(run(keys(store.as_ref(), "")), ["k", "k.ref"]);
        }
    }
}

#[test]
fn readers_never_see_a_part_of_a_write() {
    for fresh in each() {
        let reader = Arc::clone(&fresh.store);
        run(write(fresh.store.as_ref(), "k", &vec![0; 100_000]));
        let watch = std::thread::spawn(move || {
            for _ in 0..200 {
                let data = run(reader.get(&key("k"), None)).unwrap();
                assert_eq!(data.len(), 100_000);
                assert!(data.iter().all(|&byte| byte == data[0]));
            }
        });
        for i in 0..60 {
            run(write(fresh.store.as_ref(), "k", &vec![i; 100_000]));
        }
        watch.join().unwrap();
    }
}

#[test]
fn the_suffix_of_a_ref_is_part_of_the_format() {
    assert_eq!(REF_SUFFIX, ".ref");
}

#[test]
fn concurrent_repairs_never_adopt_the_damage() {
    for _ in 0..20 {
        for fresh in each() {
            let store = &fresh.store;
            run(commit(store.as_ref(), "k", "first"));
            run(write(store.as_ref(), "k", b"damaged"));
            // A repair may take away what another one has just made; both are then tried again.
            for result in race(store) {
                assert!(matches!(result, Ok(_) | Err(Error::Unavailable { .. })), "{result:?}");
            }
            let last = run(commit(store.as_ref(), "k", "last"));
            assert_ne!(run(store::read(store.as_ref(), &last)).unwrap(), "damaged");
            assert_eq!(run(store::find(store.as_ref(), &key("k"))).unwrap(), Some(last));
        }
    }
}

/// A store whose writer dies at a certain write or delete, before or after that took effect.
#[derive(Debug)]
struct Dying {
    store: Arc<dyn Store>,
    changes_left: AtomicI32,
    after: bool,
}

impl Dying {
    fn dies(&self) -> bool {
        self.changes_left.fetch_sub(1, Ordering::Relaxed) <= 0
    }

    fn dead<T>() -> Result<T, Error> {
        Err(Error::Unavailable { uri: "k".into(), reason: "the writer died".into() })
    }
}

#[async_trait]
impl Store for Dying {
    fn url(&self) -> &str {
        self.store.url()
    }

    async fn put(&self, key: &Key, body: Body, condition: Condition) -> Result<Put, Error> {
        let dies = self.dies();
        if !dies || self.after {
            let put = self.store.put(key, body, condition).await;
            if !dies {
                return put;
            }
        }
        Self::dead()
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
        self.store.read(key, version, start, window, fresh).await
    }

    async fn head(&self, key: &Key) -> Result<Head, Error> {
        self.store.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        self.store.list(prefix).await
    }

    async fn delete(&self, key: &Key, etag: Option<&str>) -> Result<(), Error> {
        let dies = self.dies();
        if !dies || self.after {
            self.store.delete(key, etag).await?;
        }
        if dies { Self::dead() } else { Ok(()) }
    }

    async fn abandon(&self, at: &str, before: SystemTime, dry: bool) -> Result<Vec<String>, Error> {
        self.store.abandon(at, before, dry).await
    }

    async fn presign(&self, key: &Key, at: Option<&str>, time: Duration) -> Result<String, Error> {
        self.store.presign(key, at, time).await
    }
}

#[test]
fn a_writer_may_die_at_any_moment() {
    for (damaged, most) in [(None, 2), (Some("k"), 4), (Some("k.ref"), 4)] {
        for (dies_at, after) in (0..most).flat_map(|n| [(n, false), (n, true)]) {
            for fresh in each() {
                let store = Arc::clone(&fresh.store);
                if let Some(at) = damaged {
                    run(commit(store.as_ref(), "k", "first"));
                    run(write(store.as_ref(), at, b"damaged"));
                }
                let dying = Dying { store, changes_left: dies_at.into(), after };
                let data = Bytes::from_static(b"second");
                let died = run(store::commit(&dying, &key("k"), data.into(), about()));
                assert!(matches!(died, Err(Error::Unavailable { .. })), "{died:?}");
                let rerun = run(commit(fresh.store.as_ref(), "k", "third"));
                let bytes = run(store::read(fresh.store.as_ref(), &rerun)).unwrap();
                let whole = ["first", "second", "third"].iter().any(|data| bytes == *data);
                assert!(whole, "{damaged:?} {dies_at} {after}: {bytes:?}");
                assert_eq!(run(store::find(fresh.store.as_ref(), &key("k"))).unwrap(), Some(rerun));
            }
        }
    }
}
