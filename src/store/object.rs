//! Objects with references: what makes an output whole, and a read verified.

use std::fs::File;
use std::io::Read as _;

use bytes::Bytes;

use super::contract::{Body, Condition, Put, Store};
use super::key::{CHUNKS_SUFFIX, Key, REF_SUFFIX};
use crate::error::{Error, Result};
use crate::reference::{Checksums, Description, Ref, combine, crc, crc_text};

/// Longest media type.
const MEDIA_TYPE_BYTES: usize = 255;
/// Times that a commit starts again when what it met is gone a moment later.
const COMMIT_ATTEMPTS: u32 = 4;

/// Stores `body` under `key`, replacing what was there, and returns its reference.
pub async fn put(store: &dyn Store, key: &Key, body: Body, about: Description) -> Result<Ref> {
    check(key, &about)?;
    let (reference, sidecar) = checksums(&body)?.into_ref(store.uri(key), about);
    put_sidecar(store, key, sidecar).await?;
    store.put(key, body, Condition::Always).await?;
    Ok(reference)
}

/// Stores an output exactly once: the object first, its `.ref` last, both only if they are absent.
///
/// The loser of a race, or a retry, returns the winner's reference. An object without a `.ref` was left by
/// a writer that died between the two: it is whole, since writes are atomic, and is adopted. What is there
/// but damaged is removed by [`find`], and made again here.
pub async fn commit(store: &dyn Store, key: &Key, data: Bytes, about: Description) -> Result<Ref> {
    check(key, &about)?;
    for _ in 0..COMMIT_ATTEMPTS {
        let data = match store.put(key, Body::Bytes(data.clone()), Condition::Absent).await? {
            Put::Written => data.clone(),
            Put::Exists => {
                if let Some(winner) = find(store, key).await? {
                    return Ok(winner);
                }
                match store.get(key, None).await {
                    Err(Error::NotFound { .. }) => continue,
                    adopted => adopted?,
                }
            }
        };
        let sums = Checksums::of(&data);
        let (reference, sidecar) = sums.into_ref(store.uri(key), about.clone());
        put_sidecar(store, key, sidecar).await?;
        let json = Body::Bytes(reference.to_json()?.into());
        let at = key.with_suffix(REF_SUFFIX);
        if store.put(&at, json, Condition::Absent).await? == Put::Written {
            return Ok(reference);
        }
        if let Some(winner) = find(store, key).await? {
            return Ok(winner);
        }
    }
    let reason = format!("{COMMIT_ATTEMPTS} writes were undone by other writers");
    Err(Error::Unavailable { uri: store.uri(key), reason })
}

