//! Text to token ids. The only module that names the `tokenizers` crate.

mod defaults;
mod definition;
mod encode;
mod encoding;
mod exact;
// Hashes and masks are cut to their bits; a `word` and its `work` stand side by side.
#[allow(clippy::cast_possible_truncation, clippy::similar_names)]
mod fast;
mod limits;
mod matrix;
mod memory;
mod names;
mod oniguruma;
mod options;
mod rows;
mod source;
mod template;
mod tokenizer;
mod tokens;
mod truncate;

pub use defaults::Defaults;
pub use encoding::Encoding;
pub use matrix::Cell;
pub use options::{EncodeOptions, Side, Strategy};
pub use rows::{Column, Padding, Rows};
pub use source::{Inputs, Source, Text, View};
pub use tokenizer::{Pad, Tokenizer};
pub use tokens::Tokens;
