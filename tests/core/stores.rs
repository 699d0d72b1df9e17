//! What every store does: one suite, run against each of them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use legato::reference::Description;
use legato::store::{self, Body, Condition, Key, LocalStore, MemoryStore, Put, S3Options};
use legato::{Error, Store};
use tempfile::TempDir;

/// A fresh store, and the folder that has to live as long as it.
pub(crate) struct Fresh {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) folder: Option<TempDir>,
}

pub(crate) fn memory() -> Fresh {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("core-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    Fresh { store: MemoryStore::named(&name), folder: None }
}

pub(crate) fn local() -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path().to_str().unwrap()).unwrap();
    Fresh { store: Arc::new(store), folder: Some(folder) }
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A fresh prefix of the bucket that `tests/servers` names, with the server of that environment.
pub(crate) fn s3() -> Option<Fresh> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let url = std::env::var("LEGATO_TEST_S3").ok()?;
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let store = store::open(&format!("{url}/{name}"), S3Options::default()).unwrap();
    Some(Fresh { store, folder: None })
}

/// A fresh store of each kind; on S3 where there is a server.
pub(crate) fn each() -> impl Iterator<Item = Fresh> {
    [memory(), local()].into_iter().chain(s3())
}

/// Runs a test against a fresh store of each kind.
pub(crate) fn on_each(test: impl AsyncFn(&dyn Store)) {
    on_these(each(), test);
}

/// Runs a test against some stores.
pub(crate) fn on_these(stores: impl IntoIterator<Item = Fresh>, test: impl AsyncFn(&dyn Store)) {
    for fresh in stores {
        run(test(fresh.store.as_ref()));
    }
}

pub(crate) fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

pub(crate) fn body(data: &[u8]) -> Body {
    Bytes::copy_from_slice(data).into()
}

pub(crate) fn about() -> Description {
    Description { media_type: "text/plain".into(), ..Description::default() }
}

pub(crate) fn written(put: Put) -> bool {
    matches!(put, Put::Written(_))
}

/// Keys that start with a prefix.
pub(crate) async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).await.unwrap().into_iter().map(|object| object.key).collect()
}

pub(crate) async fn write(store: &dyn Store, at: &str, data: &[u8]) {
    assert!(written(store.put(&key(at), body(data), Condition::Always).await.unwrap()));
}

#[test]
fn bytes_come_back_whole_and_in_ranges() {
    on_each(async |store| {
        write(store, "a/b", b"0123456789").await;
        let at = key("a/b");
        assert_eq!(store.head(&at).await.unwrap().bytes, 10);
        assert_eq!(store.get(&at, None).await.unwrap(), "0123456789");
        let (backwards, past) = (std::ops::Range { start: 5, end: 2 }, u64::MAX - 1..u64::MAX);
        for (range, part) in [
            (0..10, "0123456789"),
            (2..5, "234"),
            (4..4, ""),
            (8..1000, "89"),
            (0..u64::MAX, "0123456789"),
            (10..12, ""),
            (backwards, ""),
            (past, ""),
        ] {
            assert_eq!(store.get(&at, Some(range.clone())).await.unwrap(), part, "{range:?}");
        }
    });
}

