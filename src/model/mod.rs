//! Encoders, one architecture a file, forward only.

mod bert;
mod encoder;
mod table;
mod weights;

pub use encoder::Encoder;
pub use table::load;
