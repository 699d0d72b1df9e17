//! `tokenizer.json`, parsed once and borrowed from its bytes: vocabularies hold hundreds of thousands of strings.

use std::borrow::Cow;
use std::fmt;
use std::panic::catch_unwind;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The parts that a fast path can be made of; it is refused here where a field is not known.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition<'a> {
    #[serde(default)]
    version: Option<String>,
    /// Embedded truncation: read to know that it is well formed, and ignored.
    #[serde(default, rename = "truncation")]
    _truncation: Option<tokenizers::TruncationParams>,
    #[serde(default)]
    pub(super) padding: Option<tokenizers::PaddingParams>,
    #[serde(default, borrow)]
    pub(super) added_tokens: Vec<AddedToken<'a>>,
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    #[serde(default)]
    pub(super) post_processor: Option<tokenizers::PostProcessorWrapper>,
    #[serde(default)]
    pub(super) decoder: Option<tokenizers::DecoderWrapper>,
    #[serde(borrow)]
    pub(super) model: Model<'a>,
}

impl<'a> Definition<'a> {
    /// `None` where the file is not of the known shape: the exact path then says what is wrong with it.
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        // Upstream's own parts panic on some of what is no JSON.
        let parsed = catch_unwind(|| serde_json::from_slice::<Self>(data));
        let parsed = parsed.ok()?.ok()?;
        (parsed.version.as_deref().unwrap_or("1.0") == "1.0").then_some(parsed)
    }
}

/// A token that is found in the text before the model sees it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools)] // upstream's fields
pub(super) struct AddedToken<'a> {
    pub(super) id: u32,
    #[serde(borrow)]
    pub(super) content: Text<'a>,
    pub(super) single_word: bool,
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    pub(super) normalized: bool,
    pub(super) special: bool,
}

/// The fields of all four models; which of them may be set depends on the type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(borrow)]
    pub(super) vocab: Vocab<'a>,
    #[serde(default, borrow)]
    pub(super) merges: Merges<'a>,
    #[serde(default)]
    pub(super) dropout: Option<f32>,
    #[serde(default)]
    pub(super) unk_token: Option<String>,
    #[serde(default)]
    pub(super) continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub(super) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(super) fuse_unk: Option<bool>,
    #[serde(default)]
    pub(super) byte_fallback: Option<bool>,
    #[serde(default)]
    pub(super) ignore_merges: Option<bool>,
    #[serde(default)]
    pub(super) max_input_chars_per_word: Option<usize>,
    #[serde(default)]
    pub(super) unk_id: Option<usize>,
}

/// A string borrowed from the file, unless it has escapes. (`Cow` alone never borrows inside a `Vec`.)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_str(Strings)
    }
}

/// Tokens with their ids, or (Unigram) pieces with their scores in the order of their ids.
#[derive(Debug)]
pub(super) enum Vocab<'a> {
    Ids(Vec<(Text<'a>, u32)>),
    Scores(Vec<(Text<'a>, f64)>),
}

impl<'a> Vocab<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Scores(scores) => scores.len(),
        }
    }

    pub(super) fn ids(&self) -> Option<&[(Text<'a>, u32)]> {
        if let Self::Ids(ids) = self { Some(ids) } else { None }
    }

    pub(super) fn scores(&self) -> Option<&[(Text<'a>, f64)]> {
        if let Self::Scores(scores) = self { Some(scores) } else { None }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Vocab<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Vocabularies;
        impl<'de> Visitor<'de> for Vocabularies {
            type Value = Vocab<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of ids or a list of scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut ids = Vec::with_capacity(1 << 15);
                while let Some(entry) = map.next_entry()? {
                    ids.push(entry);
                }
                Ok(Vocab::Ids(ids))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut scores = Vec::with_capacity(1 << 15);
                while let Some(entry) = list.next_element()? {
                    scores.push(entry);
                }
                Ok(Vocab::Scores(scores))
            }
        }
        deserializer.deserialize_any(Vocabularies)
    }
}

/// Pairs in the order of their ranks, from `["a", "b"]` or the older `"a b"`.
#[derive(Debug, Default)]
pub(super) struct Merges<'a>(pub(super) Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Merges<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lists;
        impl<'de> Visitor<'de> for Lists {
            type Value = Merges<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut merges = Vec::with_capacity(1 << 15);
                let mut notation = None;
                while let Some(merge) = list.next_element::<Merge<'_>>()? {
                    if *notation.get_or_insert(merge.apart) != merge.apart {
                        return Err(A::Error::custom("merges of both notations"));
                    }
                    merges.push((merge.left, merge.right));
                }
                Ok(Merges(merges))
            }
        }
        deserializer.deserialize_seq(Lists)
    }
}

struct Merge<'a> {
    left: Text<'a>,
    right: Text<'a>,
    /// Two strings, not one.
    apart: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Merge<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge of two tokens")
            }

            fn visit_borrowed_str<E: serde::de::Error>(
                self,
                line: &'de str,
            ) -> Result<Self::Value, E> {
                let (left, right) = halves(line).ok_or_else(|| E::custom("not two tokens"))?;
                let (left, right) = (Text(Cow::Borrowed(left)), Text(Cow::Borrowed(right)));
                Ok(Merge { left, right, apart: false })
            }

            fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Self::Value, E> {
                let (left, right) = halves(line).ok_or_else(|| E::custom("not two tokens"))?;
                let own = |text: &str| Text(Cow::Owned(text.to_owned()));
                Ok(Merge { left: own(left), right: own(right), apart: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let pair = list.next_element()?.zip(list.next_element()?);
                let (left, right) = pair.ok_or_else(|| A::Error::custom("not two tokens"))?;
                if list.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("more than two tokens"));
                }
                Ok(Merge { left, right, apart: true })
            }
        }
        deserializer.deserialize_any(Pairs)
    }
}

/// `None` for comment lines too: upstream drops them, and the exact path does.
fn halves(line: &str) -> Option<(&str, &str)> {
    let (left, right) = line.split_once(' ')?;
    (!right.contains(' ') && !line.starts_with("#version")).then_some((left, right))
}
