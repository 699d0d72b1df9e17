//! Encoders, one architecture a file, forward only, each written once for every backend.

mod bert;
mod config;
mod encoder;
mod layer;
mod table;

pub use config::Bounds;
pub use encoder::{Architecture, Encoder, Encoding, Sizes};
pub use table::{architecture, load, model_type};
