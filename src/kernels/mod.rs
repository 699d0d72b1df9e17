//! Fused elementwise kernels that the models call.
//!
//! On a CPU in float32 they run in place, on the calling thread, for the best instruction set that the
//! processor has. Elsewhere they are composed of candle's operations, which are also the plain reference that
//! the tests compare with. (candle's own elementwise operations on a CPU spin on a thread pool of their own,
//! which takes no number of threads and does not survive `fork`.)

// Loops are compiled once for each instruction set, and with them all that they call.
#![allow(clippy::inline_always)]
// Widths are far below 2^24.
#![allow(clippy::cast_precision_loss)]

mod activation;
mod add;
pub mod cpu;
mod function;
mod norm;
mod place;
pub mod plain;
mod product;
mod reduce;
mod softmax;
mod vector;

pub use activation::{apply, bias_activation};
pub use add::add;
pub use function::Activation;
pub use norm::{NormKind, norm};
pub use softmax::scale_softmax;
