//! BERT's WordPiece: the BERT normalizer and pre-tokenizer, then the longest known pieces from the left.
//!
//! A word of up to 15 letters and digits of ASCII costs a load of 16 bytes, which finds its end and its lower
//! case without a loop, and one look-up. Other words are normalized into a buffer first.

use std::borrow::Cow;

use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::{NormalizedString, Normalizer};

use super::added::Tokens;
use super::cache::{self, Cache};
use super::chars::{Chars, Kind};
use super::definition::Definition;
use super::fast::{Family, Work, word_cut};
use super::pieces::Pieces;

/// Covers BERT's normalizer (or none) with BERT's pre-tokenizer and a WordPiece model.
pub(super) fn load(definition: &Definition<'_>) -> Option<(Box<dyn Family>, Tokens)> {
    let model = &definition.model;
    let bpe_only = model.merges.0.is_empty()
        && model.dropout.is_none()
        && model.end_of_word_suffix.is_none()
        && model.fuse_unk.is_none()
        && model.byte_fallback.is_none()
        && model.ignore_merges.is_none()
        && model.unk_id.is_none();
    if model.kind != "WordPiece" || !bpe_only {
        return None;
    }
    if definition.pre_tokenizer != serde_json::json!({"type": "BertPreTokenizer"}) {
        return None;
    }
    let normalizer: Option<NormalizerWrapper> =
        serde_json::from_value(definition.normalizer.clone()).ok()?;
    let bert = match normalizer {
        None => None,
        Some(NormalizerWrapper::BertNormalizer(bert)) => Some(bert),
        Some(_) => return None,
    };
    let vocab = model.vocab.ids()?;
    let prefix = model.continuing_subword_prefix.as_deref()?;
    let pieces = Pieces::new(vocab, prefix)?;
    let unknown = pieces.id(model.unk_token.as_deref()?)?;
    let added = Tokens::new(
        definition,
        vocab.len(),
        |token| pieces.id(token),
        |token| Some(normalized(bert, token)),
    )?;
    let family = WordPiece {
        raw: Rules::new(bert),
        plain: Rules::new(None),
        model: Model { pieces, unknown, max_chars: model.max_input_chars_per_word? },
        normalizer: bert,
    };
    Some((Box::new(family), added))
}

fn normalized(normalizer: Option<BertNormalizer>, text: &str) -> String {
    let mut normalized = NormalizedString::from(text);
    if let Some(rules) = normalizer {
        // Upstream ignores a failure here too; this normalizer has none.
        let _ = rules.normalize(&mut normalized);
    }
    normalized.get().to_owned()
}

#[derive(Debug)]
struct WordPiece {
    /// For text as it comes, and for text that was normalized apart.
    raw: Rules,
    plain: Rules,
    model: Model,
    normalizer: Option<BertNormalizer>,
}

/// How words are found and normalized.
#[derive(Debug)]
struct Rules {
    chars: Chars,
    /// What an ASCII capital gets: 0x20 where words are lower-cased, else nothing.
    case: u8,
}

#[derive(Debug)]
struct Model {
    pieces: Pieces,
    unknown: u32,
    max_chars: usize,
}

impl Family for WordPiece {
    fn encode(&self, text: &str, _: bool, work: &mut Work, ids: &mut Vec<u32>, limit: usize) {
        let start = ids.len();
        if self.raw.encode(text, &self.model, work, ids, limit).is_none() {
            ids.truncate(start);
            let text = normalized(self.normalizer, text);
            self.encode_normalized(&text, false, work, ids, limit);
        }
    }

    fn normalize<'t>(&self, text: &'t str) -> Cow<'t, str> {
        Cow::Owned(normalized(self.normalizer, text))
    }

    fn encode_normalized(
        &self,
        text: &str,
        _: bool,
        work: &mut Work,
        ids: &mut Vec<u32>,
        limit: usize,
    ) {
        // No character of normalized text is `Rare`: these rules change none.
        let _ = self.plain.encode(text, &self.model, work, ids, limit);
    }

    fn cut(&self, text: &str, from: usize) -> usize {
        let ideograph = |c: char| matches!(c, '\u{4e00}'..='\u{9fff}');
        let bytes = text.as_bytes();
        let near = (from..bytes.len().min(from + 64)).find(|&at| {
            text.is_char_boundary(at)
                && text[at..].starts_with(ideograph)
                && text[..at].ends_with(ideograph)
                && self.normalizer.is_some_and(|rules| rules.handle_chinese_chars)
        });
        near.unwrap_or_else(|| word_cut(text, from))
    }
}

impl Rules {
    fn new(normalizer: Option<BertNormalizer>) -> Self {
        let case = if normalizer.is_some_and(|rules| rules.lowercase) { 0x20 } else { 0 };
        Self { chars: Chars::new(normalizer), case }
    }

