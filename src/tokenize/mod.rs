//! Text to token ids. The only module that names the `tokenizers` crate.

mod added;
mod boundary;
mod bpe;
mod bytelevel;
mod cache;
mod chars;
mod compose;
mod definition;
#[cfg(test)]
mod differential;
mod exact;
mod fast;
mod names;
mod pieces;
mod sentencepiece;
mod split;
mod tokenizer;
mod tokens;
mod tokenset;
mod vocabulary;
mod wordpiece;

pub use tokenizer::{EncodeOptions, Tokenizer};
pub use tokens::Tokens;
