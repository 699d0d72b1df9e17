use std::borrow::Cow;
use std::fmt::Debug;

use super::tensor::{Matrix, Tensor};
use crate::batch::Batch;
use crate::error::Result;
use crate::kernels::{Activation, NormKind};

/// The operations of encoders, over rows: one row a token, texts flat behind each other, `(N, width)`.
///
/// Models are written once over this trait. Shapes were checked when weights were loaded, so that an operation
/// fails only for want of memory or for a defect.
pub trait Backend: Debug + Send + Sync + Sized + 'static {
    /// One run over one batch.
    type Pass<'a>;
    /// Activations.
    type Rows;
    /// A linear layer's weight, as its product reads it, and its bias.
    type Linear: Debug + Send + Sync;
    /// Rows that are looked up, and other constants.
    type Table: Debug + Send + Sync;
    /// A norm's weights.
    type Norm: Debug + Send + Sync;

    /// Packs a linear layer.
    fn pack(&self, layer: &Dense<'_>) -> Result<Self::Linear>;

    /// Packs a linear layer that answers, and costs next to nothing: never in fewer bits than activations have.
    fn pack_exact(&self, layer: &Dense<'_>) -> Result<Self::Linear> {
        self.pack(layer)
    }

    /// Takes a table of rows of `width`.
    fn table(&self, values: Cow<'_, [f32]>, width: usize) -> Result<Self::Table>;

    /// Takes a table of rows of `width` that are looked up and nothing else.
    fn lookup_table(&self, rows: &Tensor<'_>, width: usize) -> Result<Self::Table> {
        self.table(rows.whole()?.into(), width)
    }

    /// Takes a norm.
    fn norm_of(&self, weights: NormWeights<'_>) -> Result<Self::Norm>;

    /// Begins a run over `batch`.
    fn pass<'a>(&'a self, batch: &'a Batch) -> Result<Self::Pass<'a>>;

    /// The sum of the rows looked up, normalised where there is a norm. At least one lookup.
    fn embed(
        pass: &Self::Pass<'_>,
        lookups: &[Lookup<'_, Self>],
        norm: Option<&Self::Norm>,
    ) -> Result<Self::Rows>;

    /// `activation(x W + b)`.
    fn linear(
        pass: &Self::Pass<'_>,
        x: &Self::Rows,
        layer: &Self::Linear,
        activation: Activation,
    ) -> Result<Self::Rows>;

    /// `x W + b + residual`.
    fn linear_add(
        pass: &Self::Pass<'_>,
        x: &Self::Rows,
        layer: &Self::Linear,
        residual: Self::Rows,
    ) -> Result<Self::Rows>;

    /// `norm(x)`.
    fn norm(pass: &Self::Pass<'_>, x: &Self::Rows, norm: &Self::Norm) -> Result<Self::Rows>;

    /// `norm(x W + b + residual)`: what ends a block of a post-norm encoder.
    fn linear_add_norm(
        pass: &Self::Pass<'_>,
        x: &Self::Rows,
        layer: &Self::Linear,
        residual: Self::Rows,
        norm: &Self::Norm,
    ) -> Result<Self::Rows> {
        Self::norm(pass, &Self::linear_add(pass, x, layer, residual)?, norm)
    }

    /// Attention among the tokens of each text: `qkv` (N, 3H), queries, keys and values side by side, to (N, H).
    fn attention(
        pass: &Self::Pass<'_>,
        qkv: Self::Rows,
        options: &Attention<'_, Self>,
    ) -> Result<Self::Rows>;

    /// `activation(left) * right` of rows `[left, right]`.
    fn gate(pass: &Self::Pass<'_>, x: &Self::Rows, activation: Activation) -> Result<Self::Rows>;

    /// `x + y`.
    fn add(pass: &Self::Pass<'_>, x: Self::Rows, y: &Self::Rows) -> Result<Self::Rows>;

    /// Each row with its neighbours in the same text, zeros beyond its ends: (N, W) to (N, kernel W).
    fn unfold(pass: &Self::Pass<'_>, x: &Self::Rows, kernel: usize) -> Result<Self::Rows>;

    /// These rows of `x`, in this order.
    fn select(pass: &Self::Pass<'_>, x: &Self::Rows, rows: &[u32]) -> Result<Self::Rows>;

    /// The mean of each text's rows: (N, W) to (B, W).
    fn mean(pass: &Self::Pass<'_>, x: &Self::Rows) -> Result<Self::Rows>;

    /// Hands all numbers of `x` to `read`, in float32, row after row.
    fn read(pass: &Self::Pass<'_>, x: &Self::Rows, read: &mut dyn FnMut(&[f32])) -> Result<()>;
}

/// A norm as a checkpoint has it.
#[derive(Debug, Clone, Copy)]
pub struct NormWeights<'a> {
    pub kind: NormKind,
    pub gain: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub eps: f32,
}

/// A linear layer as a checkpoint has it.
#[derive(Debug)]
pub struct Dense<'a> {
    /// `(out, in)`, row after row.
    pub weight: Matrix<'a>,
    /// `(out,)`.
    pub bias: Option<Cow<'a, [f32]>>,
    pub input: usize,
    pub output: usize,
}

/// Rows `ids + offset` of a table, one for each token.
#[derive(Debug)]
pub struct Lookup<'a, B: Backend> {
    pub table: &'a B::Table,
    pub ids: &'a [u32],
    pub offset: u32,
}

impl<'a, B: Backend> Lookup<'a, B> {
    /// Rows `ids`.
    pub fn new(table: &'a B::Table, ids: &'a [u32]) -> Self {
        Self { table, ids, offset: 0 }
    }
}

/// How tokens attend to each other.
#[derive(Debug)]
pub struct Attention<'a, B: Backend> {
    pub heads: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Keys further than this from their query are not seen.
    pub window: Option<usize>,
    /// `(P, D)`: of each position the cosines, then the sines, by which queries and keys are turned.
    pub rotary: Option<&'a B::Table>,
    pub relative: Relative<'a, B>,
}

/// What is added to scores by the distance between query and key.
#[derive(Debug)]
pub enum Relative<'a, B: Backend> {
    None,
    /// `(heads, 2P - 1)`, for key - query = 1 - P .. P - 1; added after scaling.
    Bias(&'a B::Table),
    /// DeBERTa's: contents against positions; added before scaling.
    Disentangled {
        /// `(buckets, H)`: keys of the positions, which the queries meet.
        keys: Option<&'a B::Table>,
        /// `(buckets, H)`: queries of the positions, which the keys meet.
        queries: Option<&'a B::Table>,
        /// `(2P - 1,)`: the bucket of query - key = 1 - P .. P - 1, ascending.
        buckets: &'a [u32],
    },
}

impl<B: Backend> Attention<'_, B> {
    /// Plain attention, scaled by the root of a head's width.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a head is far narrower than 2^24
    pub fn plain(heads: usize, hidden: usize) -> Self {
        let scale = 1.0 / ((hidden / heads) as f32).sqrt();
        Self { heads, scale, window: None, rotary: None, relative: Relative::None }
    }
}
