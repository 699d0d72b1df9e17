//! Token files: what Preprocessing hands to Inference. safetensors with three flat arrays.

use std::borrow::Cow;
use std::collections::HashMap;

use super::tensors::{Tensor, header, write_tensors};
use crate::error::{Error, Result};
use crate::tokenize::Tokens;

/// Name and version of this format, in the file's metadata.
const FORMAT: &str = "legato.tokens.v1";
const DIGEST: &str = "tokenizer_digest";
const TRUNCATED: &str = "truncated";

/// Writes tokens: `input_ids` (N,), `token_type_ids` (N,), `lengths` (B,), all int32.
pub fn write_tokens(tokens: &Tokens) -> Result<Vec<u8>> {
    let array = |values: &[u32]| Tensor {
        dtype: "int32",
        shape: vec![values.len()],
        data: Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
    };
    let metadata = HashMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        (DIGEST.to_owned(), tokens.tokenizer_digest.clone()),
        (TRUNCATED.to_owned(), tokens.truncated.to_string()),
    ]);
    let tensors = [
        ("input_ids", array(&tokens.ids)),
        ("token_type_ids", array(&tokens.type_ids)),
        ("lengths", array(&tokens.lengths)),
    ];
    write_tensors(&tensors, Some(metadata))
}

/// Reads what [`write_tokens`] wrote.
pub fn read_tokens(data: &[u8]) -> Result<Tokens> {
    let bad = |what: &str| Error::input(format!("a token file {what}; run Preprocessing again"));
    let (tensors, mut metadata) = header(data)?;
    if metadata.get("format").map(String::as_str) != Some(FORMAT) {
        return Err(bad(&format!("is not of format {FORMAT}")));
    }
    let array = |name: &str| {
        let found = tensors.iter().find(|entry| entry.name == name && entry.dtype == "int32");
        let entry = found.ok_or_else(|| bad(&format!("has no int32 array {name}")))?;
        let bytes = data[entry.range.clone()].chunks_exact(4);
        let values: Vec<u32> =
            bytes.filter_map(|b| b.try_into().ok()).map(u32::from_le_bytes).collect();
        // Negative numbers of an int32 array would be huge ids.
        if values.iter().any(|&value| value > i32::MAX as u32) {
            return Err(bad(&format!("has negative values in {name}")));
        }
        Ok(values)
    };
    let tokens = Tokens {
        ids: array("input_ids")?,
        type_ids: array("token_type_ids")?,
        lengths: array("lengths")?,
        truncated: metadata
            .get(TRUNCATED)
            .and_then(|count| count.parse().ok())
            .ok_or_else(|| bad("does not say how many texts were cut"))?,
        // It stands in messages: no more than a digest gets in.
        tokenizer_digest: metadata
            .remove(DIGEST)
            .filter(|text| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit()))
            .ok_or_else(|| bad("names no tokenizer"))?,
    };
    tokens.check()?;
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(lengths in prop::collection::vec(0u32..9, 0..20), truncated in 0usize..9) {
            let total: u32 = lengths.iter().sum();
            let tokens = Tokens {
                ids: (0..total).map(|i| i * 7).collect(),
                type_ids: (0..total).map(|i| i % 2).collect(),
                lengths,
                truncated,
                tokenizer_digest: "ab".into(),
            };
            let data = write_tokens(&tokens).unwrap();
            prop_assert_eq!(&read_tokens(&data).unwrap(), &tokens);
            prop_assert_eq!(write_tokens(&tokens).unwrap(), data);
        }

        #[test]
        fn damage_is_an_error(at in 0usize..400, bit in 0u8..8) {
            let tokens = Tokens { ids: vec![1, 2], type_ids: vec![0, 0], lengths: vec![2], ..Tokens::default() };
            let mut data = write_tokens(&tokens).unwrap();
            let at = at % data.len();
            data[at] ^= 1 << bit;
            let _ = read_tokens(&data); // an error or other values, never a panic
            data.truncate(at);
            prop_assert!(read_tokens(&data).is_err());
        }
    }
}
