//! Ids without upstream's detours: one way for each family of tokenizers, chosen when a definition is loaded.

mod added;
mod boundary;
mod bpe;
mod bytelevel;
mod cache;
mod chars;
mod compose;
#[cfg(test)]
mod differential;
mod family;
mod pairs;
mod pieces;
mod sentencepiece;
mod split;
mod tokenset;
mod unigram;
mod vocabulary;
mod window;
mod wordpiece;
mod work;

pub(super) use family::Fast;
pub(super) use work::Work;
