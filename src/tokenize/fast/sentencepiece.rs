//! SentencePiece-style BPE with byte fallback: Llama 2, Mistral, Gemma and their like.
//!
//! Upstream merges a whole section as one word. Here it is cut where no merge reaches over, which is mostly
//! before each space. In `text` a space stands for the mark that it is replaced with, as that mark itself does.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::super::definition::{Definition, Text};
use super::added::{Seams, Tokens};
use super::boundary::Boundaries;
use super::bpe::{self, Bpe};
use super::cache::{SHORT, key_at};
use super::family::Family;
use super::split::{decode, letters_end};
use super::vocabulary::Vocabulary;
use super::work::{Model, Words, Work};

/// What a space becomes.
const MARK: char = '▁';

#[derive(Debug)]
struct SentencePiece {
    spaces: Spaces,
    symbols: Symbols,
    bpe: Bpe,
    boundaries: Boundaries,
    seams: Seams,
}

/// What is done about spaces.
#[derive(Debug, Clone, Copy)]
struct Spaces {
    /// Whether they are replaced by the normalizer, not by the pre-tokenizer.
    normalized: bool,
    prefix: Prefix,
    /// Whether each begins a word.
    split: bool,
}

/// Where a space is added at a section's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Never,
    /// At every section.
    Always,
    /// At every section that does not begin with one.
    Missing,
    /// At the text's start, if it does not begin with one.
    First,
}

pub(super) fn load(definition: &Definition<'_>) -> Option<(Box<dyn Family>, Tokens)> {
    let model = &definition.model;
    let spaces = spaces(&definition.normalizer, &definition.pre_tokenizer)?;
    if model.byte_fallback != Some(true) || model.ignore_merges == Some(true) {
        return None;
    }
    let vocabulary = Vocabulary::new(model)?;
    let symbols = Symbols::new(&vocabulary, model.vocab.ids()?)?;
    let normalize = |text: &str| Some(spaces.normalize(text).into_owned());
    let added = Tokens::new(definition, vocabulary.len(), |token| vocabulary.id(token), normalize)?;
    // If bytes of unknown characters were merged, it would be where the boundaries show those characters.
    let allowed = |left, right| !symbols.is_byte(left) && !symbols.is_byte(right);
    let bpe = Bpe::new(&vocabulary, &model.merges.0, allowed)?;
    let mut boundaries = Boundaries::default();
    for (left, right) in &model.merges.0 {
        if let Some((left, right)) = left.chars().next_back().zip(right.chars().next()) {
            boundaries.join(point(left), point(right));
        }
    }
    let seams = added.seams();
    Some((Box::new(SentencePiece { spaces, symbols, bpe, boundaries, seams }), added))
}

impl Family for SentencePiece {
    fn encode(&self, text: &str, at_start: bool, work: &mut Work, limit: usize) {
        let marked = text.starts_with([' ', MARK]);
        let prefix = match self.spaces.prefix {
            Prefix::Never => false,
            Prefix::Always => true,
            Prefix::Missing => !marked,
            Prefix::First => at_start && !marked,
        };
        self.words(text.as_bytes(), prefix && !text.is_empty(), work, limit);
    }

    fn settle(&self, work: &mut Work) {
        work.settle(self);
    }

    fn normalize<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.spaces.normalize(text)
    }

    fn encode_normalized(&self, text: &str, at_start: bool, work: &mut Work, limit: usize) {
        if self.spaces.normalized {
            self.words(text.as_bytes(), false, work, limit);
        } else {
            self.encode(text, at_start, work, limit);
        }
    }

    fn cut(&self, text: &str, from: usize) -> usize {
        self.seams.cut(text, from, |left, right| {
            let (left, right) = (point(left), point(right));
            right == u32::from(' ') && self.spaces.split || !self.boundaries.joins(left, right)
        })
    }
}

impl Spaces {
    fn normalize(self, text: &str) -> Cow<'_, str> {
        let prefix = self.prefix == Prefix::Always && !text.is_empty();
        if !self.normalized || !prefix && !text.contains(' ') {
            return Cow::Borrowed(text);
        }
        let mut marked = String::with_capacity(text.len() + text.len() / 2);
        marked.extend(prefix.then_some(MARK));
        marked.extend(text.chars().map(|c| if c == ' ' { MARK } else { c }));
        Cow::Owned(marked)
    }
}