#[test]
fn a_write_replaces_unless_it_asks_for_an_absent_key() {
    on_each(async |store| {
        let at = key("k");
        let absent = Condition::Absent;
        assert!(written(store.put(&at, body(b"one"), absent).await.unwrap()));
        assert_eq!(store.put(&at, body(b"two"), absent).await.unwrap(), Put::Exists);
        assert_eq!(store.get(&at, None).await.unwrap(), "one");
        write(store, "k", b"").await;
        assert_eq!(store.head(&at).await.unwrap().bytes, 0);
        assert_eq!(store.get(&at, None).await.unwrap(), "");
        store.delete(&at, None).await.unwrap();
        assert!(written(store.put(&at, body(b"three"), absent).await.unwrap()));
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    on_each(async |store| {
        write(store, "folder/object", b"x").await;
        // Neither a folder of objects nor something below an object is an object.
        for missing in ["none", "folder", "folder/none", "folder/object/below"] {
            let at = key(missing);
            for result in [
                store.get(&at, None).await.map(|_| ()),
                store.get(&at, Some(0..1)).await.map(|_| ()),
                store.head(&at).await.map(|_| ()),
            ] {
                assert!(matches!(result, Err(Error::NotFound { .. })), "{missing}: {result:?}");
            }
            store.delete(&at, None).await.unwrap();
            assert_eq!(store::find(store, &at).await.unwrap(), None, "{missing}");
        }
        assert_eq!(store.get(&key("folder/object"), None).await.unwrap(), "x");
    });
}

#[test]
fn lists_by_prefix_in_order() {
    on_each(async |store| {
        assert!(keys(store, "").await.is_empty());
        for at in ["b", "a/2", "a/1", "a/c/3", "ab/4", "a-b"] {
            write(store, at, b"x").await;
        }
        let all = ["a-b", "a/1", "a/2", "a/c/3", "ab/4", "b"];
        assert_eq!(keys(store, "").await, all);
        assert_eq!(keys(store, "a/").await, ["a/1", "a/2", "a/c/3"]);
        assert_eq!(keys(store, "a").await, &all[..5]);
        assert_eq!(keys(store, "a/c/3").await, ["a/c/3"]);
        for nothing in ["a/c/3/", "c", "/", "../", "a//"] {
            assert!(keys(store, nothing).await.is_empty(), "{nothing}");
        }
        store.delete(&key("a/1"), None).await.unwrap();
        assert_eq!(keys(store, "a/").await, ["a/2", "a/c/3"]);
    });
}

#[test]
fn keys_of_every_alphabet_survive_the_reference() {
    let long = "x".repeat(230);
    let deep = format!("{}z", "y/".repeat(499));
    let names = [
        "a b/c  d",
        "ü/東京/🙂",
        "100%/50%25",
        "a?b#c&d=e+f",
        "%2e%2e/x",
        "..a/b..",
        ".ref/x",
        "e\u{301}",
        "é",
        "<\"'`>{}|^~[]",
        "file:/x",
        &long,
        &deep,
    ];
    on_each(async |store| {
        for (i, at) in names.iter().enumerate() {
            let data = format!("object {i}");
            let reference =
                store::commit(store, &key(at), Bytes::from(data.clone()).into(), about())
                    .await
                    .unwrap();
            assert!(reference.uri.is_ascii(), "{}", reference.uri);
            assert_eq!(store::read(store, &reference).await.unwrap(), data, "{at}");
            assert_eq!(store::find(store, &key(at)).await.unwrap(), Some(reference), "{at}");
        }
        let listed = keys(store, "").await;
        assert_eq!(listed.len(), 2 * names.len());
        for at in &names {
            assert!(listed.iter().any(|listed| listed == at), "{at}");
        }
    });
}

#[test]
fn a_file_is_stored_like_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source");
    let data: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
    std::fs::write(&path, &data).unwrap();
    on_each(async |store| {
        let from_file =
            store::put(store, &key("k"), Body::File(path.clone()), about()).await.unwrap();
        let from_bytes = store::put(store, &key("k"), body(&data), about()).await.unwrap();
        assert_eq!(from_file, from_bytes);
        assert_eq!(store::read(store, &from_file).await.unwrap(), data);
    });
}

#[test]
fn only_a_regular_file_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let name = std::ffi::CString::new(pipe.to_str().unwrap()).unwrap();
    // SAFETY: `name` is a C string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    on_each(async |store| {
        for path in
            [folder.path().to_owned(), folder.path().join("none"), pipe.clone(), "/dev/zero".into()]
        {
            let put = store::put(store, &key("k"), Body::File(path.clone()), about()).await;
            assert!(matches!(put, Err(Error::Input { .. })), "{}: {put:?}", path.display());
        }
        assert!(keys(store, "").await.is_empty());
    });
}