/// The reference of a finished output, if there is one whose bytes are what it says.
///
/// An output that is damaged or has lost its bytes is removed, so that it is made again instead of failing
/// every run from here on.
pub async fn find(store: &dyn Store, key: &Key) -> Result<Option<Ref>> {
    let found = match ref_at(store, key).await {
        Ok(None) => return Ok(None),
        Ok(Some(reference)) => whole(store, &reference).await.map(|()| reference),
        Err(e) => Err(e),
    };
    match found {
        Ok(reference) => Ok(Some(reference)),
        Err(Error::Corrupt { .. } | Error::NotFound { .. }) => {
            // The object first: damaged and without a `.ref`, it would be adopted as it is.
            store.delete(key).await?;
            store.delete(&key.with_suffix(REF_SUFFIX)).await?;
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// Fails unless the bytes are what the reference says, and can be read in chunks too.
async fn whole(store: &dyn Store, reference: &Ref) -> Result<()> {
    read(store, reference).await?;
    chunks(store, reference).await.map(|_| ())
}

/// The reference that lies beside an output, unverified.
///
/// It says where it was found, so a store that was moved or copied stays readable.
pub async fn ref_at(store: &dyn Store, key: &Key) -> Result<Option<Ref>> {
    let at = key.with_suffix(REF_SUFFIX);
    let json = match store.get(&at, None).await {
        Err(Error::NotFound { .. }) => return Ok(None),
        json => json?,
    };
    if Ref::is_newer(&json) {
        return Ref::from_json(&json).map(Some);
    }
    let reference = Ref::from_json(&json).map_err(|e| Error::Corrupt {
        uri: store.uri(&at),
        what: "content",
        expected: "a reference".to_owned(),
        found: e.to_string(),
    })?;
    Ok(Some(Ref { uri: store.uri(key), ..reference }))
}

/// All bytes of an object, verified.
///
/// A mismatch is read once more: what was wrong may have been the way, not the object.
pub async fn read(store: &dyn Store, reference: &Ref) -> Result<Bytes> {
    let key = Key::in_store(&reference.uri, store.url())?;
    for last in [false, true] {
        let data = store.get(&key, None).await?;
        let verdict = verify(reference, &data, reference.bytes, &reference.crc64nvme);
        if last || verdict.is_ok() {
            return verdict.map(|()| data);
        }
    }
    Err(Error::internal("a read neither succeeded nor failed"))
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
    let key = Key::in_store(&reference.uri, store.url())?.with_suffix(CHUNKS_SUFFIX);
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

/// One chunk of an object, verified by its CRC.
pub async fn read_chunk(
    store: &dyn Store,
    reference: &Ref,
    index: u64,
    crc: &str,
) -> Result<Bytes> {
    let key = Key::in_store(&reference.uri, store.url())?;
    let start = index * reference.chunk_bytes;
    let end = (start + reference.chunk_bytes).min(reference.bytes);
    for last in [false, true] {
        let data = store.get(&key, Some(start..end)).await?;
        let verdict = verify(reference, &data, end - start, crc);
        if last || verdict.is_ok() {
            return verdict.map(|()| data);
        }
    }
    Err(Error::internal("a read neither succeeded nor failed"))
}

/// What lies beside an object belongs to it: another object under such a name would pass for it.
fn check(key: &Key, about: &Description) -> Result<()> {
    // A reference that is too long to be read again would pass for a damaged one.
    if about.media_type.len() > MEDIA_TYPE_BYTES || about.media_type.contains(char::is_control) {
        let reason = format!("a media type must be plain text of at most {MEDIA_TYPE_BYTES} bytes");
        return Err(Error::input(reason));
    }
    for suffix in [REF_SUFFIX, CHUNKS_SUFFIX] {
        if key.as_str().ends_with(suffix) {
            let reason =
                format!("key '{key}' ends in {suffix}, which is reserved; name it otherwise");
            return Err(Error::input(reason));
        }
    }
    Ok(())
}

fn verify(reference: &Ref, data: &[u8], bytes: u64, expected: &str) -> Result<()> {
    let corrupt = |what, expected: String, found: String| {
        Err(Error::Corrupt { uri: reference.uri.clone(), what, expected, found })
    };
    if data.len() as u64 != bytes {
        return corrupt("bytes", bytes.to_string(), data.len().to_string());
    }
    let found = crc_text(crc(data));
    if found != expected {
        return corrupt("crc64nvme", expected.to_owned(), found);
    }
    Ok(())
}

fn checksums(body: &Body) -> Result<Checksums> {
    let path = match body {
        Body::Bytes(data) => return Ok(Checksums::of(data)),
        Body::File(path) => path,
    };
    let failed = |e: std::io::Error| {
        Error::input(format!("file {} cannot be read ({e}); check the path", path.display()))
    };
    // A pipe or a device may never end, and opening it may wait for ever.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is no regular file")));
    }
    let mut file = File::open(path).map_err(failed)?;
    let mut sums = Checksums::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(sums),
            n => sums.update(&buffer[..n]),
        }
    }
}

async fn put_sidecar(store: &dyn Store, key: &Key, crcs: Option<Vec<u64>>) -> Result<()> {
    let Some(crcs) = crcs else { return Ok(()) };
    let data: Vec<u8> = crcs.into_iter().flat_map(u64::to_be_bytes).collect();
    let key = key.with_suffix(CHUNKS_SUFFIX);
    store.put(&key, Body::Bytes(data.into()), Condition::Always).await.map(|_| ())
}
