//! ELECTRA's discriminator (Clark et al. 2020, arXiv:2003.10555): BERT with embeddings of a width of their own.
//!
//! Source: transformers `models/electra/modeling_electra.py` at v5.23.

use serde::Deserialize;

use super::config::{self, BertConfig, Bounds};
use super::embeddings::Embeddings;
use super::encoder::{Architecture, Sizes};
use super::layer::{self, Stack};
use crate::backend::{Activation, Backend, Loader, Relative};
use crate::batch::Batch;
use crate::error::Result;

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(flatten)]
    bert: BertConfig,
    embedding_size: usize,
}

#[derive(Debug)]
pub(super) struct Electra<B: Backend> {
    embeddings: Embeddings<B>,
    project: Option<B::Linear>, // (E, H), where E is not H
    layers: Stack<B>,
}

impl<B: Backend> Electra<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let config: Config = config::parse(config, "an ELECTRA").map_err(bad)?;
        let shape = config.bert.shape().map_err(bad)?;
        let activation = config.bert.activation("gelu").map_err(bad)?;
        let (hidden, wide) = (shape.hidden, config.embedding_size);
        Bounds::WIDTH.check("embedding_size", wide).map_err(bad)?;
        let at = weights.under(&["", "electra."], "embeddings.word_embeddings.weight");
        let project = || at.linear("embeddings_project", wide, hidden);
        let layers = at.at("encoder.layer");
        Ok(Self {
            embeddings: Embeddings::load(&at.at("embeddings"), &config.bert, &shape, wide)?,
            project: (wide != hidden).then(project).transpose()?,
            layers: Stack::load(&layers, &layer::BERT, &shape, shape.layers, activation)?,
        })
    }
}

impl<B: Backend> Architecture<B> for Electra<B> {
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch, only: Option<&[u32]>) -> Result<B::Rows> {
        let mut x = self.embeddings.forward(pass, batch)?;
        if let Some(project) = &self.project {
            x = B::linear(pass, &x, project, Activation::Identity)?;
        }
        self.layers.forward(pass, x, Relative::None, only)
    }

    fn sizes(&self) -> Sizes {
        self.embeddings.sizes()
    }
}
