use super::config::Shape;
use crate::backend::{Activation, Attention, Backend, Loader};
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

    /// The layers `0..shape.layers` below `at`.
    pub(super) fn load_all(at: &Loader<'_, B>, names: &Names, shape: &Shape) -> Result<Vec<Self>> {
        (0..shape.layers).map(|i| Self::load(&at.at(i), names, shape)).collect()
    }

    // (N, H) -> (N, H)
    pub(super) fn forward(
        &self,
        pass: &B::Pass<'_>,
        x: B::Rows,
        attention: &Attention<'_, B>,
        activation: Activation,
    ) -> Result<B::Rows> {
        let qkv = B::linear(pass, &x, &self.qkv, Activation::Identity)?;
        let context = B::attention(pass, qkv, attention)?;
        let x = B::linear_add_norm(pass, &context, &self.attended, x, &self.attended_norm)?;
        B::feed_forward(pass, x, &self.up, activation, &self.down, &self.down_norm)
    }
}
