//! DistilBERT (Sanh et al. 2019, arXiv:1910.01108).
//!
//! Source: transformers `models/distilbert/modeling_distilbert.py` at v5.23.

use serde::Deserialize;

use super::config::{self, Bounds, Names, Shape};
use super::encoder::{Architecture, Sizes};
use super::layer::{self, Stack};
use crate::backend::{Backend, Loader, Lookup, Relative};
use crate::batch::Batch;
use crate::error::Result;

/// Not in the config: upstream has it in its code.
const EPS: f32 = 1e-12;

const CONFIG_NAMES: Names =
    Names { hidden: "dim", layers: "n_layers", heads: "n_heads", inner: "hidden_dim", eps: "eps" };

const LAYER: layer::Names = layer::Names {
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attended: "attention.out_lin",
    attended_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    down_norm: "output_layer_norm",
};

#[derive(Debug, Deserialize)]
struct Config {
    vocab_size: usize,
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    hidden_dim: usize,
    max_position_embeddings: usize,
    #[serde(default = "config::gelu")]
    activation: String,
}

#[derive(Debug)]
pub(super) struct DistilBert<B: Backend> {
    words: B::Table,     // (V, H)
    positions: B::Table, // (P, H)
    norm: B::Norm,
    layers: Stack<B>,
    sizes: Sizes,
}

impl<B: Backend> DistilBert<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let config: Config = config::parse(config, "a DistilBERT").map_err(bad)?;
        let shape = Shape {
            vocab: config.vocab_size,
            hidden: config.dim,
            layers: config.n_layers,
            heads: config.n_heads,
            inner: config.hidden_dim,
            eps: EPS,
        };
        shape.check(&CONFIG_NAMES).map_err(bad)?;
        let positions = config.max_position_embeddings;
        Bounds::POSITIONS.check("max_position_embeddings", positions).map_err(bad)?;
        let activation = config::activation("activation", &config.activation).map_err(bad)?;
        let at = weights.under(&["", "distilbert."], "embeddings.word_embeddings.weight");
        let (below, layers) = (at.at("embeddings"), at.at("transformer.layer"));
        let Shape { vocab, hidden, .. } = shape;
        Ok(Self {
            words: below.table("word_embeddings", vocab, hidden)?,
            positions: below.table("position_embeddings", positions, hidden)?,
            norm: below.layer_norm("LayerNorm", hidden, EPS)?,
            layers: Stack::load(&layers, &LAYER, &shape, shape.layers, activation)?,
            sizes: Sizes { hidden, vocab, segments: usize::MAX, positions },
        })
    }
}

impl<B: Backend> Architecture<B> for DistilBert<B> {
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch, only: Option<&[u32]>) -> Result<B::Rows> {
        let lookups =
            [Lookup::new(&self.words, &batch.ids), Lookup::new(&self.positions, &batch.positions)];
        let x = B::embed(pass, &lookups, Some(&self.norm))?;
        self.layers.forward(pass, x, Relative::None, only)
    }

    fn sizes(&self) -> Sizes {
        self.sizes
    }
}
