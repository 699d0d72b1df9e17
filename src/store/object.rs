//! Objects with references: what makes an output whole.

use std::fs::File;
use std::io::Read as _;

use bytes::Bytes;
use futures_util::future::join;

use super::contract::{Body, Condition, Head, Put, Store, Stored};
use super::deadline::within;
use super::key::{CHUNKS_SUFFIX, Key, REF_SUFFIX};
use super::read::{chunks, get_fresh, read};
use crate::error::{Error, Result};
use crate::reference::{Checksums, Description, Ref, crc, crc_text};
use crate::runtime;

/// Longest media type.
const MEDIA_TYPE_BYTES: usize = 255;
/// Times that a commit starts again when what it met is gone a moment later.
const COMMIT_ATTEMPTS: u32 = 4;

/// Stores `body` under `key`, replacing what was there, and returns its reference.
pub async fn put(store: &dyn Store, key: &Key, body: Body, about: Description) -> Result<Ref> {
    let limit = store.deadline(body.bytes()?);
    within(limit, || store.uri(key), put_now(store, key, body, about)).await
}

async fn put_now(store: &dyn Store, key: &Key, body: Body, about: Description) -> Result<Ref> {
    check(key, &about)?;
    let stored = store_and_sum(store, key, body, Condition::Always, None).await?;
    let (sums, version) = stored.ok_or_else(|| Error::internal("a write was not made"))?;
    let (reference, sidecar) = sums.into_ref(store.uri(key), version, about);
    put_sidecar(store, key, &reference.crc64nvme, sidecar).await?;
    Ok(reference)
}

/// Stores an output exactly once: the object first, its `.ref` last, both only if they are absent.
///
/// The loser of a race, or a retry, returns the winner's reference. An object without a `.ref` was left by
/// a writer that died between the two: it is whole, since writes are atomic, and is adopted. What is there
/// but damaged is removed by [`find`], and made again here.
pub async fn commit(store: &dyn Store, key: &Key, body: Body, about: Description) -> Result<Ref> {
    let limit = store.deadline(body.bytes()?);
    within(limit, || store.uri(key), commit_now(store, key, body, about, None)).await
}

/// [`commit`] under `<folder>/<sha256 of the bytes><suffix>`.
pub async fn commit_content(
    store: &dyn Store,
    folder: &str,
    suffix: &str,
    body: Body,
    about: Description,
) -> Result<Ref> {
    let limit = store.deadline(body.bytes()?);
    let again = body.clone();
    let sums = runtime::aside(move || checksums(&again)).await??;
    let key = Key::parse(&format!("{folder}/{}{suffix}", sums.sha256()))?;
    within(limit, || store.uri(&key), commit_now(store, &key, body, about, Some(&sums))).await
}

async fn commit_now(
    store: &dyn Store,
    key: &Key,
    body: Body,
    about: Description,
    sums: Option<&Checksums>,
) -> Result<Ref> {
    check(key, &about)?;
    for _ in 0..COMMIT_ATTEMPTS {
        let stored = store_and_sum(store, key, body.clone(), Condition::Absent, sums).await?;
        let (sums, version) = if let Some(stored) = stored {
            stored
        } else {
            if let Some(winner) = find_now(store, key).await? {
                return Ok(winner);
            }
            match adopt(store, key).await {
                Err(Error::NotFound { .. }) => continue,
                adopted => adopted?,
            }
        };
        let (reference, sidecar) = sums.into_ref(store.uri(key), version, about.clone());
        put_sidecar(store, key, &reference.crc64nvme, sidecar).await?;
        let json = Bytes::from(reference.to_json()?).into();
        let at = key.with_suffix(REF_SUFFIX);
        if store.put(&at, json, Condition::Absent).await? != Put::Exists {
            if !in_parts(store, &reference) || kept(store, key, &reference).await? {
                return Ok(reference);
            }
            continue;
        }
        if let Some(winner) = find_now(store, key).await? {
            return Ok(winner);
        }
    }
    let reason = format!("{COMMIT_ATTEMPTS} writes were undone by other writers");
    Err(Error::Unavailable { uri: store.uri(key), reason })
}

