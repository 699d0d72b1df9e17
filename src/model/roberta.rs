//! RoBERTa (Liu et al. 2019, arXiv:1907.11692), XLM-RoBERTa and CamemBERT, which are the same layers.
//!
//! Source: transformers `models/roberta/modeling_roberta.py` at v5.23.

use serde::Deserialize;

use super::config::{self, BertConfig};
use super::encoder::{Architecture, Sizes};
use super::layer::{self, Stack};
use super::offset::Positions;
use crate::backend::{Backend, Loader, Lookup, Relative};
use crate::batch::Batch;
use crate::error::Result;

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(flatten)]
    bert: BertConfig,
    #[serde(default = "one")]
    pad_token_id: u32,
}

fn one() -> u32 {
    1
}

#[derive(Debug)]
pub(super) struct Roberta<B: Backend> {
    words: B::Table, // (V, H)
    positions: Positions<B>,
    segments: B::Table, // (S, H)
    norm: B::Norm,
    layers: Stack<B>,
    sizes: Sizes,
}

impl<B: Backend> Roberta<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let Config { bert, pad_token_id: pad } = config::parse(config, "a RoBERTa").map_err(bad)?;
        let shape = bert.shape().map_err(bad)?;
        let activation = bert.activation("gelu").map_err(bad)?;
        let (rows, segments) = (bert.max_position_embeddings, bert.type_vocab_size);
        let capacity = Positions::<B>::capacity(rows, pad).map_err(bad)?;
        let at = weights.under(&["", "roberta."], "embeddings.word_embeddings.weight");
        let (below, layers) = (at.at("embeddings"), at.at("encoder.layer"));
        let hidden = shape.hidden;
        Ok(Self {
            words: below.table("word_embeddings", shape.vocab, hidden)?,
            positions: Positions::load(&below, rows, hidden, pad)?,
            segments: below.table("token_type_embeddings", segments, hidden)?,
            norm: below.layer_norm("LayerNorm", hidden, shape.eps)?,
            layers: Stack::load(&layers, &layer::BERT, &shape, shape.layers, activation)?,
            sizes: Sizes { hidden, vocab: shape.vocab, segments, positions: capacity },
        })
    }
}

impl<B: Backend> Architecture<B> for Roberta<B> {
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch, only: Option<&[u32]>) -> Result<B::Rows> {
        let positions = self.positions.of(batch);
        let lookups = [
            Lookup::new(&self.words, &batch.ids),
            self.positions.lookup(&positions),
            Lookup::new(&self.segments, &batch.type_ids),
        ];
        let x = B::embed(pass, &lookups, Some(&self.norm))?;
        self.layers.forward(pass, x, Relative::None, only)
    }

    fn sizes(&self) -> Sizes {
        self.sizes
    }
}
