//! Text to token ids. The only module that names the `tokenizers` crate.

mod added;
mod cache;
mod chars;
mod definition;
#[cfg(test)]
mod differential;
mod exact;
mod fast;
mod names;
mod pieces;
mod tokenizer;
mod tokens;
mod unigram;
mod wordpiece;

pub use tokenizer::{EncodeOptions, Tokenizer};
pub use tokens::Tokens;
