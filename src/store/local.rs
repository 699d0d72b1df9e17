use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use percent_encoding::{percent_decode_str, utf8_percent_encode};

use super::contract::{Body, Condition, Put, Store};
use super::key::{Key, RESERVED};
use crate::error::{Error, Result};

/// Where objects are written before they get their name; no key starts like this.
const STAGING: &str = ".legato-staging";
/// Age after which a staged file must have been left by a writer that died.
const ABANDONED: Duration = Duration::from_hours(24);

/// Objects as files below a folder: `file:///path`.
///
/// An object is written beside the others, flushed to the disk, and then linked or renamed into place: a
/// reader or a crash never sees a part of it. Operations block; they are as short as the disk is fast.
#[derive(Debug)]
pub struct LocalStore {
    url: String,
    root: PathBuf,
}

impl LocalStore {
    /// Opens the store at an absolute, percent-encoded path; the folder is made with the first object.
    pub fn open(path: &str) -> Result<Self> {
        let bad =
            |reason: &str| Error::input(format!("store 'file://{}' {reason}", path.escape_debug()));
        let decoded = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| bad("is not UTF-8; percent-encode the path"))?;
        if decoded.chars().any(char::is_control) {
            return Err(bad("has a control character"));
        }
        // One URL a folder, however its path is written: without `//`, `/.` and a slash at its end.
        let root: PathBuf = Path::new(decoded.as_ref()).components().collect();
        if !root.is_absolute() || root.parent().is_none() {
            return Err(bad("has no absolute path of a folder; write file:///folder"));
        }
        if root.exists() && !root.is_dir() {
            return Err(bad("is a file; name a folder"));
        }
        let url = format!("file://{}", utf8_percent_encode(&root.to_string_lossy(), RESERVED));
        let store = Self { url, root };
        store.sweep();
        Ok(store)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Removes what writers that were killed left behind. Best effort: it only frees space.
    fn sweep(&self) {
        let now = SystemTime::now();
        for entry in fs::read_dir(self.root.join(STAGING)).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|m| m.modified()).unwrap_or(now);
            if now.duration_since(modified).is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn write(&self, key: &Key, body: &Body, condition: Condition) -> io::Result<Put> {
        let path = self.path(key);
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Err(ErrorKind::IsADirectory.into()),
            Ok(_) if condition == Condition::Absent => return Ok(Put::Exists),
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let staged = Staged::write(&self.root.join(STAGING), body)?;
        let put = match condition {
            Condition::Always => fs::rename(&staged.path, &path).map(|()| Put::Written),
            // A link, unlike a rename, fails when the name is taken.
            Condition::Absent => match fs::hard_link(&staged.path, &path) {
                Ok(()) => Ok(Put::Written),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Put::Exists),
                Err(e) => Err(e),
            },
        }?;
        File::open(folder)?.sync_all()?;
        Ok(put)
    }

    fn read(&self, key: &Key, range: Option<Range<u64>>) -> io::Result<Bytes> {
        let mut file = File::open(self.path(key))?;
        let bytes = file.metadata()?.len();
        let range = range.unwrap_or(0..bytes);
        let length = range.end.min(bytes).saturating_sub(range.start);
        // Nothing is read past the end, where an offset may be more than the system takes.
        if length == 0 {
            return Ok(Bytes::new());
        }
        if range.start > 0 {
            file.seek(SeekFrom::Start(range.start))?;
        }
        let mut data = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.take(length).read_to_end(&mut data)?;
        Ok(data.into())
    }

    fn walk(&self, prefix: &str) -> io::Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let path = entry.path();
                let Some(key) = path.strip_prefix(&self.root).ok().and_then(Path::to_str) else {
                    continue;
                };
                let related = key.starts_with(prefix) || prefix.starts_with(&format!("{key}/"));
                if key == STAGING || !related {
                    continue;
                }
                // A link to a folder is not followed: it may lead back to this one.
                let kind = entry.file_type()?;
                let object = || (kind.is_file() || path.is_file()) && Key::parse(key).is_ok();
                if kind.is_dir() {
                    folders.push(path);
                } else if key.starts_with(prefix) && object() {
                    keys.push(key.to_owned());
                }
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// What an I/O failure means to a caller.
    fn failed(&self, action: &'static str, key: &Key, error: &io::Error) -> Error {
        let uri = self.uri(key);
        let reason = error.to_string();
        match error.kind() {
            // A folder is no object, and there is none below a file.
            ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory
                if action == "reading" =>
            {
                Error::NotFound { uri }
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Error::Denied { action, uri, reason }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Error::Full { uri, reason }
            }
            ErrorKind::IsADirectory | ErrorKind::NotADirectory | ErrorKind::DirectoryNotEmpty => {
                Error::input(format!(
                    "{uri} and another object would need one name as file and folder"
                ))
            }
            ErrorKind::InvalidFilename => {
                Error::input(format!("{uri} is too long for this file system; shorten its key"))
            }
            _ => Error::Unavailable { uri, reason },
        }
    }
}

#[async_trait]
impl Store for LocalStore {
    fn url(&self) -> &str {
        &self.url
    }

    async fn put(&self, key: &Key, body: Body, condition: Condition) -> Result<Put> {
        if let Body::File(path) = &body {
            File::open(path).map_err(|e| {
                Error::input(format!(
                    "file {} cannot be read ({e}); check the path",
                    path.display()
                ))
            })?;
        }
        self.write(key, &body, condition).map_err(|e| self.failed("writing", key, &e))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        self.read(key, range).map_err(|e| self.failed("reading", key, &e))
    }

    async fn head(&self, key: &Key) -> Result<u64> {
        match fs::metadata(self.path(key)) {
            Ok(found) if found.is_dir() => Err(Error::NotFound { uri: self.uri(key) }),
            found => found.map(|m| m.len()).map_err(|e| self.failed("reading", key, &e)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.walk(prefix).map_err(|e| match e.kind() {
            ErrorKind::PermissionDenied => {
                Error::Denied { action: "listing", uri: self.url.clone(), reason: e.to_string() }
            }
            _ => Error::Unavailable { uri: self.url.clone(), reason: e.to_string() },
        })
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
            // A folder is no object.
            Err(_) if path.is_dir() => Ok(()),
            done => done.map_err(|e| self.failed("deleting", key, &e)),
        }
    }
}

/// A whole file that has no name yet; it goes when this does.
struct Staged {
    path: PathBuf,
}

impl Staged {
    fn write(folder: &Path, body: &Body) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(folder)?;
        let nanos = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_nanos());
        let name = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed), nanos);
        let staged = Self { path: folder.join(format!("{}-{}-{}", name.0, name.1, name.2)) };
        let file = match body {
            Body::Bytes(data) => {
                let mut file = File::create_new(&staged.path)?;
                file.write_all(data)?;
                file
            }
            Body::File(source) => {
                let mut file = File::create_new(&staged.path)?;
                io::copy(&mut File::open(source)?, &mut file)?;
                file
            }
        };
        file.sync_all()?;
        Ok(staged)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Renamed away, or linked to its name: either way this one is done with.
        let _ = fs::remove_file(&self.path);
    }
}
