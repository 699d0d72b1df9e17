//! BERT's WordPiece: the BERT normalizer and pre-tokenizer, then the longest known pieces from the left.
//!
//! A word of up to 15 letters and digits of ASCII costs a load of 16 bytes, which finds its end and its lower
//! case without a loop, and one look-up. Other words are normalized into a buffer first.

use std::borrow::Cow;

use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::{NormalizedString, Normalizer};

use super::super::definition::Definition;
use super::added::{Seams, Tokens};
use super::cache;
use super::chars::{Chars, Kind};
use super::family::{Family, word_cut};
use super::pieces::Pieces;
use super::window::{Classes, WINDOW, lower};
use super::work::{self, Work};

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
    let bert = match &normalizer {
        Some(NormalizerWrapper::BertNormalizer(bert)) => Some(*bert),
        _ => None,
    };
    let vocab = model.vocab.ids()?;
    let prefix = model.continuing_subword_prefix.as_deref()?;
    let pieces = Pieces::new(vocab, prefix)?;
    let unknown = pieces.id(model.unk_token.as_deref()?)?;
    let added = Tokens::new(
        definition,
        vocab.len(),
        |token| pieces.id(token),
        |token| Some(upstream(normalizer.as_ref(), token)),
    )?;
    // A token that must stand alone would do so at the end of a part.
    let single_word = definition.added_tokens.iter().any(|token| token.single_word);
    let family = WordPiece {
        raw: bert.map(|bert| Rules::new(Some(bert))),
        ideographs_alone: !single_word && bert.is_some_and(|bert| bert.handle_chinese_chars),
        seams: added.seams(),
        plain: Rules::new(None),
        model: Model { pieces, unknown, max_chars: model.max_input_chars_per_word? },
        normalizer,
    };
    Some((Box::new(family), added))
}

/// What upstream's normalizer makes of a text. Where that fails, upstream goes on with the text as it is.
fn upstream(normalizer: Option<&NormalizerWrapper>, text: &str) -> String {
    let mut normalized = NormalizedString::from(text);
    if let Some(normalizer) = normalizer {
        let _ = normalizer.normalize(&mut normalized);
    }
    normalized.get().to_owned()
}

#[derive(Debug)]
struct WordPiece {
    /// For text as it comes, where the normalizer is BERT's; others are upstream's code, and then `plain`.
    raw: Option<Rules>,
    /// For text that has been normalized.
    plain: Rules,
    /// Whether ideographs are words each, wherever they stand.
    ideographs_alone: bool,
    seams: Seams,
    model: Model,
    normalizer: Option<NormalizerWrapper>,
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
    fn encode(&self, text: &str, _: bool, work: &mut Work, limit: usize) {
        if self.normalizer.is_none() {
            return self.encode_normalized(text, false, work, limit);
        }
        work.mark();
        let raw = self.raw.as_ref();
        if raw.and_then(|rules| rules.encode(text, &self.model, work, limit)).is_none() {
            work.settle(&self.model);
            work.back_to_mark();
            let text = upstream(self.normalizer.as_ref(), text);
            self.encode_normalized(&text, false, work, limit);
        }
    }

    fn settle(&self, work: &mut Work) {
        work.settle(&self.model);
    }

    fn normalize<'t>(&self, text: &'t str) -> Cow<'t, str> {
        Cow::Owned(upstream(self.normalizer.as_ref(), text))
    }

    fn encode_normalized(&self, text: &str, _: bool, work: &mut Work, limit: usize) {
        // No character of normalized text is `Rare`: these rules change none.
        let _ = self.plain.encode(text, &self.model, work, limit);
    }

    fn cut(&self, text: &str, from: usize) -> usize {
        if self.normalizer.is_some() && self.raw.is_none() {
            return text.len();
        }
        let near = (from..text.len().min(from + 64)).find(|&at| {
            text.is_char_boundary(at)
                && text[at..].starts_with(is_ideograph)
                && text[..at].ends_with(is_ideograph)
                && self.seams.between(text, at)
        });
        near.filter(|_| self.ideographs_alone).unwrap_or_else(|| word_cut(text, from))
    }
}

/// The ideographs of most texts; upstream knows more, which need not be told to cut a text.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fff}')
}