#[test]
fn urls_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let in_a_file = format!("file://{}", file.display());
    for (url, said) in [
        ("", "not known"),
        ("/tmp/x", "not known"),
        ("s3://", "has no bucket"),
        ("s3://Bucket/x", "has no bucket"),
        ("s3://bucket/../x", "'..'"),
        ("gs://bucket", "not known"),
        ("file://relative/x", "no absolute path"),
        ("file://", "no absolute path"),
        ("file:///", "no absolute path"),
        ("file:///%ff", "not UTF-8"),
        ("file:///a%00b", "control character"),
        ("file:///a%0ab", "control character"),
        ("memory://", "name of a memory store"),
        ("memory://a/b", "name of a memory store"),
        (in_a_file.as_str(), "is a file"),
    ] {
        match store::open(url, S3Options::default()) {
            Err(Error::Input { reason }) => assert!(reason.contains(said), "{url}: {reason}"),
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[test]
fn names_beside_an_object_are_reserved() {
    on_each(async |store| {
        for name in ["a/x.ref", "a/x.0123456789abcdef.chunks"] {
            for refused in [
                store::put(store, &key(name), body(b"1"), about()).await,
                store::commit(store, &key(name), Bytes::from_static(b"1").into(), about()).await,
            ] {
                assert!(refused.unwrap_err().to_string().contains("reserved"), "{name}");
            }
        }
        assert_eq!(keys(store, "").await, [""; 0]);
    });
}

#[test]
fn an_upload_is_seen_when_it_is_complete() {
    on_each(async |store| {
        let (at, part) = (key("parts"), Bytes::from(vec![7u8; 5 << 20]));
        let mut upload = store.upload(&at).await.unwrap();
        upload.part(vec![part.clone()]).await.unwrap();
        upload.part(vec![Bytes::from_static(b"en"), Bytes::from_static(b"d")]).await.unwrap();
        assert!(keys(store, "").await.is_empty());
        assert!(written(upload.complete(Condition::Absent).await.unwrap()));
        let whole = store.get(&at, None).await.unwrap();
        assert!(whole.len() == part.len() + 3 && whole.ends_with(b"\x07end"));

        let mut second = store.upload(&at).await.unwrap();
        second.part(vec![Bytes::from_static(b"second")]).await.unwrap();
        assert_eq!(second.complete(Condition::Absent).await.unwrap(), Put::Exists);
        assert_eq!(store.get(&at, None).await.unwrap(), whole);
        let empty = store.upload(&at).await.unwrap();
        assert!(written(empty.complete(Condition::Always).await.unwrap()));
        assert_eq!(store.head(&at).await.unwrap().bytes, 0);

        let mut aborted = store.upload(&key("other")).await.unwrap();
        aborted.part(vec![part]).await.unwrap();
        aborted.abort().await.unwrap();
        assert_eq!(keys(store, "").await, ["parts"]);
        // Nothing is left for a collector.
        let soon = SystemTime::now() + Duration::from_hours(1);
        assert!(store.abandon("", soon, true).await.unwrap().is_empty());
    });
}

#[test]
fn what_a_dead_writer_left_is_removed() {
    on_each(async |store| {
        let mut upload = store.upload(&key("k")).await.unwrap();
        upload.part(vec![Bytes::from_static(b"x")]).await.unwrap();
        // As kill -9 would: nothing is cleaned up.
        std::mem::forget(upload);
        let (then, soon) = (SystemTime::UNIX_EPOCH, SystemTime::now() + Duration::from_hours(1));
        assert!(store.abandon("", then, false).await.unwrap().is_empty(), "it is young");
        let found = store.abandon("", soon, true).await.unwrap();
        assert_eq!(store.abandon("", soon, false).await.unwrap(), found);
        assert_eq!(found.is_empty(), store.url().starts_with("memory:"));
        assert!(store.abandon("", soon, true).await.unwrap().is_empty());
        assert!(keys(store, "").await.is_empty());
    });
}
