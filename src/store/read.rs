//! Verified reads: every byte that is handed out belongs to a chunk whose CRC was compared.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::contract::{Head, Store};
use super::deadline::within;
use super::key::Key;
use super::parts::Object;
use super::window::Window;
use crate::error::{Error, Result};
use crate::process::{expect_writes, memory_bytes};
use crate::reference::{Ref, combine, combine_lengths, crc_text};
use bytes::Bytes;

/// All bytes of an object, verified.
pub async fn read(store: &dyn Store, reference: &Ref) -> Result<Bytes> {
    let mut memory = Memory::of(&reference.uri, reference.bytes)?;
    read_into(store, reference, memory.buffer()).await?;
    // SAFETY: a read succeeds only when it has filled the whole buffer.
    Ok(unsafe { memory.filled() })
}

/// Fills a buffer of the object's size with its bytes, verified.
///
/// A chunk that is not what the reference says is read once more over a connection of its own: what was wrong
/// may have been the way, not the object.
pub async fn read_into(
    store: &dyn Store,
    reference: &Ref,
    buffer: &mut [MaybeUninit<u8>],
) -> Result<()> {
    let limit = store.deadline(reference.bytes);
    within(limit, || reference.uri.clone(), read_now(store, reference, buffer)).await
}

async fn read_now(
    store: &dyn Store,
    reference: &Ref,
    buffer: &mut [MaybeUninit<u8>],
) -> Result<()> {
    let key = Key::in_store(&reference.uri, store.url())?;
    let object = Object { store, reference, key };
    let known = object.known_chunks();
    let range = 0..reference.chunk_count();
    let read = object.read(range.clone(), buffer).await?;
    let (whole, _) = combine_lengths(&read);
    if crc_text(whole) == reference.crc64nvme {
        return Ok(());
    }
    let chunks = match known {
        Some(chunks) => chunks,
        None => chunks(store, reference).await?,
    };
    object.repair(range, buffer, &read, &chunks).await
}

/// Fills a buffer with the bytes of some chunks, verified; `crcs` are those of all chunks of the object.
pub async fn read_chunks_into(
    store: &dyn Store,
    reference: &Ref,
    crcs: &[String],
    range: Range<u64>,
    buffer: &mut [MaybeUninit<u8>],
) -> Result<()> {
    let key = Key::in_store(&reference.uri, store.url())?;
    let object = Object { store, reference, key };
    let limit = store.deadline(buffer.len() as u64);
    let read = async {
        let read = object.read(range.clone(), buffer).await?;
        object.repair(range, buffer, &read, crcs).await
    };
    within(limit, || reference.uri.clone(), read).await
}

/// One chunk of an object, verified by its CRC.
pub async fn read_chunk(
    store: &dyn Store,
    reference: &Ref,
    crcs: &[String],
    index: u64,
) -> Result<Bytes> {
    read_chunks(store, reference, crcs, index..index + 1).await
}

/// Chunks of an object that follow each other, verified by their CRCs.
pub async fn read_chunks(
    store: &dyn Store,
    reference: &Ref,
    crcs: &[String],
    range: Range<u64>,
) -> Result<Bytes> {
    let end = reference.chunk_range(range.end.saturating_sub(1)).end;
    let start = reference.chunk_range(range.start).start;
    let mut memory = Memory::of(&reference.uri, end.saturating_sub(start))?;
    read_chunks_into(store, reference, crcs, range, memory.buffer()).await?;
    // SAFETY: as above.
    Ok(unsafe { memory.filled() })
}

/// CRCs of the chunks of an object, in order: from the reference, or from the sidecar.
pub async fn chunks(store: &dyn Store, reference: &Ref) -> Result<Vec<String>> {
    let count = reference.chunk_count();
    if count == 1 {
        return Ok(vec![reference.crc64nvme.clone()]);
    }
    if !reference.chunks.is_empty() {
        return Ok(reference.chunks.clone());
    }
    let key = Key::in_store(&reference.uri, store.url())?.chunks_of(&reference.crc64nvme);
    let data = store.get(&key, None).await?;
    let crcs: Vec<u64> =
        data.chunks_exact(8).filter_map(|b| b.try_into().ok()).map(u64::from_be_bytes).collect();
    // The whole object's CRC vouches for the sidecar.
    let (whole, covered) = combine(&crcs, reference.bytes, reference.chunk_bytes);
    if crcs.len() as u64 != count
        || covered != reference.bytes
        || crc_text(whole) != reference.crc64nvme
    {
        return Err(Error::Corrupt {
            uri: store.uri(&key),
            what: "chunk CRCs of",
            expected: reference.crc64nvme.clone(),
            found: crc_text(whole),
        });
    }
    Ok(crcs.into_iter().map(crc_text).collect())
}

/// All bytes under a key, over a connection of its own; the store's CRC vouches for them, where it keeps one.
pub(super) async fn get_fresh(store: &dyn Store, key: &Key) -> Result<Bytes> {
    let Head { bytes, crc64nvme, .. } = store.head(key).await?;
    let uri = store.uri(key);
    let mut memory = Memory::of(&uri, bytes)?;
    let mut window = Window::new(memory.buffer());
    if bytes > 0 {
        store.read(key, None, 0, &mut window, true).await?;
    }
    if window.missing() > 0 {
        return Err(Error::Unavailable { uri, reason: "bytes are missing".to_owned() });
    }
    let found = crc_text(window.crc());
    if let Some(expected) = crc64nvme.filter(|expected| *expected != found) {
        return Err(Error::Corrupt { uri, what: "crc64nvme", expected, found });
    }
    // SAFETY: the window has the whole buffer, and no byte of it is missing.
    Ok(unsafe { memory.filled() })
}

/// Memory for bytes that are to come. The size is the reference's word: it is bounded before memory is taken.
pub(super) struct Memory {
    data: Vec<u8>,
    size: usize,
}

impl Memory {
    pub(super) fn of(uri: &str, bytes: u64) -> Result<Self> {
        let size = bounded(uri, bytes)?;
        let mut data = Vec::new();
        data.try_reserve_exact(size).map_err(|_| too_large(uri, bytes))?;
        expect_writes(data.spare_capacity_mut());
        Ok(Self { data, size })
    }

    pub(super) fn buffer(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.data.spare_capacity_mut()[..self.size]
    }

    /// # Safety
    /// All bytes of the buffer have been written.
    pub(super) unsafe fn filled(mut self) -> Bytes {
        // SAFETY: the caller's promise; the capacity is `size` or more.
        unsafe { self.data.set_len(self.size) };
        self.data.into()
    }
}

/// `bytes` as a size, if this machine can hold them.
pub fn bounded(uri: &str, bytes: u64) -> Result<usize> {
    let size = usize::try_from(bytes).ok().filter(|_| bytes <= memory_bytes());
    size.ok_or_else(|| too_large(uri, bytes))
}

fn too_large(uri: &str, bytes: u64) -> Error {
    Error::input(format!(
        "{bytes} bytes of {uri} are more than this machine's memory; read it by chunks or slices"
    ))
}
