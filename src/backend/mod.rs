//! What encoders and heads are computed with: the operations they need, once on candle's tensors (any device,
//! any dtype) and once on plain buffers (CPUs, float32 or int8).

mod candle;
mod composed;
mod cpu;
mod host;
mod loader;
pub mod quantized;
mod seam;
mod tensor;
mod unread;
mod weights;

pub use candle::Candle;
pub use cpu::Cpu;
pub use host::{HostLinear, normalized, projected};
pub use loader::Loader;
pub use seam::{Attention, Backend, Dense, Lookup, NormWeights, Relative};
pub use tensor::{Matrix, Tensor};
pub use weights::{Use, Weights};

pub use crate::kernels::{Activation, NormKind};
