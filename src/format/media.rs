//! The media types that legato writes, and what each of them is.

use crate::reference::{Description, crc, crc_text};

const BINARY: &str = "application/octet-stream";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// An event's value that was too large to travel; it is put back on the way in.
const VALUE: &str = "application/vnd.legato.value+json";
const JSONL: &str = "application/jsonl";
const JSONL_ZSTD: &str = "application/jsonl+zstd";
/// One array: safetensors whose only tensor is called [`ARRAY_NAME`].
const ARRAY: &str = "application/vnd.legato.array+safetensors";
const TENSORS: &str = "application/vnd.safetensors";
const TOKENS: &str = "application/vnd.legato.tokens+safetensors";
const PARQUET: &str = "application/vnd.apache.parquet";

/// The tensor of an object of type [`ARRAY`].
pub const ARRAY_NAME: &str = "array";

/// What the bytes of an object are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Bytes,
    Text,
    Json,
    Value,
    Jsonl,
    JsonlZstd,
    Array,
    Tensors,
    Tokens,
    Parquet,
}

/// Form, name, media type and the end of a content-addressed key. The ends differ, because the same bytes can be
/// two things, and the reference that was made first would stay.
const FORMS: [(Form, &str, &str, &str); 10] = [
    (Form::Bytes, "binary", BINARY, ".bin"),
    (Form::Text, "text", TEXT, ".txt"),
    (Form::Json, "json", JSON, ".json"),
    (Form::Value, "value", VALUE, ".value.json"),
    (Form::Jsonl, "jsonl", JSONL, ".jsonl"),
    (Form::JsonlZstd, "jsonl_zstd", JSONL_ZSTD, ".jsonl.zst"),
    (Form::Array, "array", ARRAY, ".array.safetensors"),
    (Form::Tensors, "tensors", TENSORS, ".safetensors"),
    (Form::Tokens, "tokens", TOKENS, ".tokens.safetensors"),
    (Form::Parquet, "parquet", PARQUET, ".parquet"),
];

impl Form {
    /// What a media type stands for; bytes where it is not known.
    #[must_use]
    pub fn of(media_type: &str) -> Self {
        FORMS.iter().find(|entry| entry.2 == media_type).map_or(Self::Bytes, |entry| entry.0)
    }

    #[must_use]
    pub fn media_type(self) -> &'static str {
        FORMS.iter().find(|entry| entry.0 == self).map_or(BINARY, |entry| entry.2)
    }

    /// Names of all forms and their media types.
    pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        FORMS.iter().map(|&(_, name, media_type, _)| (name, media_type))
    }
}

/// How the key of a content-addressed object ends: what is said of the same bytes otherwise is another object.
#[must_use]
pub fn suffix(about: &Description) -> String {
    let end = FORMS.iter().find(|entry| entry.2 == about.media_type).map_or(".bin", |e| e.3);
    let Description { media_type, records, dtype, shape } = about;
    let own = match Form::of(media_type) {
        // Their bytes say it all.
        Form::Array | Form::Tensors | Form::Tokens | Form::Parquet => true,
        Form::Jsonl | Form::JsonlZstd => dtype.is_none() && shape.is_none(),
        Form::Bytes if media_type != BINARY => false,
        _ => records.is_none() && dtype.is_none() && shape.is_none(),
    };
    if own {
        return end.to_owned();
    }
    let said = format!("{media_type}\0{records:?}\0{dtype:?}\0{shape:?}");
    format!(".{}{end}", crc_text(crc(said.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_description_is_another_key() {
        let about = |media_type: &str, records| {
            suffix(&Description { media_type: media_type.into(), records, ..Default::default() })
        };
        let mut ends: Vec<String> = Form::all().map(|(_, media)| about(media, None)).collect();
        assert!(ends.contains(&".bin".to_owned()) && ends.iter().all(|end| end.len() < 25));
        ends.extend([about("image/png", None), about("image/jpeg", None), about(BINARY, Some(1))]);
        let count = ends.len();
        ends.sort();
        ends.dedup();
        assert_eq!(ends.len(), count);
        assert!(ends.iter().all(|end| end.len() < 48));
    }

    #[test]
    fn forms_and_media_types_belong_together() {
        for (form, _, media_type, _) in FORMS {
            assert_eq!((Form::of(media_type), form.media_type()), (form, media_type));
        }
        assert_eq!(Form::of("image/png"), Form::Bytes);
    }
}
