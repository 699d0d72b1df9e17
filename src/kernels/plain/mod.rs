//! Simple forms of what an encoder needs, as functions of slices: for what has no kernel of its own.

mod attention;
mod rows;

pub use attention::{Attention, Relative, attend, scores_len};
pub use rows::{gather_add, mean, unfold};
