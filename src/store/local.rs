use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use percent_encoding::{percent_decode_str, utf8_percent_encode};

use super::contract::{Body, Condition, Head, Listed, Put, Store, Stored, Upload};
use super::key::{Key, RESERVED};
use super::window::Window;
use crate::error::{Error, Result};

/// Where objects are written before they get their name; no key starts like this.
const STAGING: &str = ".legato-staging";
/// Age after which a staged file must have been left by a writer that died.
const ABANDONED: Duration = Duration::from_hours(24);
/// Files have no version, and nothing is sent over a network that a CRC would have to follow.
const WRITTEN: Put = Put::Written(Stored { version: None, crc64nvme: None });

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
        if taken(&path, condition)? {
            return Ok(Put::Exists);
        }
        let mut staged = Staged::create(&self.root.join(STAGING))?;
        match body {
            Body::Memory(pieces) => {
                for piece in pieces {
                    staged.file.write_all(piece)?;
                }
            }
            Body::File(source) => {
                io::copy(&mut File::open(source)?, &mut staged.file)?;
            }
        }
        staged.place(&path, condition)
    }

    fn get_range(&self, key: &Key, range: Option<Range<u64>>) -> io::Result<Bytes> {
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

    fn walk(&self, prefix: &str) -> io::Result<Vec<Listed>> {
        let mut found = Vec::new();
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
                    // One that is removed at this moment is not there.
                    let Ok(about) = fs::metadata(&path) else { continue };
                    let (bytes, modified) = (about.len(), about.modified()?);
                    found.push(Listed { key: key.to_owned(), bytes, modified });
                }
            }
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
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

/// Says whether a conditional write can be left: nothing is written where a name is taken.
fn taken(path: &Path, condition: Condition) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(condition == Condition::Absent),
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        Err(_) => Ok(false),
    }
}

/// What changes with each write of a file: writes make new ones, and the system numbers them.
fn etag(about: &fs::Metadata) -> String {
    format!("\"{}-{}-{}\"", about.ino(), about.mtime(), about.mtime_nsec())
}

#[async_trait]
impl Store for LocalStore {
    fn url(&self) -> &str {
        &self.url
    }

    async fn put(&self, key: &Key, body: Body, condition: Condition) -> Result<Put> {
        body.bytes()?;
        self.write(key, &body, condition).map_err(|e| self.failed("writing", key, &e))
    }

    async fn upload(&self, key: &Key) -> Result<Box<dyn Upload>> {
        let staged = Staged::create(&self.root.join(STAGING));
        let staged = staged.map_err(|e| self.failed("writing", key, &e))?;
        let store = Self { url: self.url.clone(), root: self.root.clone() };
        Ok(Box::new(LocalUpload { store, key: key.clone(), staged }))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        self.get_range(key, range).map_err(|e| self.failed("reading", key, &e))
    }

    async fn read(
        &self,
        key: &Key,
        _version: Option<&str>,
        start: u64,
        window: &mut Window<'_>,
        _fresh: bool,
    ) -> Result<u64> {
        let read = File::open(self.path(key)).and_then(|file| {
            let about = file.metadata()?;
            if about.is_dir() {
                return Err(ErrorKind::IsADirectory.into());
            }
            window.read_file(&file, start).map(|()| about.len())
        });
        read.map_err(|e| self.failed("reading", key, &e))
    }

    async fn head(&self, key: &Key) -> Result<Head> {
        match fs::metadata(self.path(key)) {
            Ok(found) if found.is_dir() => Err(Error::NotFound { uri: self.uri(key) }),
            Ok(found) => Ok(Head {
                bytes: found.len(),
                version: None,
                etag: Some(etag(&found)),
                crc64nvme: None,
            }),
            Err(e) => Err(self.failed("reading", key, &e)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        self.walk(prefix).map_err(|e| match e.kind() {
            ErrorKind::PermissionDenied => {
                Error::Denied { action: "listing", uri: self.url.clone(), reason: e.to_string() }
            }
            _ => Error::Unavailable { uri: self.url.clone(), reason: e.to_string() },
        })
    }

    async fn delete(&self, key: &Key, only: Option<&str>) -> Result<()> {
        let path = self.path(key);
        if let (Some(only), Ok(about)) = (only, fs::metadata(&path))
            && etag(&about) != only
        {
            return Ok(());
        }
        match fs::remove_file(&path) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
            // A folder is no object.
            Err(_) if path.is_dir() => Ok(()),
            removed => removed.map_err(|e| self.failed("removing", key, &e)),
        }
    }

    async fn abandon(&self, _: &str, before: SystemTime, dry_run: bool) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.root.join(STAGING)).into_iter().flatten().flatten() {
            if entry.metadata().and_then(|m| m.modified()).is_ok_and(|modified| modified < before) {
                if !dry_run {
                    let _ = fs::remove_file(entry.path());
                }
                found.push(format!("{STAGING}/{}", entry.file_name().to_string_lossy()));
            }
        }
        Ok(found)
    }

    async fn presign(&self, key: &Key, _: Option<&str>, _: Duration) -> Result<String> {
        let uri = self.uri(key);
        Err(Error::input(format!(
            "{uri} is a file here; hand over the file: only s3:// has URLs that expire"
        )))
    }
}

/// A file that is being written, and has no name among the objects yet.
#[derive(Debug)]
struct Staged {
    path: PathBuf,
    file: File,
}

impl Staged {
    fn create(folder: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(folder)?;
        let nanos = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_nanos());
        let name = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed), nanos);
        let path = folder.join(format!("{}-{}-{}", name.0, name.1, name.2));
        let file = File::create_new(&path)?;
        Ok(Self { path, file })
    }

    /// Gives the file its name, when it is on the disk.
    fn place(self, path: &Path, condition: Condition) -> io::Result<Put> {
        self.file.sync_all()?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        let put = match condition {
            Condition::Always => fs::rename(&self.path, path).map(|()| WRITTEN),
            // A link, unlike a rename, fails when the name is taken.
            Condition::Absent => match fs::hard_link(&self.path, path) {
                Ok(()) => Ok(WRITTEN),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Put::Exists),
                Err(e) => Err(e),
            },
        }?;
        File::open(folder)?.sync_all()?;
        Ok(put)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Renamed away, or linked to its name: either way this one is done with.
        let _ = fs::remove_file(&self.path);
    }
}

/// Parts that are appended to a file.
#[derive(Debug)]
struct LocalUpload {
    store: LocalStore,
    key: Key,
    staged: Staged,
}

#[async_trait]
impl Upload for LocalUpload {
    async fn part(&mut self, data: Vec<Bytes>) -> Result<()> {
        let written = data.iter().try_for_each(|piece| self.staged.file.write_all(piece));
        written.map_err(|e| self.store.failed("writing", &self.key, &e))
    }

    async fn complete(self: Box<Self>, condition: Condition) -> Result<Put> {
        let path = self.store.path(&self.key);
        let placed = match taken(&path, condition) {
            Ok(true) => Ok(Put::Exists),
            Ok(false) => self.staged.place(&path, condition),
            Err(e) => Err(e),
        };
        placed.map_err(|e| self.store.failed("writing", &self.key, &e))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
