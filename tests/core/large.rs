//! Objects of several chunks: each is verified alone.

use bytes::Bytes;
use legato::reference::{CHUNK_BYTES, INLINE_CHUNKS};
use legato::store;
use legato::{Error, Store};

use crate::stores::{about, key, keys, local, memory, on_each, on_these, run, write};

const CHUNK: usize = 8 << 20;

async fn in_chunks(store: &dyn Store, reference: &legato::Ref) -> Result<Vec<Bytes>, Error> {
    let crcs = store::chunks(store, reference).await?;
    let mut parts = Vec::new();
    for index in 0..reference.chunk_count() {
        parts.push(store::read_chunk(store, reference, &crcs, index).await?);
    }
    Ok(parts)
}

#[test]
fn few_chunks_are_vouched_for_by_the_reference() {
    assert_eq!(CHUNK_BYTES, CHUNK as u64);
    let data: Vec<u8> = (0..=250).cycle().take(2 * CHUNK + 5).collect();
    on_each(async |store| {
        for (bytes, chunks) in
            [(0, 1), (1, 1), (CHUNK, 1), (CHUNK + 1, 2), (2 * CHUNK, 2), (2 * CHUNK + 5, 3)]
        {
            let part = Bytes::copy_from_slice(&data[..bytes]);
            let reference =
                store::commit(store, &key(&format!("k{bytes}")), part.clone().into(), about())
                    .await
                    .unwrap();
            let parts = in_chunks(store, &reference).await.unwrap();
            assert_eq!(parts.len(), chunks, "{bytes}");
            assert_eq!(parts.concat(), part);
            assert_eq!(
                legato::Ref::from_json(reference.to_json().unwrap().as_bytes()).unwrap(),
                reference
            );
        }
    });
}

#[test]
fn damage_in_one_chunk_leaves_the_others_readable() {
    // On S3 a reference names the version, and another one is not read at all.
    on_these([memory(), local()], async |store| {
        let mut data = vec![7; 2 * CHUNK + 5];
        let bytes = Bytes::copy_from_slice(&data);
        let reference = store::commit(store, &key("k"), bytes.into(), about()).await.unwrap();
        data[CHUNK] ^= 1;
        write(store, "k", &data).await;
        let crcs = store::chunks(store, &reference).await.unwrap();
        for index in 0..3 {
            match store::read_chunk(store, &reference, &crcs, index).await {
                Ok(part) => assert!(index != 1 && part.iter().all(|&byte| byte == 7)),
                Err(Error::Corrupt { what: "crc64nvme", .. }) => assert_eq!(index, 1),
                Err(other) => panic!("{other:?}"),
            }
        }
        write(store, "k", &data[..=CHUNK]).await;
        let cut = store::read_chunk(store, &reference, &crcs, 1).await;
        assert!(matches!(cut, Err(Error::Corrupt { what: "bytes", .. })), "{cut:?}");
    });
}

/// One object for all that a sidecar can meet: 136 MiB are written once.
#[test]
fn many_chunks_are_vouched_for_by_a_sidecar() {
    let fresh = local();
    let store = fresh.store.as_ref();
    let mut data = vec![1u8; INLINE_CHUNKS * CHUNK + 1];
    data[3 * CHUNK] = 2;
    let data = Bytes::from(data);
    let made = || run(store::commit(store, &key("k"), data.clone().into(), about())).unwrap();

    let reference = made();
    let sidecar_key = format!("k.{}.chunks", reference.crc64nvme);
    assert!(reference.chunks.is_empty() && reference.to_json().unwrap().len() < 1024);
    assert_eq!(run(keys(store, "")), ["k", &sidecar_key, "k.ref"]);
    let parts = run(in_chunks(store, &reference)).unwrap();
    assert_eq!(parts.len(), INLINE_CHUNKS + 1);
    assert!(parts.concat() == data);

    let sidecar = run(store.get(&key(&sidecar_key), None)).unwrap();
    assert_eq!(sidecar.len(), 8 * (INLINE_CHUNKS + 1));
    let mut flipped = sidecar.to_vec();
    flipped[20] ^= 1;
    let longer = [&sidecar[..], &[0; 8]].concat();
    for damaged in [&flipped[..], &sidecar[..8], &longer, b""] {
        run(write(store, &sidecar_key, damaged));
        let chunks = run(store::chunks(store, &reference));
        assert!(matches!(chunks, Err(Error::Corrupt { .. })), "{chunks:?}");
    }
    // The object is intact, and yet the output is not: it is found so, and made again.
    assert_eq!(run(store::find(store, &key("k"))).unwrap(), None);
    assert_eq!(made(), reference);
    assert_eq!(run(store::chunks(store, &reference)).unwrap().len(), INLINE_CHUNKS + 1);
}
