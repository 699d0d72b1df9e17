//! [`Ref`]: what a state hands to the next one instead of data.
//!
//! A reference is a JSON object of a few hundred bytes that says where bytes lie and how to know that
//! they are the right ones. sha256 is computed once, where the bytes enter; reads are verified by CRC-64/NVME,
//! which S3 computes as well: whole objects by `crc64nvme`, ranges by the CRC of each chunk.

use std::ops::Range;

use crc_fast::CrcAlgorithm::Crc64Nvme;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::hex;
use crate::error::{Error, Result};

/// Version of the wire schema that this build writes and reads.
pub const SCHEMA: u32 = 1;
/// Bytes between two chunk CRCs: the smallest range that is read, verified and retried alone.
pub const CHUNK_BYTES: u64 = 8 << 20;
/// Most chunk CRCs that a reference carries itself; more lie in a sidecar object.
pub const INLINE_CHUNKS: usize = 16;
/// Largest accepted chunk: bounds what a read of one takes.
pub const MOST_CHUNK_BYTES: u64 = 1 << 30;
/// Longest accepted JSON text of a reference.
const REF_BYTES: usize = 16 << 10;

/// A typed, verifiable reference to an object, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ref {
    /// Version of this schema.
    pub legato_ref: u32,
    /// Where the object lies: `<store url>/<key>`.
    pub uri: String,
    /// Version id or etag, where the store has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Size of the object in bytes.
    pub bytes: u64,
    /// sha256 of the object, lower-case hex.
    pub sha256: String,
    /// CRC-64/NVME of the object, 16 lower-case hex digits.
    pub crc64nvme: String,
    /// Bytes of each chunk but the last.
    pub chunk_bytes: u64,
    /// CRC-64/NVME of each chunk, where there are 2 to [`INLINE_CHUNKS`]; a single chunk is the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<String>,
    /// Media type of the object.
    pub media_type: String,
    /// Number of records, where the object has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Element type, for an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Shape, for an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<u64>>,
}

/// What a writer says of the bytes it stores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    pub media_type: String,
    pub records: Option<u64>,
    pub dtype: Option<String>,
    pub shape: Option<Vec<u64>>,
}

impl Ref {
    /// Parses and checks the JSON text of a reference.
    pub fn from_json(data: &[u8]) -> Result<Self> {
        let bad = |reason: String| Error::input(format!("a reference is not valid: {reason}"));
        if data.len() > REF_BYTES {
            return Err(bad(format!("it has {} bytes, the limit is {REF_BYTES}", data.len())));
        }
        // The version first: a later one may have fields that this build does not know.
        match schema(data) {
            Some(version) if version == u64::from(SCHEMA) => {}
            Some(version) => {
                return Err(bad(format!(
                    "its schema version is {version}, this legato reads {SCHEMA}; install a newer legato"
                )));
            }
            None => {
                return Err(bad("it is no JSON object with a version 'legato_ref'".to_owned()));
            }
        }
        // serde's message names fields and types, not values of the event.
        let parsed: Self = serde_json::from_slice(data).map_err(|e| bad(field_error(&e)))?;
        parsed.check().map_err(bad)?;
        Ok(parsed)
    }

    /// Whether a later legato wrote this reference.
    #[must_use]
    pub fn is_newer(data: &[u8]) -> bool {
        schema(data).is_some_and(|version| version > u64::from(SCHEMA))
    }

