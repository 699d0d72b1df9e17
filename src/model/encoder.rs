use std::fmt::Debug;

use crate::backend::Backend;
use crate::batch::Batch;
use crate::error::Result;

/// What an encoder takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Width of a hidden state, `H`.
    pub hidden: usize,
    /// Number of token ids.
    pub vocab: usize,
    /// Number of segment ids; `usize::MAX` where the model does not look at them.
    pub segments: usize,
    /// Most tokens of a text.
    pub positions: usize,
}

/// A model's layers on a backend: tokens to hidden states.
pub trait Architecture<B: Backend>: Send + Sync + Debug {
    /// Hidden states of a batch, `(N, H)`; or of some of its tokens, `(only, H)`, which spares the others most of
    /// the last layer.
    ///
    /// Ids, segments and positions are below [`Architecture::sizes`]; the engine checks them.
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch, only: Option<&[u32]>) -> Result<B::Rows>;

    /// What it takes and gives.
    fn sizes(&self) -> Sizes;
}

/// An encoder on the backend that it was loaded into.
pub trait Encoder: Send + Sync + Debug {
    /// Hands the hidden states of a batch, `(N, H)` in float32, to `read`; or those of some of its tokens.
    fn forward(
        &self,
        batch: &Batch,
        only: Option<&[u32]>,
        read: &mut dyn FnMut(&[f32]),
    ) -> Result<()>;

    /// What it takes and gives.
    fn sizes(&self) -> Sizes;
}

/// An architecture with its backend.
#[derive(Debug)]
pub struct Encoding<B: Backend> {
    pub backend: B,
    pub model: Box<dyn Architecture<B>>,
}

impl<B: Backend> Encoder for Encoding<B> {
    fn forward(
        &self,
        batch: &Batch,
        only: Option<&[u32]>,
        read: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        let pass = self.backend.pass(batch)?;
        let hidden = self.model.forward(&pass, batch, only)?;
        B::read(&pass, &hidden, read)
    }

    fn sizes(&self) -> Sizes {
        self.model.sizes()
    }
}
