//! A model's files, verified: the only way in for configuration, tokenizer and weights.

mod files;
mod header;
mod sentence;

pub use files::ModelFiles;
pub use sentence::SentenceConfig;
