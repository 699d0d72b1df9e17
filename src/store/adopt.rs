//! Objects that others have written: references to them where they lie, without a copy.

use futures_util::future::join;

use super::contract::{Head, Store};
use super::deadline::within;
use super::key::Key;
use super::parts::Object;
use super::read::Memory;
use super::window::Window;
use crate::error::{Error, Result};
use crate::reference::{
    CHUNK_BYTES, Checksums, Description, INLINE_CHUNKS, MOST_CHUNK_BYTES, Ref, SCHEMA,
    combine_lengths, crc_text,
};
use crate::runtime;
use bytes::Bytes;

/// Chunks that are read at the same time; as many are hashed meanwhile.
const GROUP: u64 = 4;
/// Largest object: a sidecar beside it would be an object in somebody else's folder, so its chunk CRCs must fit
/// into the reference.
const MOST_BYTES: u64 = MOST_CHUNK_BYTES * INLINE_CHUNKS as u64;

/// The reference to an object that somebody else has stored: it is read once, in bounded memory, and pinned to the
/// version that was read.
///
/// `version` is a version id or an etag, with or without its quotes; None takes what is there. Of an object with more
/// chunks than a reference carries the chunks are larger, up to 1 GiB each: nothing is written beside it.
pub async fn adopt(
    store: &dyn Store,
    key: &Key,
    version: Option<&str>,
    about: Description,
) -> Result<Ref> {
    let uri = || store.uri(key);
    let (head, source) = within(store.deadline(0), uri, find(store, key, version)).await?;
    if source.bytes > MOST_BYTES {
        return Err(Error::input(format!(
            "object {} has {} bytes, at most {MOST_BYTES} can be taken as they lie; split it",
            source.uri, source.bytes
        )));
    }
    let limit = store.deadline(source.bytes);
    within(limit, uri, adopt_now(store, key, head, source, about)).await
}

async fn adopt_now(
    store: &dyn Store,
    key: &Key,
    head: Option<Head>,
    source: Ref,
    about: Description,
) -> Result<Ref> {
    let sums = sum(store, key, &source).await?;
    if let Some(head) = head {
        // What the store has summed when it was written, where it has; and stores without versions pin nothing.
        let expected = head.crc64nvme.as_ref();
        if expected.is_some_and(|expected| *expected != crc_text(sums.crc())) {
            let reason = "its bytes came with another crc64nvme than it has".to_owned();
            return Err(Error::Unavailable { uri: source.uri, reason });
        }
        if source.version.is_none() && store.head(key).await? != head {
            return Err(changed(&source.uri));
        }
    }
    let (reference, sidecar) = sums.into_ref(source.uri, source.version, about);
    Ok(match sidecar {
        Some(crcs) => widened(reference, &crcs),
        None => reference,
    })
}

/// What is known of the object before it is read: where, how large and which version. The head is that of this
/// version, if it is the latest.
async fn find(store: &dyn Store, key: &Key, version: Option<&str>) -> Result<(Option<Head>, Ref)> {
    let uri = store.uri(key);
    let of = |bytes, version| Ref {
        legato_ref: SCHEMA,
        uri: uri.clone(),
        version,
        bytes,
        sha256: String::new(),
        crc64nvme: String::new(),
        chunk_bytes: CHUNK_BYTES,
        chunks: vec![],
        media_type: String::new(),
        records: None,
        dtype: None,
        shape: None,
    };
    let head = match (store.head(key).await, version) {
        // A version may outlive its object.
        (Err(Error::NotFound { .. }), Some(_)) => None,
        (head, _) => Some(head?),
    };
    let bare = |text: &str| text.trim_matches('"').to_owned();
    let Some(wanted) = version else {
        let head = head.ok_or_else(|| Error::NotFound { uri: uri.clone() })?;
        return Ok((Some(head.clone()), of(head.bytes, head.version)));
    };
    let named = |head: &Head| {
        let names = [&head.version, &head.etag];
        names.into_iter().flatten().any(|name| bare(name) == bare(wanted))
    };
    match head {
        Some(head) if named(&head) => Ok((Some(head.clone()), of(head.bytes, head.version))),
        // The bucket has no versions: what is there is all that there is.
        Some(Head { version, .. }) if version.as_ref().is_none_or(|v| v.starts_with('"')) => {
            let found = version.map_or_else(|| "another".to_owned(), |v| bare(&v));
            Err(Error::input(format!(
                "object {uri} has version {found}, the event says {}; it was replaced since: \
                 start a run of what is there now",
                bare(wanted).escape_debug()
            )))
        }
        _ if wanted.starts_with('"') => Err(Error::NotFound { uri }),
        _ => {
            let mut first = Memory::of(&uri, 1)?;
            let mut window = Window::new(first.buffer());
            let bytes = store.read(key, Some(wanted), 0, &mut window, false).await?;
            Ok((None, of(bytes, Some(wanted.to_owned()))))
        }
    }
}

/// Digests of all bytes: some chunks are read while the former ones are hashed.
async fn sum(store: &dyn Store, key: &Key, source: &Ref) -> Result<Checksums> {
    let count = if source.bytes == 0 { 0 } else { source.chunk_count() };
    let (mut sums, mut last) = (Checksums::default(), Bytes::new());
    for first in (0..count).step_by(usize::try_from(GROUP).unwrap_or(1)) {
        let group = first..(first + GROUP).min(count);
        let read = async {
            let object = Object { store, reference: source, key: key.clone() };
            let bytes =
                source.chunk_range(group.end - 1).end - source.chunk_range(group.start).start;
            let mut memory = Memory::of(&source.uri, bytes)?;
            object.read(group, memory.buffer()).await.map_err(|e| match e {
                Error::Corrupt { .. } => changed(&source.uri),
                other => other,
            })?;
            // SAFETY: a read succeeds only when it has filled the whole buffer.
            Ok::<Bytes, Error>(unsafe { memory.filled() })
        };
        let (read, hashed) = join(read, hash(sums, last)).await;
        (sums, last) = (hashed?, read?);
    }
    hash(sums, last).await
}

async fn hash(mut sums: Checksums, data: Bytes) -> Result<Checksums> {
    runtime::aside(move || {
        sums.update(&data);
        sums
    })
    .await
}

/// A reference with larger chunks, whose CRCs it can carry.
fn widened(reference: Ref, crcs: &[u64]) -> Ref {
    let group = crcs.len().div_ceil(INLINE_CHUNKS);
    let mut rest = reference.bytes;
    let pieces: Vec<(u64, u64)> = crcs
        .iter()
        .map(|&crc| {
            let length = rest.min(CHUNK_BYTES);
            rest -= length;
            (crc, length)
        })
        .collect();
    let chunks = pieces.chunks(group).map(|chunk| crc_text(combine_lengths(chunk).0)).collect();
    Ref { chunk_bytes: CHUNK_BYTES * group as u64, chunks, ..reference }
}

fn changed(uri: &str) -> Error {
    Error::input(format!(
        "object {uri} changed while it was read; start a run of what is there now, and keep it"
    ))
}
