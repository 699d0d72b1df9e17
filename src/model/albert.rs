//! ALBERT (Lan et al. 2019, arXiv:1909.11942): layers that share weights, embeddings of a width of their own.
//!
//! Source: transformers `models/albert/modeling_albert.py` at v5.23.

use serde::Deserialize;

use super::config::{self, BERT_NAMES, Bounds, Shape};
use super::encoder::{Architecture, Sizes};
use super::layer::{self, Layer};
use crate::backend::{Activation, Attention, Backend, Loader, Lookup};
use crate::batch::Batch;
use crate::error::Result;

const LAYER: layer::Names = layer::Names {
    query: "attention.query",
    key: "attention.key",
    value: "attention.value",
    attended: "attention.dense",
    attended_norm: "attention.LayerNorm",
    up: "ffn",
    down: "ffn_output",
    down_norm: "full_layer_layer_norm",
};

#[derive(Debug, Deserialize)]
struct Config {
    vocab_size: usize,
    embedding_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    #[serde(default = "one")]
    num_hidden_groups: usize,
    #[serde(default = "one")]
    inner_group_num: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "config::two")]
    type_vocab_size: usize,
    #[serde(default = "config::tiny")]
    layer_norm_eps: f32,
    #[serde(default = "gelu_new")]
    hidden_act: String,
    #[serde(default = "config::absolute")]
    position_embedding_type: String,
}

fn one() -> usize {
    1
}

fn gelu_new() -> String {
    "gelu_new".to_owned()
}

impl Config {
    fn shape(&self) -> Result<Shape, String> {
        let shape = Shape {
            vocab: self.vocab_size,
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            inner: self.intermediate_size,
            eps: self.layer_norm_eps,
        };
        shape.check(&BERT_NAMES)?;
        Bounds::LAYERS.check("inner_group_num", self.inner_group_num)?;
        Bounds { most: shape.layers }.check("num_hidden_groups", self.num_hidden_groups)?;
        Bounds::WIDTH.check("embedding_size", self.embedding_size)?;
        Bounds::POSITIONS.check("max_position_embeddings", self.max_position_embeddings)?;
        Bounds::SEGMENTS.check("type_vocab_size", self.type_vocab_size)?;
        config::absolute_positions(&self.position_embedding_type)?;
        Ok(shape)
    }
}

#[derive(Debug)]
pub(super) struct Albert<B: Backend> {
    shape: Shape,
    activation: Activation,
    words: B::Table,     // (V, E)
    positions: B::Table, // (P, E)
    segments: B::Table,  // (S, E)
    norm: B::Norm,
    project: B::Linear, // (E, H)
    groups: Vec<Vec<Layer<B>>>,
    sizes: Sizes,
}

impl<B: Backend> Albert<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let config: Config = config::parse(config, "an ALBERT").map_err(bad)?;
        let shape = config.shape().map_err(bad)?;
        let activation = config::activation("hidden_act", &config.hidden_act).map_err(bad)?;
        let at = weights.under(&["", "albert."], "embeddings.word_embeddings.weight");
        let (below, encoder) = (at.at("embeddings"), at.at("encoder"));
        let (hidden, wide) = (shape.hidden, config.embedding_size);
        let positions = config.max_position_embeddings;
        let group = |group: usize| -> Result<Vec<Layer<B>>> {
            let layers = encoder.at("albert_layer_groups").at(group).at("albert_layers");
            (0..config.inner_group_num)
                .map(|i| Layer::load(&layers.at(i), &LAYER, &shape))
                .collect()
        };
        Ok(Self {
            shape,
            activation,
            words: below.table("word_embeddings", shape.vocab, wide)?,
            positions: below.table("position_embeddings", positions, wide)?,
            segments: below.table("token_type_embeddings", config.type_vocab_size, wide)?,
            norm: below.layer_norm("LayerNorm", wide, shape.eps)?,
            project: encoder.linear("embedding_hidden_mapping_in", wide, hidden)?,
            groups: (0..config.num_hidden_groups).map(group).collect::<Result<_>>()?,
            sizes: Sizes {
                hidden,
                vocab: shape.vocab,
                segments: config.type_vocab_size,
                positions,
            },
        })
    }
}

impl<B: Backend> Architecture<B> for Albert<B> {
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch) -> Result<B::Rows> {
        let lookups = [
            Lookup::new(&self.words, &batch.ids),
            Lookup::new(&self.positions, &batch.positions),
            Lookup::new(&self.segments, &batch.type_ids),
        ];
        let x = B::embed(pass, &lookups, Some(&self.norm))?;
        let mut x = B::linear(pass, &x, &self.project, Activation::Identity)?;
        let attention = Attention::plain(self.shape.heads, self.shape.hidden);
        for i in 0..self.shape.layers {
            // The layers are dealt to the groups evenly, in order.
            for layer in &self.groups[i * self.groups.len() / self.shape.layers] {
                x = layer.forward(pass, x, &attention, self.activation)?;
            }
        }
        Ok(x)
    }

    fn sizes(&self) -> Sizes {
        self.sizes
    }
}