    /// The JSON text of this reference.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|e| Error::internal(format!("a reference has no JSON: {e}")))
    }

    /// Number of chunks.
    #[must_use]
    pub fn chunk_count(&self) -> u64 {
        self.bytes.div_ceil(self.chunk_bytes).max(1)
    }

    /// The bytes of a chunk.
    #[must_use]
    pub fn chunk_range(&self, index: u64) -> Range<u64> {
        let start = index.saturating_mul(self.chunk_bytes).min(self.bytes);
        start..start.saturating_add(self.chunk_bytes).min(self.bytes)
    }

    fn check(&self) -> Result<(), String> {
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !hex(&self.sha256, 64) {
            return Err("sha256 must be 64 lower-case hex digits".to_owned());
        }
        if !hex(&self.crc64nvme, 16) || !self.chunks.iter().all(|crc| hex(crc, 16)) {
            return Err("a CRC must be 16 lower-case hex digits".to_owned());
        }
        if self.chunk_bytes == 0 || self.chunk_bytes > MOST_CHUNK_BYTES {
            return Err(format!("chunk_bytes must be 1 to {MOST_CHUNK_BYTES}"));
        }
        let count = self.chunk_count();
        let inline = 1 < count && count <= INLINE_CHUNKS as u64;
        let expected = if inline { count } else { 0 };
        if self.chunks.len() as u64 != expected {
            return Err(format!(
                "it has {} chunk CRCs, {expected} fit its size",
                self.chunks.len()
            ));
        }
        if self.uri.chars().any(char::is_control) || !self.uri.contains("://") {
            return Err("uri must be a URL of a store and a key".to_owned());
        }
        Ok(())
    }
}

fn schema(data: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(data).ok()?.get("legato_ref")?.as_u64()
}

/// serde quotes unknown values in some messages; only those about fields are passed on.
fn field_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let known = ["missing field", "unknown field", "duplicate field"];
    // The name of an unknown field is the event's own: repeated where it is one, not where it is prose.
    let name = text.split('`').nth(1).unwrap_or("");
    let plain = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if known.iter().any(|start| text.starts_with(start)) {
        if plain { text } else { "unknown field".to_owned() }
    } else {
        format!("a field has the wrong type at line {} column {}", error.line(), error.column())
    }
}

/// Digests of bytes, computed as they pass by.
#[derive(Debug, Clone)]
pub struct Checksums {
    sha256: Sha256,
    chunks: Vec<u64>,
    open: crc_fast::Digest,
    bytes: u64,
}

impl Default for Checksums {
    fn default() -> Self {
        let open = crc_fast::Digest::new(Crc64Nvme);
        Self { sha256: Sha256::new(), chunks: Vec::new(), open, bytes: 0 }
    }
}

impl Checksums {
    /// Of bytes that are all there.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        let mut sums = Self::default();
        sums.update(data);
        sums
    }

    /// Takes the next bytes.
    #[allow(clippy::cast_possible_truncation)] // less than a chunk
    pub fn update(&mut self, mut data: &[u8]) {
        self.sha256.update(data);
        while !data.is_empty() {
            let room = (CHUNK_BYTES - self.bytes % CHUNK_BYTES) as usize;
            let (now, later) = data.split_at(room.min(data.len()));
            self.open.update(now);
            self.bytes += now.len() as u64;
            if self.bytes.is_multiple_of(CHUNK_BYTES) {
                self.chunks.push(self.open.finalize_reset());
            }
            data = later;
        }
    }

    /// CRC-64/NVME of all bytes so far.
    #[must_use]
    pub fn crc(&self) -> u64 {
        let (whole, covered) = combine(&self.chunks, self.bytes, CHUNK_BYTES);
        join((whole, covered), (self.open.finalize(), self.bytes - covered)).0
    }

    /// sha256 of all bytes so far, lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex(&self.sha256.clone().finalize())
    }

    /// The reference to an object of these bytes, and all chunk CRCs where they need a sidecar.
    #[must_use]
    pub fn into_ref(
        mut self,
        uri: String,
        version: Option<String>,
        about: Description,
    ) -> (Ref, Option<Vec<u64>>) {
        if self.chunks.is_empty() || !self.bytes.is_multiple_of(CHUNK_BYTES) {
            self.chunks.push(self.open.finalize());
        }
        let (crc, _) = combine(&self.chunks, self.bytes, CHUNK_BYTES);
        let inline = 1 < self.chunks.len() && self.chunks.len() <= INLINE_CHUNKS;
        let reference = Ref {
            legato_ref: SCHEMA,
            uri,
            version,
            bytes: self.bytes,
            sha256: hex(&self.sha256.finalize()),
            crc64nvme: crc_text(crc),
            chunk_bytes: CHUNK_BYTES,
            chunks: if inline {
                self.chunks.iter().map(|&c| crc_text(c)).collect()
            } else {
                vec![]
            },
            media_type: about.media_type,
            records: about.records,
            dtype: about.dtype,
            shape: about.shape,
        };
        let sidecar = (self.chunks.len() > INLINE_CHUNKS).then_some(self.chunks);
        (reference, sidecar)
    }
}

