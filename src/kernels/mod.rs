//! Kernels that the CPU backend calls: in float32 and eight bits over slices, on the calling thread, for the best
//! instruction set that the processor has. [`plain`] holds references, and what has no fast kernel yet.

// Loops are compiled once for each instruction set, and with them all that they call.
#![allow(clippy::inline_always)]
// Widths are far below 2^24.
#![allow(clippy::cast_precision_loss)]

pub mod cpu;
mod function;
mod memory;
mod norm;
pub mod plain;
mod product;
mod reduce;
mod softmax;
mod vector;

pub use function::Activation;
pub use memory::prepare;
pub use norm::NormKind;
