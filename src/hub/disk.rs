use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::state::State;

/// Bytes that are read and hashed at a time: they stay in the cache that a core has for itself.
const PIECE: usize = 256 << 10;

pub(super) fn cannot_read(e: &std::io::Error) -> String {
    format!("cannot be read ({e}); check the path and its permissions")
}

pub(super) fn open_bounded(path: &Path, limit: u64) -> Result<(File, State), String> {
    // A pipe or a device may never end, and opening it may wait for ever.
    if !std::fs::metadata(path).map_err(|e| cannot_read(&e))?.is_file() {
        return Err("is no regular file; check the path".to_owned());
    }
    let file = File::open(path).map_err(|e| cannot_read(&e))?;
    let state = State::of(&file.metadata().map_err(|e| cannot_read(&e))?);
    check_size(state.bytes(), limit)?;
    Ok((file, state))
}

pub(super) fn check_size(bytes: u64, limit: u64) -> Result<(), String> {
    if bytes > limit {
        return Err(format!("is larger than the limit of {limit} bytes: it has {bytes}"));
    }
    Ok(())
}

pub(super) fn read_all(file: &File, bytes: u64) -> Result<Bytes, String> {
    let mut data = Vec::new();
    let len = usize::try_from(bytes).unwrap_or(usize::MAX);
    data.try_reserve_exact(len).map_err(|_| format!("has {bytes} bytes, too many for memory"))?;
    data.resize(len, 0);
    read_at(file, &mut data, 0)?;
    Ok(data.into())
}

/// sha256 of a file of so many bytes.
pub(super) fn hash(file: &File, bytes: u64) -> Result<[u8; 32], String> {
    let (mut sha256, mut piece, mut at) = (Sha256::new(), vec![0; PIECE], 0);
    while at < bytes {
        let len = (bytes - at).min(PIECE as u64);
        let piece = &mut piece[..usize::try_from(len).unwrap_or(PIECE)];
        read_at(file, piece, at)?;
        sha256.update(piece);
        at += len;
    }
    Ok(sha256.finalize().into())
}

/// Reads all of `part` from a place of a file.
pub(super) fn read_at(file: &File, part: &mut [u8], at: u64) -> Result<(), String> {
    #[cfg(unix)]
    let done = std::os::unix::fs::FileExt::read_exact_at(file, part, at);
    #[cfg(not(unix))]
    let done = {
        use std::io::{Read as _, Seek as _, SeekFrom};
        // Two readers of one file would move each other's place.
        static PLACE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _alone = PLACE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut file = file;
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(part))
    };
    done.map_err(|e| format!("cannot be read to its end ({e}); copy it again"))
}
