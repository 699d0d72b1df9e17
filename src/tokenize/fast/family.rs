//! The fast path: which definitions it covers, and how a text goes through it.
//!
//! Chosen when a definition is loaded. A family takes a definition only where it gives exactly what upstream
//! gives for every text; what no family takes goes to `exact`, which is also what the tests compare with.

use std::borrow::Cow;
use std::fmt::Debug;

use super::super::definition::Definition;
use super::super::oniguruma;
use super::added::{Section, Tokens};
use super::cache::Pool;
use super::work::Work;
use super::{bytelevel, sentencepiece, unigram, wordpiece};

/// Bytes of text for each token that is wanted, at the first try: enough for most texts of most languages.
const BYTES_PER_TOKEN: usize = 6;

/// One family of tokenizers: normalizer, pre-tokenizer and model in one.
pub(super) trait Family: Debug + Send + Sync {
    /// Gives `work` the words of `text`, which has no added token in it, or appends their ids at once.
    ///
    /// May stop once [`Work::least`] is `limit` or more. `at_start`: the section begins where the whole text does.
    fn encode(&self, text: &str, at_start: bool, work: &mut Work, limit: usize);

    /// What the normalizer makes of `text`. Asked for only if added tokens are searched in normalized text.
    fn normalize<'t>(&self, text: &'t str) -> Cow<'t, str>;

    /// As [`Family::encode`], of text that [`Family::normalize`] has been through.
    fn encode_normalized(&self, text: &str, at_start: bool, work: &mut Work, limit: usize);

    /// Turns all words that wait into ids.
    fn settle(&self, _work: &mut Work) {}

    /// The first place at `from` or later where `text` can be cut in two without changing the ids of the first
    /// part: the text's end if there is none near.
    fn cut(&self, text: &str, from: usize) -> usize {
        word_cut(text, from)
    }
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
        self.work.with(|own| {
            let result = work(own);
            own.clear();
            result
        })
    }

    /// Takes in a text, without special tokens of the template; its ids come with [`Fast::settle`], or before.
    ///
    /// With a limit, they are at least that many if the text has them, and no more is read of it than that needs.
    pub(in super::super) fn encode(&self, text: &str, work: &mut Work, limit: Option<usize>) {
        work.begin();
        self.encode_beginning(text, work, limit.unwrap_or(usize::MAX));
        work.end();
        self.settle_if_full(work);
    }

    fn encode_beginning(&self, text: &str, work: &mut Work, limit: usize) {
        let mut bytes = limit.saturating_mul(BYTES_PER_TOKEN).saturating_add(64);
        while self.can_cut && bytes < text.len() / 2 {
            let end = self.family.cut(text, bytes);
            self.encode_part(&text[..end], work, limit);
            if end == text.len() || work.least() >= limit {
                return;
            }
            self.family.settle(work);
            if work.least() >= limit {
                return;
            }
            work.restart();
            bytes = end.saturating_mul(2);
        }
        self.encode_part(text, work, limit);
    }

    /// Turns all that was taken in into ids.
    pub(in super::super) fn settle(&self, work: &mut Work) {
        self.family.settle(work);
    }

    fn settle_if_full(&self, work: &mut Work) {
        if work.is_full() {
            self.family.settle(work);
        }
    }

    fn encode_part(&self, text: &str, work: &mut Work, limit: usize) {
        let Some(raw) = &self.added.raw else {
            return self.encode_section(text, true, work, limit);
        };
        raw.sections(text, |section| {
            match section {
                Section::Text(range) => {
                    let at_start = range.start == 0;
                    self.encode_section(&text[range], at_start, work, limit);
                }
                Section::Token(id) => work.push_id(id),
            }
            self.settle_if_full(work);
            work.least() < limit
        });
    }

    fn encode_section(&self, text: &str, at_start: bool, work: &mut Work, limit: usize) {
        let Some(added) = &self.added.normalized else {
            return self.family.encode(text, at_start, work, limit);
        };
        let text = &*self.family.normalize(text);
        added.sections(text, |section| {
            match section {
                Section::Text(range) => {
                    let at_start = at_start && range.start == 0;
                    self.family.encode_normalized(&text[range], at_start, work, limit);
                }
                Section::Token(id) => work.push_id(id),
            }
            self.settle_if_full(work);
            work.least() < limit
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