/// A CRC-64/NVME that is computed piece by piece.
#[derive(Debug)]
pub struct Crc(crc_fast::Digest);

impl Default for Crc {
    fn default() -> Self {
        Self(crc_fast::Digest::new(Crc64Nvme))
    }
}

impl Crc {
    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// Of what has come so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

/// CRC-64/NVME of `data`.
#[must_use]
pub fn crc(data: &[u8]) -> u64 {
    crc_fast::checksum(Crc64Nvme, data)
}

/// As a reference writes a CRC.
#[must_use]
pub fn crc_text(crc: u64) -> String {
    format!("{crc:016x}")
}

/// The CRC of a whole object of `bytes` from those of its chunks, and the bytes that they cover.
#[must_use]
pub fn combine(chunks: &[u64], bytes: u64, chunk_bytes: u64) -> (u64, u64) {
    let mut rest = bytes;
    chunks.iter().fold((crc(&[]), 0), |whole, &chunk| {
        let length = rest.min(chunk_bytes);
        rest -= length;
        join(whole, (chunk, length))
    })
}

/// The CRC and the length of pieces that follow each other, from those of each.
#[must_use]
pub fn combine_lengths(pieces: &[(u64, u64)]) -> (u64, u64) {
    pieces.iter().copied().fold((crc(&[]), 0), join)
}

/// Two pieces as one. To combine CRCs takes longer than to compute one of 100 KiB: not where one piece is empty.
fn join((whole, covered): (u64, u64), (crc, length): (u64, u64)) -> (u64, u64) {
    match (covered, length) {
        (0, _) => (crc, length),
        (_, 0) => (whole, covered),
        _ => (crc_fast::checksum_combine(Crc64Nvme, whole, crc, length), covered + length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_digests() {
        let about = Description { media_type: "text/plain".into(), ..Description::default() };
        let (r, sidecar) = Checksums::of(b"123456789").into_ref("memory://t/k".into(), None, about);
        // The check value of CRC-64/NVME, and sha256 of the same bytes.
        assert_eq!(r.crc64nvme, "ae8b14860a799888");
        assert_eq!(r.sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
        assert!(sidecar.is_none() && r.chunks.is_empty());
        assert_eq!(Ref::from_json(r.to_json().unwrap().as_bytes()).unwrap(), r);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn chunks_combine_to_the_whole(extra in 0usize..5, pieces in prop::collection::vec(1usize..4_000_000, 1..6)) {
            let total: usize = pieces.iter().sum::<usize>() + extra;
            let data: Vec<u8> = (0..total).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect();
            let mut sums = Checksums::default();
            let mut rest = data.as_slice();
            for piece in pieces {
                let (now, later) = rest.split_at(piece);
                sums.update(now);
                rest = later;
            }
            sums.update(rest);
            let (r, _) = sums.into_ref("memory://t/k".into(), None, Description::default());
            prop_assert_eq!(r.crc64nvme, crc_text(crc(&data)));
            prop_assert_eq!(r.bytes, data.len() as u64);
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let (good, _) =
            Checksums::of(b"x").into_ref("memory://t/k".into(), None, Description::default());
        let json = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = serde_json::to_value(&good).unwrap();
            change(&mut value);
            Ref::from_json(value.to_string().as_bytes()).unwrap_err().to_string()
        };
        assert!(json(&|v| v["legato_ref"] = 2.into()).contains("newer legato"));
        assert!(json(&|v| v["sha256"] = "AB".into()).contains("sha256"));
        assert!(json(&|v| v["extra"] = 1.into()).contains("unknown field"));
        assert!(json(&|v| v["bytes"] = "secret".into()).contains("wrong type"));
        assert!(!json(&|v| v["bytes"] = "secret".into()).contains("secret"));
        assert!(json(&|v| v["chunk_bytes"] = 0.into()).contains("chunk_bytes must"));
        assert!(json(&|v| v["bytes"] = (20 << 20).into()).contains("chunk"));
        assert!(json(&|v| v["uri"] = "x".into()).contains("uri"));
        assert!(Ref::from_json(b"[]").is_err());
    }
}
