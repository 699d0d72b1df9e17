//! Text to token ids. The only module that names the `tokenizers` crate.

mod added;
mod boundary;
mod bpe;
mod bytelevel;
mod cache;
mod chars;
mod compose;
mod defaults;
mod definition;
#[cfg(test)]
mod differential;
mod encode;
mod encoding;
mod exact;
mod fast;
mod limits;
mod names;
mod options;
mod pieces;
mod rows;
mod sentencepiece;
mod source;
mod split;
mod template;
mod tokenizer;
mod tokens;
mod tokenset;
mod truncate;
mod unigram;
mod vocabulary;
mod wordpiece;

pub use defaults::Defaults;
pub use encoding::Encoding;
pub use options::{EncodeOptions, Side, Strategy};
pub use rows::{Cell, Column, Padding, Rows};
pub use source::{Inputs, Source, Text, View};
pub use tokenizer::{Pad, Tokenizer};
pub use tokens::Tokens;
