//! What an encoder layer needs, as functions of slices: one product at a time, and simple loops.
//!
//! They are correct for every shape and option, and the reference for faster kernels of the same signature.

mod attention;
mod elementwise;
mod linear;
mod norm;
mod rows;

pub use attention::{Attention, Relative, attend, scores_len};
pub use elementwise::{add, gate};
pub use linear::{Epilogue, Packed, matmul};
pub use norm::{NormKind, NormWeights, normalize};
pub use rows::{gather_add, mean, rotate, unfold};