/// Whether an object was written in parts, whose completion not every server makes one step.
fn in_parts(store: &dyn Store, reference: &Ref) -> bool {
    store.parts().at_once > 1 && reference.chunk_count() > 1
}

/// Whether the object is still the one that was written: AWS lets one of two completions win, others may let both.
async fn kept(store: &dyn Store, key: &Key, reference: &Ref) -> Result<bool> {
    let head = store.head(key).await?;
    if head.version == reference.version {
        return Ok(true);
    }
    store.delete(&key.with_suffix(REF_SUFFIX), None).await?;
    Ok(false)
}

/// Digests of an object that was left without a reference.
async fn adopt(store: &dyn Store, key: &Key) -> Result<(Checksums, Option<String>)> {
    let before = store.head(key).await?;
    let data = store.get(key, None).await?;
    // Nothing vouches for these bytes: they must be what the store has summed, or come twice.
    let expected = match &before.crc64nvme {
        Some(crc) => crc.clone(),
        None => crc_text(crc(&get_fresh(store, key).await?)),
    };
    let sums = runtime::aside(move || Checksums::of(&data)).await?;
    let after = store.head(key).await?;
    if before != after || crc_text(sums.crc()) != expected {
        let reason = "its bytes came differently each time".to_owned();
        return Err(Error::Unavailable { uri: store.uri(key), reason });
    }
    Ok((sums, after.version))
}

/// The reference of a finished output, if there is one whose bytes are what it says.
///
/// A store that keeps CRCs or versions is asked for them; of others the bytes are read. An output that is damaged
/// or has lost its bytes is removed, so that it is made again instead of failing every run from here on.
pub async fn find(store: &dyn Store, key: &Key) -> Result<Option<Ref>> {
    within(store.deadline(0), || store.uri(key), find_now(store, key)).await
}

async fn find_now(store: &dyn Store, key: &Key) -> Result<Option<Ref>> {
    match look(store, key, false).await? {
        Found::Nothing => Ok(None),
        Found::Whole(reference) => Ok(Some(reference)),
        // It may be the answer that is damaged: what is removed is seen so twice, over another connection.
        Found::Damaged { .. } => match look(store, key, true).await? {
            Found::Nothing => Ok(None),
            Found::Whole(reference) => Ok(Some(reference)),
            Found::Damaged { object, reference } => {
                // The object first: damaged and without a `.ref`, it would be adopted as it is. Only these two:
                // another writer may have made them anew meanwhile.
                if let Some(object) = object {
                    store.delete(key, object.etag.as_deref()).await?;
                }
                store.delete(&key.with_suffix(REF_SUFFIX), reference.as_deref()).await?;
                Ok(None)
            }
        },
    }
}

/// What there is of an output.
enum Found {
    Nothing,
    Whole(Ref),
    /// The object, if there is one, and the etag of its `.ref`.
    Damaged {
        object: Option<Head>,
        reference: Option<String>,
    },
}

async fn look(store: &dyn Store, key: &Key, fresh: bool) -> Result<Found> {
    let at = key.with_suffix(REF_SUFFIX);
    let etag = match fresh.then(|| store.head(&at)) {
        None => None,
        Some(head) => match head.await {
            Err(Error::NotFound { .. }) => return Ok(Found::Nothing),
            head => head?.etag,
        },
    };
    let found = match reference_at(store, key, fresh).await {
        Ok(None) => return Ok(Found::Nothing),
        found => found,
    };
    let object = match store.head(key).await {
        Err(Error::NotFound { .. }) => None,
        head => Some(head?),
    };
    let verdict = match (found, &object) {
        (Ok(Some(reference)), Some(head)) => whole(store, reference, head).await,
        (Err(e), _) => Err(e),
        _ => Err(Error::NotFound { uri: store.uri(key) }),
    };
    match verdict {
        Ok(reference) => Ok(Found::Whole(reference)),
        Err(Error::Corrupt { .. } | Error::NotFound { .. }) => {
            Ok(Found::Damaged { object, reference: etag })
        }
        Err(other) => Err(other),
    }
}

