//! Encoders, one architecture a file, forward only, each written once for every backend.

mod albert;
mod bert;
mod config;
mod deberta;
mod distilbert;
mod electra;
mod embeddings;
mod encoder;
mod layer;
mod modernbert;
mod mpnet;
mod nomic;
mod offset;
mod roberta;
mod rotary;
mod table;

pub use config::{Bounds, activation};
pub use encoder::{Architecture, Encoder, Encoding, Sizes};
pub use table::{architecture, load, model_type};
