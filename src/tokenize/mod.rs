//! Text to token ids. The only module that names the `tokenizers` crate.

mod exact;
mod tokenizer;
mod tokens;

pub use tokenizer::{EncodeOptions, Tokenizer};
pub use tokens::Tokens;
