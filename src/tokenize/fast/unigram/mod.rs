//! Unigram, the family of XLM-R, T5, ALBERT and most multilingual embedders.
//!
//! A text is taken word by word, words being what lies between ASCII spaces: what a word becomes is remembered by
//! its bytes, before anything is done to it. What is not remembered is normalized ([`normalizer`]), divided into
//! pre-tokens ([`split`]) and these into pieces ([`model`]). Words whose ids depend on what stands beside
//! them are never remembered.

// Ids, codes and places are narrower than what they are kept in, which is checked where they come from.
#![allow(clippy::cast_possible_truncation)]

mod charsmap;
mod model;
mod normalizer;
mod split;
mod steps;
#[cfg(test)]
mod tests;
mod trie;
mod words;

use std::borrow::Cow;

pub(super) use model::Lattice;

use super::super::definition::Definition;
use super::added::Tokens;
use super::family::{Family, word_cut};
use super::work::Work;
use model::Model;
use normalizer::Normalizer;
use split::{Prepend, Split};
use words::{Separators, Words};

#[derive(Debug)]
struct Unigram {
    normalizer: Normalizer,
    split: Split,
    model: Model,
    /// What a mark becomes that stands alone.
    mark_ids: Vec<u32>,
    /// What ends words of text, and of normalized text.
    raw: Separators,
    normalized: Separators,
    /// Whether added tokens are searched in normalized text.
    normalizes: bool,
}

/// `None` for a definition whose parts are not all known, or that upstream could fail on.
pub(super) fn load(definition: &Definition<'_>) -> Option<(Box<dyn Family>, Tokens)> {
    let normalizer = Normalizer::new(&definition.normalizer)?;
    let split = Split::new(&definition.pre_tokenizer)?;
    let collapse = normalizer.collapse.as_deref();
    let marks = |content: &str| {
        let mark = match &split {
            Split::Words(_) => None,
            split => split.marker().map(|marker| marker.mark),
        };
        content == " " || content.chars().eq(mark)
    };
    if collapse.is_some_and(|content| !marks(content)) {
        return None;
    }
    let model = Model::new(&definition.model)?;
    let normalize = |content: &str| Some(normalizer.section(content).into_owned());
    let size = definition.model.vocab.scores()?.len();
    let added = Tokens::new(definition, size, |token| model.id(token), normalize)?;
    let first = split.marker().is_some_and(|marker| marker.prepend == Prepend::First);
    // Whether a word is the first upstream tells by where its first character came from, which is followed here
    // only through steps that keep the first one, and not into sections of what one character became.
    let followed =
        !normalizer.moves_first() && (added.normalized.is_none() || normalizer.is_empty());
    if first && !followed {
        return None;
    }
    let mut mark_ids = Vec::new();
    if let Some(marker) = split.marker() {
        let mut lattice = Lattice::default();
        lattice.push(marker.mark, &model);
        model.encode(&mut lattice, &mut mark_ids, usize::MAX, false);
    }
    let family = Unigram {
        mark_ids,
        raw: Separators::raw(&normalizer, &split),
        normalized: Separators::normalized(&split),
        normalizes: added.normalized.is_some(),
        normalizer,
        split,
        model,
    };
    Some((Box::new(family), added))
}

impl Family for Unigram {
    fn encode(&self, text: &str, at_start: bool, work: &mut Work, limit: usize) {
        let stripped = self.normalizer.stripped(text);
        // Upstream asks where the first character stood that is left.
        let at_start = at_start && text.as_ptr() == stripped.as_ptr();
        let steps = Some(&self.normalizer);
        let limit = work.end_of(limit);
        let words = Words { family: self, steps, cached: true, limit, work };
        let end_matters = self.normalizer.strip_end && matches!(self.split, Split::Marks(_));
        if let Split::Nowhere(_) = self.split {
            words.whole(&self.normalizer.section(text), at_start);
        } else if !end_matters {
            words.encode(stripped, at_start);
        } else if let Some(stripped) = self.normalizer.strip_end(stripped) {
            words.encode(stripped, at_start);
        } else {
            let words = Words { steps: None, cached: false, ..words };
            words.encode(&self.normalizer.section(text), at_start);
        }
    }

    fn normalize<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.normalizer.section(text)
    }

    fn encode_normalized(&self, text: &str, at_start: bool, work: &mut Work, limit: usize) {
        let limit = work.end_of(limit);
        let words = Words { family: self, steps: None, cached: true, limit, work };
        match &self.split {
            Split::Nowhere(_) => words.whole(text, at_start),
            _ => words.encode(text, at_start),
        }
    }

    fn cut(&self, text: &str, from: usize) -> usize {
        match self.split {
            // Words are taken one by one, and none is looked at that is not wanted.
            Split::Words(_) | Split::Marks(_) if !self.normalizes => text.len(),
            Split::Words(_) | Split::Marks(_) if self.normalizer.keeps_letters() => {
                word_cut(text, from)
            }
            _ => text.len(),
        }
    }
}
