//! Simple forms of what an encoder needs, as functions of slices: for what has no kernel of its own, and to
//! compare kernels with.

mod attention;
mod linear;
mod rows;

pub use attention::{Attention, Relative, attend, scores_len};
pub use linear::{Epilogue, Packed, matmul};
pub use rows::{gather_add, mean, unfold};
