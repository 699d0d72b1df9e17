//! A model's files, verified: the only way in for configuration, tokenizer and weights.

mod files;
mod header;
mod prompts;
mod sentence;
mod words;

pub use files::ModelFiles;
pub use prompts::Prompts;
pub use sentence::{DenseConfig, SentenceConfig};
pub use words::Words;