impl Rules {
    fn new(normalizer: Option<BertNormalizer>) -> Self {
        let case = if normalizer.is_some_and(|rules| rules.lowercase) { 0x20 } else { 0 };
        Self { chars: Chars::new(normalizer), case }
    }

    /// Gives `work` the words of `text`; `None`, and none given, where these rules cannot say what they are.
    fn encode(&self, text: &str, model: &Model, work: &mut Work, limit: usize) -> Option<()> {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() && work.least() < limit {
            if work.is_full() {
                work.settle(model);
            }
            at += if let Some(window) = bytes[at..].first_chunk() {
                self.ascii(window, WINDOW, work)
            } else {
                // The end of the text: spaces after it end its last word.
                let mut window = [b' '; WINDOW + 16];
                let rest = &bytes[at..];
                window[..rest.len()].copy_from_slice(rest);
                let length = rest.len().min(WINDOW);
                self.ascii(&window, length, work).min(length)
            };
            at = self.others(text, at, model, work, limit)?;
        }
        Some(())
    }

    /// Gives `work` the words at the beginning of the window that are ASCII and short; returns where it stopped.
    ///
    /// Of the window's bytes `length` are text.
    fn ascii(&self, window: &[u8; WINDOW + 16], length: usize, work: &mut Work) -> usize {
        let classes = Classes::of(window.first_chunk().unwrap_or(&[0; WINDOW]));
        let end = (classes.other().trailing_zeros() as usize).min(length);
        // Where a run of letters and digits begins, and each punctuation mark.
        let mut starts = classes.word & !(classes.word << 1) | classes.punctuation;
        while starts != 0 {
            let start = starts.trailing_zeros() as usize;
            starts &= starts - 1;
            let run = (!(classes.word >> start)).trailing_zeros() as usize;
            let stop = start + run.max(1);
            // A word that touches the end may go on there.
            if stop > cache::SHORT + start || stop >= end && (end < length || length == WINDOW) {
                return start.min(end);
            }
            let Some(bytes) = window[start..].first_chunk() else { return start };
            work.push_short(cache::key_of(lower(*bytes, self.case), stop - start));
        }
        end
    }

    /// Gives `work` the words that [`Rules::ascii`] left, until it can go on; returns where.
    fn others(
        &self,
        text: &str,
        start: usize,
        model: &Model,
        work: &mut Work,
        limit: usize,
    ) -> Option<usize> {
        let mut word = std::mem::take(&mut work.bytes);
        word.clear();
        let mut at = start;
        for c in text[start..].chars() {
            if word.is_empty() && at > start && c.is_ascii_graphic() {
                work.bytes = word;
                return Some(at);
            }
            let (entry, page) = self.chars.of(c);
            match entry.kind {
                Kind::Word => entry.append(page, &mut word),
                Kind::Dropped => {}
                Kind::Rare => return None,
                Kind::Space | Kind::Alone => {
                    push(&mut word, work);
                    if entry.kind == Kind::Alone {
                        entry.append(page, &mut word);
                        push(&mut word, work);
                    }
                    if work.is_full() {
                        work.settle(model);
                    }
                    if work.least() >= limit {
                        break;
                    }
                }
            }
            at += c.len_utf8();
        }
        push(&mut word, work);
        work.bytes = word;
        Some(at)
    }
}

/// Gives `work` a normalized word, and clears it.
fn push(word: &mut Vec<u8>, work: &mut Work) {
    let length = word.len();
    if (1..=cache::SHORT).contains(&length) {
        // Padded, so that its key is one load.
        word.extend_from_slice(&[0; 16]);
        if let Some(bytes) = word.first_chunk() {
            work.push_short(cache::key_of(*bytes, length));
        }
    } else {
        work.push(word);
    }
    word.clear();
}

impl work::Model for Model {
    fn word(&self, word: &[u8], work: &mut Work) {
        if !work.cache.append(word, &mut work.ids) {
            let start = work.ids.len();
            self.split(word, &mut work.ids);
            work.cache.put(word, &work.ids[start..]);
        }
    }
}

impl Model {
    /// The longest known piece, again and again; one unknown rest makes the whole word unknown.
    #[cold]
    fn split(&self, word: &[u8], ids: &mut Vec<u32>) {
        let characters = word.iter().filter(|&&byte| byte.cast_signed() >= -0x40).count();
        if characters > self.max_chars || !self.pieces.split(word, ids) {
            ids.push(self.unknown);
        }
    }
}
