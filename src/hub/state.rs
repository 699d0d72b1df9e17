use std::fs::Metadata;
use std::time::{Duration, SystemTime};

/// A file that was written later than this before it was read may have been written again since, with no other
/// times: clocks of file systems are coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// Which file something was, and when it changed last: as long as this stays, its bytes do.
///
/// That holds but for who sets a file's times or writes past the file system; on file systems that keep no
/// times of change, nothing is ever settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device, inode, seconds and nanoseconds of the last change of anything.
    #[cfg(unix)]
    changed: [i128; 4],
}

impl State {
    pub(super) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            changed: [
                metadata.dev().into(),
                metadata.ino().into(),
                metadata.ctime().into(),
                metadata.ctime_nsec().into(),
            ],
        }
    }

    /// How long the file was.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is long enough ago that the file was written to tell every later change from it.
    pub(super) fn is_settled(&self) -> bool {
        let age = |time: SystemTime| SystemTime::now().duration_since(time).ok();
        let old = |time: SystemTime| age(time).is_some_and(|age| age > SETTLED);
        #[cfg(unix)]
        {
            let seconds = u64::try_from(self.changed[2]).unwrap_or(u64::MAX);
            let changed =
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.saturating_add(1)));
            if !changed.is_some_and(old) {
                return false;
            }
        }
        self.modified.is_some_and(old)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::State;

    #[test]
    fn a_file_of_now_is_not_settled_and_another_one_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&one, b"abc").unwrap();
        fs::write(&two, b"abc").unwrap();
        let state = |path: &Path| State::of(&fs::metadata(path).unwrap());
        assert!(!state(&one).is_settled());
        assert_eq!(state(&one), state(&one));
        assert_ne!(state(&one), state(&two));
        // Older than the test: the manifest of this crate.
        let old = state(&Path::new(env!("CARGO_MANIFEST_DIR")).join("LICENSE"));
        assert!(old.is_settled());
    }
}
