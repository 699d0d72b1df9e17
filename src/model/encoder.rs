use candle_core::Tensor;

use crate::batch::Batch;
use crate::error::Result;

/// An encoder: tokens to hidden states.
pub trait Encoder: Send + Sync + std::fmt::Debug {
    /// Hidden states of a batch: `(N,)` tokens to `(N, H)`.
    ///
    /// Ids, segments and positions are below the limits that this trait states; the engine checks them.
    fn forward(&self, batch: &Batch) -> Result<Tensor>;

    /// Width of a hidden state, `H`.
    fn hidden_size(&self) -> usize;

    /// Number of token ids.
    fn vocab_size(&self) -> usize;

    /// Number of segment ids.
    fn type_vocab_size(&self) -> usize;

    /// Most tokens of a text.
    fn max_positions(&self) -> usize;
}
