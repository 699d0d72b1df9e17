//! ALBERT (Lan et al. 2019, arXiv:1909.11942): layers that share weights, embeddings of a width of their own.
//!
//! Source: transformers `models/albert/modeling_albert.py` at v5.23.

use serde::Deserialize;

use super::config::{self, BertConfig, Bounds};
use super::embeddings::Embeddings;
use super::encoder::{Architecture, Sizes};
use super::layer::{self, Stack};
use crate::backend::{Activation, Backend, Loader, Relative};
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
    #[serde(flatten)]
    bert: BertConfig,
    embedding_size: usize,
    #[serde(default = "one")]
    num_hidden_groups: usize,
    #[serde(default = "one")]
    inner_group_num: usize,
}

fn one() -> usize {
    1
}

impl Config {
    fn check(&self, layers: usize) -> Result<(), String> {
        Bounds::LAYERS.check("inner_group_num", self.inner_group_num)?;
        Bounds { most: layers }.check("num_hidden_groups", self.num_hidden_groups)?;
        Bounds::WIDTH.check("embedding_size", self.embedding_size)
    }
}

#[derive(Debug)]
pub(super) struct Albert<B: Backend> {
    embeddings: Embeddings<B>,
    project: B::Linear, // (E, H)
    groups: Vec<Stack<B>>,
    layers: usize,
}

impl<B: Backend> Albert<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let config: Config = config::parse(config, "an ALBERT").map_err(bad)?;
        let shape = config.bert.shape().map_err(bad)?;
        config.check(shape.layers).map_err(bad)?;
        let activation = config.bert.activation("gelu_new").map_err(bad)?;
        let at = weights.under(&["", "albert."], "embeddings.word_embeddings.weight");
        let (encoder, wide) = (at.at("encoder"), config.embedding_size);
        let group = |group: usize| {
            let layers = encoder.at("albert_layer_groups").at(group).at("albert_layers");
            Stack::load(&layers, &LAYER, &shape, config.inner_group_num, activation)
        };
        Ok(Self {
            embeddings: Embeddings::load(&at.at("embeddings"), &config.bert, &shape, wide)?,
            project: encoder.linear("embedding_hidden_mapping_in", wide, shape.hidden)?,
            groups: (0..config.num_hidden_groups).map(group).collect::<Result<_>>()?,
            layers: shape.layers,
        })
    }
}

impl<B: Backend> Architecture<B> for Albert<B> {
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch, only: Option<&[u32]>) -> Result<B::Rows> {
        let x = self.embeddings.forward(pass, batch)?;
        let x = B::linear(pass, &x, &self.project, Activation::Identity)?;
        // The layers are dealt to the groups evenly, in order.
        (0..self.layers).try_fold(x, |x, layer| {
            let group = &self.groups[layer * self.groups.len() / self.layers];
            group.forward(pass, x, Relative::None, only.filter(|_| layer + 1 == self.layers))
        })
    }

    fn sizes(&self) -> Sizes {
        self.embeddings.sizes()
    }
}
