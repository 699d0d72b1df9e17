//! The fast path: which definitions it covers, and how a text goes through it.
//!
//! Chosen when a definition is loaded. A family takes a definition only where it gives exactly what upstream
//! gives for every text; what no family takes goes to `exact`, which is also what the tests compare with.

use std::borrow::Cow;
use std::fmt::Debug;

use super::super::definition::Definition;
use super::super::oniguruma;
use super::added::{Section, Tokens};
use super::cache::{Cache, Pool};
use super::{bpe, bytelevel, sentencepiece, unigram, wordpiece};

/// Bytes of text for each token that is wanted, at the first try: enough for most texts of most languages.
const BYTES_PER_TOKEN: usize = 6;

/// One family of tokenizers: normalizer, pre-tokenizer and model in one.
pub(super) trait Family: Debug + Send + Sync {
    /// Appends the ids of `text`, which has no added token in it.
    ///
    /// May stop once `ids` has `limit` or more. `at_start`: the section begins where the whole text does.
    fn encode(&self, text: &str, at_start: bool, work: &mut Work, ids: &mut Vec<u32>, limit: usize);

    /// What the normalizer makes of `text`. Asked for only if added tokens are searched in normalized text.
    fn normalize<'t>(&self, text: &'t str) -> Cow<'t, str>;

    /// As [`Family::encode`], of text that [`Family::normalize`] has been through.
    fn encode_normalized(
        &self,
        text: &str,
        at_start: bool,
        work: &mut Work,
        ids: &mut Vec<u32>,
        limit: usize,
    );

    /// The first place at `from` or later where `text` can be cut in two without changing the ids of the first
    /// part: the text's end if there is none near.
    fn cut(&self, text: &str, from: usize) -> usize {
        word_cut(text, from)
    }
}

/// What a task reuses from text to text.
#[derive(Debug, Default)]
pub(in super::super) struct Work {
    pub(super) cache: Cache,
    /// A normalized word.
    pub(super) bytes: Vec<u8>,
    /// Normalized text.
    pub(super) text: String,
    pub(super) merge: bpe::Scratch,
    pub(super) lattice: unigram::Lattice,
}

/// A definition that a family covers.
#[derive(Debug)]
pub(in super::super) struct Fast {
    family: Box<dyn Family>,
    added: Tokens,
    /// Whether an added token could lie across what [`word_cut`] finds.
    can_cut: bool,
    vocab_size: usize,
    work: Pool<Work>,
}

impl Fast {
    /// `None` where no family covers the definition.
    pub(in super::super) fn new(definition: &Definition<'_>) -> Option<Self> {
        // What is read otherwise than it is written goes to where it is spelt out.
        if [&definition.normalizer, &definition.pre_tokenizer].into_iter().any(oniguruma::differs) {
            return None;
        }
        let (family, added) = wordpiece::load(definition)
            .or_else(|| bytelevel::load(definition))
            .or_else(|| sentencepiece::load(definition))
            .or_else(|| unigram::load(definition))?;
        let mut sets = added.raw.iter().chain(&added.normalized);
        let can_cut = !sets.any(|set| set.inside(b' '));
        let vocab_size = definition.model.vocab.len() + added.new;
        Some(Self { family, added, can_cut, vocab_size, work: Pool::default() })
    }

    /// Number of tokens, added ones included.
    pub(in super::super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Runs `work` with what a task needs beside the definition: one call of this for many texts.
    pub(in super::super) fn with_work<R>(&self, work: impl FnOnce(&mut Work) -> R) -> R {
        self.work.with(work)
    }

    /// Appends the ids of `text`, without special tokens of the template.
    ///
    /// With a limit, appends at least that many if the text has them, and reads no more of it than that needs.
    pub(in super::super) fn encode(
        &self,
        text: &str,
        work: &mut Work,
        ids: &mut Vec<u32>,
        limit: Option<usize>,
    ) {
        let Some(limit) = limit else { return self.encode_part(text, work, ids, usize::MAX) };
        let start = ids.len();
        let mut bytes = limit.saturating_mul(BYTES_PER_TOKEN).saturating_add(64);
        while self.can_cut && bytes < text.len() / 2 {
            let end = self.family.cut(text, bytes);
            self.encode_part(&text[..end], work, ids, start.saturating_add(limit));
            if end == text.len() || ids.len() - start >= limit {
                return;
            }
            ids.truncate(start);
            bytes = end.saturating_mul(2);
        }
        self.encode_part(text, work, ids, start.saturating_add(limit));
    }

    fn encode_part(&self, text: &str, work: &mut Work, ids: &mut Vec<u32>, limit: usize) {
        let Some(raw) = &self.added.raw else {
            return self.encode_section(text, true, work, ids, limit);
        };
        raw.sections(text, |section| {
            match section {
                Section::Text(range) => {
                    let at_start = range.start == 0;
                    self.encode_section(&text[range], at_start, work, ids, limit);
                }
                Section::Token(id) => ids.push(id),
            }
            ids.len() < limit
        });
    }

    fn encode_section(
        &self,
        text: &str,
        at_start: bool,
        work: &mut Work,
        ids: &mut Vec<u32>,
        limit: usize,
    ) {
        let Some(added) = &self.added.normalized else {
            return self.family.encode(text, at_start, work, ids, limit);
        };
        let text = &*self.family.normalize(text);
        added.sections(text, |section| {
            match section {
                Section::Text(range) => {
                    let at_start = at_start && range.start == 0;
                    self.family.encode_normalized(&text[range], at_start, work, ids, limit);
                }
                Section::Token(id) => ids.push(id),
            }
            ids.len() < limit
        });
    }
}

/// The first `a b` of ASCII letters, at its space: words end there for every normalizer and pre-tokenizer in use.
pub(super) fn word_cut(text: &str, from: usize) -> usize {
    const NEAR: usize = 4096;
    let letters = |bytes: &[u8]| {
        bytes[0].is_ascii_alphabetic() && bytes[1] == b' ' && bytes[2].is_ascii_alphabetic()
    };
    let bytes = text.as_bytes();
    let near = bytes.get(from..(from + NEAR).min(bytes.len())).unwrap_or_default();
    near.windows(3).position(letters).map_or(text.len(), |at| from + at + 1)
}
