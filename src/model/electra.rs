//! ELECTRA's discriminator (Clark et al. 2020, arXiv:2003.10555): BERT with embeddings of a width of their own.
//!
//! Source: transformers `models/electra/modeling_electra.py` at v5.23.

use serde::Deserialize;

use super::config::{self, BERT_NAMES, Bounds, Shape};
use super::encoder::{Architecture, Sizes};
use super::layer::{self, Layer};
use crate::backend::{Activation, Attention, Backend, Loader, Lookup};
use crate::batch::Batch;
use crate::error::Result;

#[derive(Debug, Deserialize)]
struct Config {
    vocab_size: usize,
    embedding_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "config::two")]
    type_vocab_size: usize,
    #[serde(default = "config::tiny")]
    layer_norm_eps: f32,
    #[serde(default = "config::gelu")]
    hidden_act: String,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default = "config::absolute")]
    position_embedding_type: String,
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
        Bounds::WIDTH.check("embedding_size", self.embedding_size)?;
        Bounds::POSITIONS.check("max_position_embeddings", self.max_position_embeddings)?;
        Bounds::SEGMENTS.check("type_vocab_size", self.type_vocab_size)?;
        config::encoder_only(self.is_decoder)?;
        config::absolute_positions(&self.position_embedding_type)?;
        Ok(shape)
    }
}

#[derive(Debug)]
pub(super) struct Electra<B: Backend> {
    shape: Shape,
    activation: Activation,
    words: B::Table,     // (V, E)
    positions: B::Table, // (P, E)
    segments: B::Table,  // (S, E)
    norm: B::Norm,
    project: Option<B::Linear>, // (E, H), where E is not H
    layers: Vec<Layer<B>>,
    sizes: Sizes,
}

impl<B: Backend> Electra<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let config: Config = config::parse(config, "an ELECTRA").map_err(bad)?;
        let shape = config.shape().map_err(bad)?;
        let activation = config::activation("hidden_act", &config.hidden_act).map_err(bad)?;
        let at = weights.under(&["", "electra."], "embeddings.word_embeddings.weight");
        let below = at.at("embeddings");
        let (hidden, wide) = (shape.hidden, config.embedding_size);
        let positions = config.max_position_embeddings;
        let project = || at.linear("embeddings_project", wide, hidden);
        Ok(Self {
            shape,
            activation,
            words: below.table("word_embeddings", shape.vocab, wide)?,
            positions: below.table("position_embeddings", positions, wide)?,
            segments: below.table("token_type_embeddings", config.type_vocab_size, wide)?,
            norm: below.layer_norm("LayerNorm", wide, shape.eps)?,
            project: (wide != hidden).then(project).transpose()?,
            layers: Layer::load_all(&at.at("encoder.layer"), &layer::BERT, &shape)?,
            sizes: Sizes {
                hidden,
                vocab: shape.vocab,
                segments: config.type_vocab_size,
                positions,
            },
        })
    }
}

impl<B: Backend> Architecture<B> for Electra<B> {
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch) -> Result<B::Rows> {
        let lookups = [
            Lookup::new(&self.words, &batch.ids),
            Lookup::new(&self.positions, &batch.positions),
            Lookup::new(&self.segments, &batch.type_ids),
        ];
        let mut x = B::embed(pass, &lookups, Some(&self.norm))?;
        if let Some(project) = &self.project {
            x = B::linear(pass, &x, project, Activation::Identity)?;
        }
        let attention = Attention::plain(self.shape.heads, self.shape.hidden);
        for layer in &self.layers {
            x = layer.forward(pass, x, &attention, self.activation)?;
        }
        Ok(x)
    }

    fn sizes(&self) -> Sizes {
        self.sizes
    }
}
