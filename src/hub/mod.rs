//! A model's files, verified: the only way in for configuration, tokenizer and weights.

mod checkpoint;
mod disk;
mod files;
mod header;
mod prompts;
mod sentence;
mod state;
mod words;

pub use checkpoint::Checkpoint;
pub use files::ModelFiles;
pub use prompts::Prompts;
pub use sentence::{DenseConfig, SentenceConfig};
pub use words::Words;