    /// Appends the ids of `text`; `None` where these rules cannot say what the text becomes.
    fn encode(
        &self,
        text: &str,
        model: &Model,
        work: &mut Work,
        ids: &mut Vec<u32>,
        limit: usize,
    ) -> Option<()> {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() && ids.len() < limit {
            let byte = bytes[at];
            if byte < 0x80 {
                match self.chars.ascii(byte) {
                    Kind::Space | Kind::Dropped => {
                        at += 1;
                        continue;
                    }
                    Kind::Alone => {
                        let key = cache::key_at(bytes, at, 1);
                        model.word_by_key(key, &[byte], &mut work.cache, ids);
                        at += 1;
                        continue;
                    }
                    _ => {}
                }
                let (length, word) = self.ascii_word(bytes, at);
                // A word goes on over what is dropped, and over what is not ASCII.
                let whole = bytes.get(at + length).is_none_or(|&next| {
                    next < 0x80 && matches!(self.chars.ascii(next), Kind::Space | Kind::Alone)
                });
                if (1..=cache::SHORT).contains(&length) && whole {
                    let lower = word.to_le_bytes();
                    let kept = u128::MAX >> (128 - 8 * length);
                    let key = word & kept | (length as u128) << 120;
                    model.word_by_key(key, &lower[..length], &mut work.cache, ids);
                    at += length;
                    continue;
                }
            }
            at = self.word(text, at, model, work, ids)?;
        }
        Some(())
    }

    /// The number of ASCII letters and digits (16 at most) at `at`, and those bytes, lower-cased as the rules say.
    #[inline]
    fn ascii_word(&self, bytes: &[u8], at: usize) -> (usize, u128) {
        let mut window = [0; 16];
        match bytes.get(at..at + 16).and_then(|slice| <&[u8; 16]>::try_from(slice).ok()) {
            Some(whole) => window = *whole,
            None => window[..bytes.len() - at].copy_from_slice(&bytes[at..]),
        }
        // Loops over arrays of 16 compile to vector instructions.
        let mut ends = [0_u8; 16];
        for (end, &byte) in ends.iter_mut().zip(&window) {
            let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
            let digit = byte.wrapping_sub(b'0') < 10;
            *end = if letter | digit { 0 } else { 0xff };
        }
        for byte in &mut window {
            let capital = byte.wrapping_sub(b'A') < 26;
            *byte |= if capital { self.case } else { 0 };
        }
        let length = u128::from_le_bytes(ends).trailing_zeros() / 8;
        (length as usize, u128::from_le_bytes(window))
    }

    /// Encodes what starts at `at`, a word or a character that stands alone; returns where it ends.
    fn word(
        &self,
        text: &str,
        at: usize,
        model: &Model,
        work: &mut Work,
        ids: &mut Vec<u32>,
    ) -> Option<usize> {
        let Work { cache, text: word, .. } = work;
        word.clear();
        let mut end = at;
        for c in text[at..].chars() {
            let next = end + c.len_utf8();
            let entry = self.chars.of(c);
            match entry.kind {
                Kind::Word => word.push_str(entry.text),
                Kind::Dropped => {}
                Kind::Rare => return None,
                // What ends a word is dealt with by itself, at the next call.
                _ if !word.is_empty() => break,
                Kind::Space => {
                    end = next;
                    break;
                }
                Kind::Alone => {
                    word.push_str(entry.text);
                    end = next;
                    break;
                }
            }
            end = next;
        }
        model.word(word, cache, ids);
        Some(end)
    }
}

impl Model {
    /// Appends the ids of a word of at most [`cache::SHORT`] bytes.
    #[inline]
    fn word_by_key(&self, key: u128, word: &[u8], cache: &mut Cache, ids: &mut Vec<u32>) {
        if !cache.append_short(key, ids) {
            let start = ids.len();
            self.split(word, ids);
            cache.put_short(key, &ids[start..]);
        }
    }

    fn word(&self, word: &str, cache: &mut Cache, ids: &mut Vec<u32>) {
        if !word.is_empty() && !cache.append(word.as_bytes(), ids) {
            let start = ids.len();
            self.split(word.as_bytes(), ids);
            cache.put(word.as_bytes(), &ids[start..]);
        }
    }

    /// The longest known piece, again and again; one unknown rest makes the whole word unknown.
    #[cold]
    fn split(&self, word: &[u8], ids: &mut Vec<u32>) {
        let characters = word.iter().filter(|&&byte| byte as i8 >= -0x40).count();
        if characters > self.max_chars || !self.pieces.split(word, ids) {
            ids.push(self.unknown);
        }
    }
}
