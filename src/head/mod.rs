//! Hidden states to outputs.

mod pooling;

pub use pooling::Pooling;
