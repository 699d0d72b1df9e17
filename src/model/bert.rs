//! BERT (Devlin et al. 2018, arXiv:1810.04805).
//!
//! Source: transformers `models/bert/modeling_bert.py` at v5.23.

use super::config::{self, BertConfig};
use super::embeddings::Embeddings;
use super::encoder::{Architecture, Sizes};
use super::layer::{self, Stack};
use crate::backend::{Backend, Loader, Relative};
use crate::batch::Batch;
use crate::error::Result;

#[derive(Debug)]
pub(super) struct Bert<B: Backend> {
    embeddings: Embeddings<B>,
    layers: Stack<B>,
}

impl<B: Backend> Bert<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let config: BertConfig = config::parse(config, "a BERT").map_err(bad)?;
        let shape = config.shape().map_err(bad)?;
        let activation = config.activation("gelu").map_err(bad)?;
        let at = weights.under(&["", "bert."], "embeddings.word_embeddings.weight");
        let layers = at.at("encoder.layer");
        Ok(Self {
            embeddings: Embeddings::load(&at.at("embeddings"), &config, &shape, shape.hidden)?,
            layers: Stack::load(&layers, &layer::BERT, &shape, shape.layers, activation)?,
        })
    }
}

impl<B: Backend> Architecture<B> for Bert<B> {
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch, only: Option<&[u32]>) -> Result<B::Rows> {
        let x = self.embeddings.forward(pass, batch)?;
        self.layers.forward(pass, x, Relative::None, only)
    }

    fn sizes(&self) -> Sizes {
        self.embeddings.sizes()
    }
}
