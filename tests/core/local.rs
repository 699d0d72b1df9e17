//! What only a store of files can meet.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use legato::store::{self, Body, LocalStore, S3Options};
use legato::{Error, Store};

use crate::stores::{about, body, key, keys, local, run, write};

fn open(path: &Path) -> Arc<dyn Store> {
    Arc::new(LocalStore::open(path.to_str().unwrap()).unwrap())
}

#[test]
fn leftovers_of_a_killed_writer_are_no_objects() {
    let folder = tempfile::tempdir().unwrap();
    let staging = folder.path().join(".legato-staging");
    fs::create_dir(&staging).unwrap();
    let (recent, old) = (staging.join("1-0-1"), staging.join("1-0-2"));
    fs::write(&recent, "half").unwrap();
    fs::write(&old, "half").unwrap();
    let long_ago = SystemTime::now() - Duration::from_hours(25);
    let times = FileTimes::new().set_modified(long_ago);
    File::options().write(true).open(&old).unwrap().set_times(times).unwrap();

    let store = open(folder.path());
    // One may belong to a writer that lives; the other cannot.
    assert!(recent.exists() && !old.exists());
    run(write(store.as_ref(), "k", b"x"));
    assert_eq!(run(keys(store.as_ref(), "")), ["k"]);
    assert!(run(keys(store.as_ref(), ".legato-staging")).is_empty());
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 1, "the write left its own staged file");
}

#[test]
fn a_failed_write_leaves_nothing() {
    let fresh = local();
    let folder = fresh.folder.as_ref().unwrap().path();
    run(write(fresh.store.as_ref(), "a/b", b"x"));
    for (at, body) in [("a", body(b"y")), ("c", Body::File(folder.join("none")))] {
        let put = run(store::put(fresh.store.as_ref(), &key(at), body, about()));
        assert!(matches!(put, Err(Error::Input { .. })), "{put:?}");
    }
    assert_eq!(run(keys(fresh.store.as_ref(), "")), ["a/b"]);
    assert_eq!(fs::read_dir(folder.join(".legato-staging")).unwrap().count(), 0);
}

#[test]
fn one_name_cannot_be_object_and_folder() {
    let fresh = local();
    let store = fresh.store.as_ref();
    run(write(store, "object", b"x"));
    run(write(store, "folder/object", b"x"));
    for at in ["object/below", "folder"] {
        let data = Bytes::from_static(b"y");
        let put = run(store::put(store, &key(at), data.clone().into(), about()));
        let commit = run(store::commit(store, &key(at), data.into(), about()));
        for result in [put, commit] {
            // Not `Unavailable`: a state machine would try that again and again.
            let Err(Error::Input { reason }) = result else { panic!("{at}: {result:?}") };
            assert!(reason.contains("file and folder"), "{reason}");
        }
    }
    assert_eq!(run(keys(store, "")), ["folder/object", "object"]);
}

#[test]
fn a_folder_has_one_url() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let url = format!("file://{path}");
    for spelling in
        [format!("{path}/"), format!("{path}//"), format!("/{path}"), format!("{path}/.")]
    {
        assert_eq!(LocalStore::open(&spelling).unwrap().url(), url, "{spelling}");
    }
    let spaced = LocalStore::open(&format!("{path}/a%20b%25ü")).unwrap();
    assert_eq!(spaced.url(), format!("{url}/a%20b%25%C3%BC"));
    let reference = run(store::put(&spaced, &key("k"), body(b"x"), about())).unwrap();
    assert!(folder.path().join("a b%ü/k").is_file());
    let again = store::open(spaced.url(), S3Options::default()).unwrap();
    assert_eq!(run(store::read(again.as_ref(), &reference)).unwrap(), "x");
}

#[test]
fn a_moved_folder_stays_a_store() {
    let parent = tempfile::tempdir().unwrap();
    let (before, after) = (parent.path().join("before"), parent.path().join("after"));
    let store = open(&before);
    let commit = |store: &dyn Store, data| {
        run(store::commit(store, &key("a/k"), Bytes::from_static(data).into(), about()))
    };
    let first = commit(store.as_ref(), b"first").unwrap();
    fs::rename(&before, &after).unwrap();
    let moved = open(&after);
    let found = run(store::find(moved.as_ref(), &key("a/k"))).unwrap().unwrap();
    assert_eq!(found.sha256, first.sha256);
    assert_eq!(run(store::read(moved.as_ref(), &found)).unwrap(), "first");
    assert_eq!(commit(moved.as_ref(), b"second").unwrap(), found);
    assert!(
        run(store::read(moved.as_ref(), &first))
            .unwrap_err()
            .to_string()
            .contains("outside of the store")
    );
}

#[test]
fn foreign_files_do_not_disturb_a_list() {
    let fresh = local();
    let folder = fresh.folder.as_ref().unwrap().path();
    run(write(fresh.store.as_ref(), "a/k", b"x"));
    symlink(folder, folder.join("a/loop")).unwrap();
    symlink(folder, folder.join("a/loop-too")).unwrap();
    symlink(folder.join("none"), folder.join("a/dangling")).unwrap();
    symlink(folder.join("a/k"), folder.join("a/link")).unwrap();
    fs::write(folder.join("a/back\\slash"), "no key can name it").unwrap();
    assert_eq!(run(keys(fresh.store.as_ref(), "")), ["a/k", "a/link"]);
}

#[test]
fn no_reference_leads_out_of_the_store() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("secret"), "secret").unwrap();
    let store = open(&parent.path().join("store"));
    let mut reference =
        run(store::put(store.as_ref(), &key("k"), body(b"secret"), about())).unwrap();
    for path in
        ["../secret", "%2e%2e/secret", "..%2fsecret", "a/../../secret", "/secret", "./../secret"]
    {
        reference.uri = format!("{}/{path}", store.url());
        let read = run(store::read(store.as_ref(), &reference));
        assert!(matches!(read, Err(Error::Input { .. })), "{path}: {read:?}");
    }
}
