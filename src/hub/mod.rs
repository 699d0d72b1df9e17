//! A model's files, verified: the only way in for configuration, tokenizer and weights.

mod checkpoint;
mod disk;
mod files;
mod header;
mod sentence;
mod state;

pub use checkpoint::Checkpoint;
pub use files::ModelFiles;
pub use sentence::SentenceConfig;
