//! What the `safetensors` crate does not check: it accepts the same name twice and keeps one of them.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use safetensors::tensor::Metadata;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// Largest accepted header, and the most tensors in it.
const HEADER_BYTES: u64 = 16 << 20;
const TENSORS: usize = 100_000;

/// What a file begins with that stands for one that was not fetched.
const LFS: &[u8] = b"version https://git-lfs";

pub(super) fn truncated() -> String {
    "is truncated; copy it again".to_owned()
}

/// Reads the header of a safetensors file of so many `bytes`: where its tensors begin, and what they are. `read`
/// gives parts of the file. The error says what is wrong and what to do.
pub(super) fn parse(
    bytes: u64,
    read: impl Fn(Range<u64>) -> Result<Vec<u8>, String>,
) -> Result<(u64, Metadata), String> {
    if bytes < 8 {
        return Err(truncated());
    }
    let first = read(0..bytes.min(LFS.len() as u64))?;
    if first == LFS {
        return Err(
            "is a Git LFS pointer, not the weights; fetch them with git lfs pull".to_owned()
        );
    }
    let length = first.first_chunk::<8>().map(|n| u64::from_le_bytes(*n)).ok_or_else(truncated)?;
    if length > HEADER_BYTES {
        return Err(format!("is no safetensors file: its header claims {length} bytes"));
    }
    let start = 8 + length;
    if start > bytes {
        return Err(truncated());
    }
    let header = read(8..start)?;
    let bad = |e: serde_json::Error| format!("has a bad header ({e}); copy it again");
    serde_json::Deserializer::from_slice(&header).deserialize_map(Names).map_err(bad)?;
    // Shapes against offsets: the crate's own check.
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|e| format!("is damaged ({e}); copy it again"))?;
    if start.checked_add(header.data_len() as u64) != Some(bytes) {
        return Err("is damaged or truncated: its tensors are not as long as it is; copy it again"
            .to_owned());
    }
    Ok((start, header))
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if names.len() == TENSORS {
                return Err(serde::de::Error::custom(format!("more than {TENSORS} tensors")));
            }
            if !names.insert(name) {
                return Err(serde::de::Error::custom("a tensor name stands twice"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn check(data: &[u8]) -> Result<(), String> {
        let part = |range: std::ops::Range<u64>| {
            Ok(data[range.start.try_into().unwrap()..range.end.try_into().unwrap()].to_vec())
        };
        parse(data.len() as u64, part).map(|_| ())
    }

    fn file(header: &str, body: &[u8]) -> Vec<u8> {
        let mut data = (header.len() as u64).to_le_bytes().to_vec();
        data.extend_from_slice(header.as_bytes());
        data.extend_from_slice(body);
        data
    }

    const ONE: &str = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;

    #[test]
    fn accepts_a_whole_file() {
        assert_eq!(check(&file(ONE, &[0; 4])), Ok(()));
    }

    #[test]
    fn refuses_damage() {
        let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let huge = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
        for (data, said) in [
            (file(ONE, &[0; 3]), "damaged or truncated"),
            (file(ONE, &[0; 4])[..20].to_vec(), "truncated"),
            (vec![1, 2, 3], "truncated"),
            (huge, "no safetensors file"),
            (file("[]", &[]), "bad header"),
            (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "git lfs pull"),
            (file(twice, &[0; 4]), "twice"),
        ] {
            let error = check(&data).expect_err(said);
            assert!(error.contains(said), "{error}");
        }
    }
}
