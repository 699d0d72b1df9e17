use super::config::Shape;
use crate::backend::{Activation, Attention, Backend, Loader, Relative};
use crate::error::Result;

/// What a layer's tensors are called.
pub(super) struct Names {
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) attended: &'static str,
    pub(super) attended_norm: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    pub(super) down_norm: &'static str,
}

pub(super) const BERT: Names = Names {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attended: "attention.output.dense",
    attended_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    down_norm: "output.LayerNorm",
};

/// A layer of the original transformer: attention and two linear layers, each followed by residual and norm.
#[derive(Debug)]
pub(super) struct Layer<B: Backend> {
    qkv: B::Linear, // (H, 3H): the three projections as one product
    attended: B::Linear,
    attended_norm: B::Norm,
    up: B::Linear,
    down: B::Linear,
    down_norm: B::Norm,
}

impl<B: Backend> Layer<B> {
    pub(super) fn load(at: &Loader<'_, B>, names: &Names, shape: &Shape) -> Result<Self> {
        let &Shape { hidden, inner, eps, .. } = shape;
        Ok(Self {
            qkv: at.stacked(&[names.query, names.key, names.value], hidden, hidden, true)?,
            attended: at.linear(names.attended, hidden, hidden)?,
            attended_norm: at.layer_norm(names.attended_norm, hidden, eps)?,
            up: at.linear(names.up, hidden, inner)?,
            down: at.linear(names.down, inner, hidden)?,
            down_norm: at.layer_norm(names.down_norm, hidden, eps)?,
        })
    }

    // (N, H) -> (N, H), or (only, H)
    pub(super) fn forward(
        &self,
        pass: &B::Pass<'_>,
        x: B::Rows,
        attention: &Attention<'_, B>,
        activation: Activation,
        only: Option<&[u32]>,
    ) -> Result<B::Rows> {
        let qkv = B::linear(pass, &x, &self.qkv, Activation::Identity)?;
        let context = B::attention(pass, qkv, attention)?;
        let (context, x) = wanted::<B>(pass, context, x, only)?;
        let x = B::linear_add_norm(pass, &context, &self.attended, x, &self.attended_norm)?;
        let inner = B::linear(pass, &x, &self.up, activation)?; // (N, I)
        B::linear_add_norm(pass, &inner, &self.down, x, &self.down_norm)
    }
}

/// Layers, one after the other.
#[derive(Debug)]
pub(super) struct Stack<B: Backend> {
    layers: Vec<Layer<B>>,
    heads: usize,
    hidden: usize,
    activation: Activation,
}

impl<B: Backend> Stack<B> {
    /// The layers `0..count` below `at`.
    pub(super) fn load(
        at: &Loader<'_, B>,
        names: &Names,
        shape: &Shape,
        count: usize,
        activation: Activation,
    ) -> Result<Self> {
        let layers = (0..count).map(|i| Layer::load(&at.at(i), names, shape));
        let &Shape { heads, hidden, .. } = shape;
        Ok(Self { layers: layers.collect::<Result<_>>()?, heads, hidden, activation })
    }

    // (N, H) -> (N, H), or (only, H)
    pub(super) fn forward(
        &self,
        pass: &B::Pass<'_>,
        x: B::Rows,
        relative: Relative<'_, B>,
        only: Option<&[u32]>,
    ) -> Result<B::Rows> {
        let attention = Attention { relative, ..Attention::plain(self.heads, self.hidden) };
        last(&self.layers, only).try_fold(x, |x, (layer, only)| {
            layer.forward(pass, x, &attention, self.activation, only)
        })
    }
}

/// Layers in order, the last one with the rows that are wanted of it.
pub(super) fn last<'l, L>(
    layers: &'l [L],
    only: Option<&'l [u32]>,
) -> impl Iterator<Item = (&'l L, Option<&'l [u32]>)> {
    let count = layers.len();
    let with = move |(i, layer)| (layer, only.filter(|_| i + 1 == count));
    layers.iter().enumerate().map(with)
}

/// What comes after a layer's attention, where tokens look at each other for the last time: attended and residual
/// rows, all of them or those that are wanted.
pub(super) fn wanted<B: Backend>(
    pass: &B::Pass<'_>,
    context: B::Rows,
    x: B::Rows,
    only: Option<&[u32]>,
) -> Result<(B::Rows, B::Rows)> {
    match only {
        None => Ok((context, x)),
        Some(rows) => Ok((B::select(pass, &context, rows)?, B::select(pass, &x, rows)?)),
    }
}