/// Fails unless the bytes are what the reference says, and can be read in chunks too.
async fn whole(store: &dyn Store, reference: Ref, head: &Head) -> Result<Ref> {
    let corrupt = |what, expected: &str, found: &str| Error::Corrupt {
        uri: reference.uri.clone(),
        what,
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    if head.bytes != reference.bytes {
        return Err(corrupt("bytes", &reference.bytes.to_string(), &head.bytes.to_string()));
    }
    match &head.crc64nvme {
        Some(crc) if *crc != reference.crc64nvme => {
            return Err(corrupt("crc64nvme", &reference.crc64nvme, crc));
        }
        Some(_) => {}
        // The very object that was written then.
        None if reference.version.is_some() && reference.version == head.version => {}
        None => {
            read(store, &reference).await?;
        }
    }
    chunks(store, &reference).await?;
    // The same bytes, written once more since.
    let version = reference.version.as_ref().and(head.version.clone());
    Ok(Ref { version, ..reference })
}

/// The reference that lies beside an output, unverified.
///
/// It says where it was found, so a store that was moved or copied stays readable.
pub async fn ref_at(store: &dyn Store, key: &Key) -> Result<Option<Ref>> {
    reference_at(store, key, false).await
}

async fn reference_at(store: &dyn Store, key: &Key, fresh: bool) -> Result<Option<Ref>> {
    let at = key.with_suffix(REF_SUFFIX);
    let json = if fresh { get_fresh(store, &at).await } else { store.get(&at, None).await };
    let json = match json {
        Err(Error::NotFound { .. }) => return Ok(None),
        // The store's own CRC says that it has other bytes: the way is damaged, and nothing is to be made anew.
        Err(Error::Corrupt { uri, expected, found, .. }) => {
            let reason = format!("its bytes came with crc64nvme {found} instead of {expected}");
            return Err(Error::Unavailable { uri, reason });
        }
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
    let uri = store.uri(key);
    // A version belongs to the place where it was written.
    let version = reference.version.filter(|_| reference.uri == uri);
    Ok(Some(Ref { uri, version, ..reference }))
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

/// Digests of a body and where it went; the digests are computed at the same time, unless they are known.
async fn store_and_sum(
    store: &dyn Store,
    key: &Key,
    body: Body,
    condition: Condition,
    known: Option<&Checksums>,
) -> Result<Option<(Checksums, Option<String>)>> {
    let again = body.clone();
    let sums = async {
        match known {
            Some(sums) => Ok(sums.clone()),
            None => runtime::aside(move || checksums(&again)).await?,
        }
    };
    let (put, sums) = join(store.put(key, body, condition), sums).await;
    let Put::Written(Stored { version, crc64nvme }) = put? else { return Ok(None) };
    let sums = sums?;
    if crc64nvme.is_some_and(|sent| sent != sums.crc()) {
        return Err(Error::input(format!(
            "the bytes of {} changed while they were stored; store a copy of them",
            store.uri(key)
        )));
    }
    Ok(Some((sums, version)))
}

fn checksums(body: &Body) -> Result<Checksums> {
    let mut sums = Checksums::default();
    let path = match body {
        Body::Memory(pieces) => {
            for piece in pieces {
                sums.update(piece);
            }
            return Ok(sums);
        }
        Body::File(path) => path,
    };
    let failed = |e: std::io::Error| {
        Error::input(format!("file {} cannot be read ({e}); check the path", path.display()))
    };
    body.bytes()?;
    let mut file = File::open(path).map_err(failed)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(sums),
            n => sums.update(&buffer[..n]),
        }
    }
}

async fn put_sidecar(
    store: &dyn Store,
    key: &Key,
    crc: &str,
    crcs: Option<Vec<u64>>,
) -> Result<()> {
    let Some(crcs) = crcs else { return Ok(()) };
    let data: Vec<u8> = crcs.into_iter().flat_map(u64::to_be_bytes).collect();
    store.put(&key.chunks_of(crc), data.into(), Condition::Always).await.map(|_| ())
}