impl SentencePiece {
    /// Encodes what no merge reaches out of, part by part; `prefix`: as if a space stood before `text`.
    fn words(&self, text: &[u8], prefix: bool, work: &mut Work, limit: usize) {
        let mut at = 0;
        if prefix {
            at = self.end(text, u32::from(' '), 0);
            let mut word = std::mem::take(&mut work.bytes);
            word.clear();
            word.push(b' ');
            word.extend_from_slice(&text[..at]);
            work.push(&word);
            work.bytes = word;
        }
        while at < text.len() && (limit == usize::MAX || work.least() < limit) {
            let (first, length) = character(text, at);
            let end = self.end(text, first, at + length);
            if end - at <= SHORT {
                work.push_short(key_at(text, at, end - at));
            } else {
                work.push(&text[at..end]);
            }
            at = end;
            if work.is_full() {
                work.settle(self);
            }
        }
    }

    /// The first place at `at` or later that no merge reaches over; `left` is the character before `at`.
    #[inline]
    fn end(&self, text: &[u8], mut left: u32, mut at: usize) -> usize {
        loop {
            if let Ok(byte) = u8::try_from(left)
                && byte.is_ascii_alphabetic()
            {
                // Merges join nearly all letters, and it is no harm to take the others as joined.
                at = letters_end(text, at);
                left = text[..at].last().map_or(left, |&byte| u32::from(byte));
            }
            if at >= text.len() {
                return at;
            }
            let (right, length) = character(text, at);
            let apart = self.spaces.split && right == u32::from(' ');
            if apart || !self.boundaries.joins(left, right) {
                return at;
            }
            left = right;
            at += length;
        }
    }

    /// Appends what the characters of a word are before any merge.
    fn symbols(&self, word: &[u8], symbols: &mut Vec<u32>) {
        let mut at = 0;
        while at < word.len() {
            let (point, length) = character(word, at);
            match self.symbols.of(point) {
                Some(id) => symbols.push(id),
                None => symbols.extend(
                    word[at..at + length].iter().map(|&byte| self.symbols.bytes[usize::from(byte)]),
                ),
            }
            at += length;
        }
    }
}

impl Model for SentencePiece {
    #[cold]
    fn word(&self, word: &[u8], work: &mut Work) {
        if work.cache.append(word, &mut work.ids) {
            return;
        }
        let start = work.ids.len();
        work.merge.symbols.clear();
        self.symbols(word, &mut work.merge.symbols);
        self.bpe.merge(&mut work.merge, &mut work.ids);
        work.cache.put(word, &work.ids[start..]);
    }

    #[cold]
    fn learn(&self, words: Words<'_>, work: &mut Work) {
        let Work { cache, new, merge, .. } = work;
        new.clear();
        // No word has more symbols than bytes.
        words.unknown(cache, |word| {
            if word.len() <= bpe::SHORT {
                new.push(word);
            }
        });
        new.learn(
            cache,
            merge,
            &self.bpe,
            |_, _, _| false,
            |word, symbols| {
                self.symbols(word, symbols);
            },
        );
    }
}

/// The character at `at` and its length; a mark is a space.
#[inline]
fn character(text: &[u8], at: usize) -> (u32, usize) {
    if text[at].is_ascii() {
        return (u32::from(text[at]), 1);
    }
    let (point, length) = decode(text, at);
    (if point == u32::from(MARK) { u32::from(' ') } else { point }, length)
}

fn point(c: char) -> u32 {
    u32::from(if c == MARK { ' ' } else { c })
}

/// The tokens that characters are before any merge.
#[derive(Debug)]
struct Symbols {
    ascii: [Option<u32>; 128],
    /// Open addressing in slots of a code point and an id; 0 is a free code point.
    others: Box<[(u32, u32)]>,
    shift: u32,
    /// The tokens of the bytes of an unknown character.
    bytes: Box<[u32; 256]>,
    sorted: Box<[u32; 256]>,
}

