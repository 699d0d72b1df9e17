use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Result};

/// What a URL path does not carry as it is.
pub(super) const RESERVED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`');

/// Longest key in bytes: what S3 takes, less room for a suffix.
const KEY_BYTES: usize = 1000;
/// Longest part between two slashes: file systems take 255, and the longest suffix has 24.
const PART_BYTES: usize = 230;
/// An output's reference lies beside it under this suffix, and says that it is whole.
pub const REF_SUFFIX: &str = ".ref";
/// Chunk CRCs of an object that has too many for its reference lie under `<key>.<its CRC><this>`: two objects that
/// are stored under one key at the same time have two of them.
pub(super) const CHUNKS_SUFFIX: &str = ".chunks";

/// The key of the output to which a key belongs: its own, or without the suffix of what lies beside it.
pub(super) fn stem(key: &str) -> &str {
    if let Some(stem) = key.strip_suffix(REF_SUFFIX) {
        return stem;
    }
    let crc = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match key.strip_suffix(CHUNKS_SUFFIX).and_then(|rest| rest.rsplit_once('.')) {
        Some((stem, digits)) if crc(digits) => stem,
        _ => key,
    }
}

/// The name of an object in its store: parts separated by slashes, none of them empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Checks a key.
    pub fn parse(key: &str) -> Result<Self> {
        let bad =
            |reason: &str| Err(Error::input(format!("key '{}' {reason}", key.escape_debug())));
        let stem = stem(key);
        if stem.len() > KEY_BYTES {
            return Err(Error::input(format!(
                "a key has {} bytes, the limit is {KEY_BYTES}",
                stem.len()
            )));
        }
        if stem.split('/').any(|part| part.len() > PART_BYTES) {
            return bad("has a part that is longer than 230 bytes");
        }
        if key.chars().any(|c| c.is_control() || c == '\\') {
            return bad("has a control character or a backslash");
        }
        for part in key.split('/') {
            if matches!(part, "" | "." | "..") {
                return bad("has an empty part, '.' or '..'; write it as a/b/c");
            }
            if part.starts_with(".legato-") {
                return bad("has a part that starts with '.legato-', which is reserved");
            }
        }
        Ok(Self(key.to_owned()))
    }

    /// The key in `uri` of an object of the store at `url`.
    pub fn in_store(uri: &str, url: &str) -> Result<Self> {
        let outside = || {
            Error::input(format!(
                "the reference points to {}, which is outside of the store {url}; \
                 run it with the store that holds it",
                uri.escape_debug()
            ))
        };
        let path =
            uri.strip_prefix(url).and_then(|rest| rest.strip_prefix('/')).ok_or_else(outside)?;
        let key = percent_decode_str(path).decode_utf8().map_err(|_| outside())?;
        Self::parse(&key)
    }

    /// This key with `suffix` after it.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        Self(format!("{}{suffix}", self.0))
    }

    /// Where the chunk CRCs of the object with this CRC lie.
    #[must_use]
    pub fn chunks_of(&self, crc: &str) -> Self {
        self.with_suffix(&format!(".{crc}{CHUNKS_SUFFIX}"))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn encoded(&self) -> String {
        utf8_percent_encode(&self.0, RESERVED).to_string()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn refuses_what_could_leave_the_store() {
        for key in ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\0b", "a\nb", "a\\b"] {
            assert!(Key::parse(key).is_err(), "{key:?}");
        }
        assert!(Key::parse(&"x/".repeat(600)).is_err());
        assert!(Key::parse(&"x".repeat(300)).is_err());
        assert!(Key::in_store("file:///s/%2e%2e/a", "file:///s").is_err());
        assert!(Key::in_store("file:///other/a", "file:///s").is_err());
        assert!(Key::in_store("file:///sa", "file:///s").is_err());
    }

    #[test]
    fn survives_the_uri() {
        for key in ["a/b", "a b/ü?x#1", "100%/x"] {
            let key = Key::parse(key).unwrap();
            let uri = format!("file:///s/{}", key.encoded());
            assert_eq!(Key::in_store(&uri, "file:///s").unwrap(), key);
        }
    }
}