impl Symbols {
    /// `None` without a token for each byte, or for spaces.
    fn new(vocabulary: &Vocabulary<'_>, tokens: &[(Text<'_>, u32)]) -> Option<Self> {
        let mut bytes = Box::new([0; 256]);
        for (byte, id) in bytes.iter_mut().enumerate() {
            *id = vocabulary.id(&format!("<0x{byte:02X}>"))?;
        }
        let mut sorted = bytes.clone();
        sorted.sort_unstable();
        let single = |text: &str| {
            let mut chars = text.chars();
            chars.next().filter(|_| chars.next().is_none())
        };
        let singles = || tokens.iter().filter_map(|(text, id)| Some((single(text)?, *id)));
        let bits = (singles().count() * 2).next_power_of_two().trailing_zeros().max(4);
        let others = vec![(0, 0); 1 << bits].into_boxed_slice();
        let mut symbols = Self { ascii: [None; 128], others, shift: 64 - bits, bytes, sorted };
        for (c, id) in singles() {
            if let Some(slot) = symbols.ascii.get_mut(c as usize) {
                *slot = Some(id);
            } else {
                let at = symbols.slot(c.into());
                symbols.others[at] = (c.into(), id);
            }
        }
        // A space never is one by now.
        symbols.ascii[usize::from(b' ')] = Some(vocabulary.id(MARK.encode_utf8(&mut [0; 4]))?);
        Some(symbols)
    }

    #[inline]
    fn of(&self, point: u32) -> Option<u32> {
        if let Some(id) = self.ascii.get(point as usize) {
            return *id;
        }
        let (found, id) = self.others[self.slot(point)];
        (found == point).then_some(id)
    }

    /// Where the character is, or would be.
    fn slot(&self, point: u32) -> usize {
        let hash = u64::from(point).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut at = (hash >> self.shift) as usize;
        while self.others[at].0 != 0 && self.others[at].0 != point {
            at = (at + 1) & (self.others.len() - 1);
        }
        at
    }

    fn is_byte(&self, id: u32) -> bool {
        self.sorted.binary_search(&id).is_ok()
    }
}

fn spaces(normalizer: &Value, pre_tokenizer: &Value) -> Option<Spaces> {
    #[derive(Deserialize)]
    #[serde(tag = "type", deny_unknown_fields)]
    enum Normalizer {
        Prepend { prepend: String },
        Replace { pattern: Pattern, content: String },
        Sequence { normalizers: Vec<Normalizer> },
    }
    #[derive(Deserialize)]
    enum Pattern {
        String(String),
    }
    #[derive(Deserialize)]
    #[serde(tag = "type", deny_unknown_fields)]
    enum PreTokenizer {
        Split { pattern: Pattern, behavior: Behavior, invert: bool },
        Metaspace { replacement: char, prepend_scheme: Option<Scheme>, split: Option<bool> },
    }
    #[derive(Deserialize)]
    enum Behavior {
        MergedWithPrevious,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Scheme {
        First,
        Never,
        Always,
    }

    let pre_tokenizer = Option::<PreTokenizer>::deserialize(pre_tokenizer).ok()?;
    if let Some(PreTokenizer::Metaspace { replacement, prepend_scheme, split }) = pre_tokenizer {
        let prefix = match prepend_scheme.unwrap_or(Scheme::Always) {
            Scheme::First => Prefix::First,
            Scheme::Never => Prefix::Never,
            Scheme::Always => Prefix::Missing,
        };
        let spaces = Spaces { normalized: false, prefix, split: split.unwrap_or(true) };
        return (normalizer.is_null() && replacement == MARK).then_some(spaces);
    }
    if let Some(PreTokenizer::Split { pattern: Pattern::String(text), invert, behavior }) =
        pre_tokenizer
    {
        // Gemma's, which never finds a space: the normalizer has replaced all.
        let Behavior::MergedWithPrevious = behavior;
        if text != " " || invert {
            return None;
        }
    }
    let mut steps = match Normalizer::deserialize(normalizer).ok()? {
        Normalizer::Sequence { normalizers } => normalizers,
        one => vec![one],
    }
    .into_iter();
    let is_mark = |text: &str| text.chars().eq([MARK]);
    let (mut next, mut prefix) = (steps.next()?, Prefix::Never);
    if let Normalizer::Prepend { prepend } = &next {
        if !is_mark(prepend) {
            return None;
        }
        (next, prefix) = (steps.next()?, Prefix::Always);
    }
    let Normalizer::Replace { pattern: Pattern::String(pattern), content } = next else {
        return None;
    };
    let known = pattern == " " && is_mark(&content) && steps.next().is_none();
    known.then_some(Spaces { normalized: true, prefix, split: false })
}
