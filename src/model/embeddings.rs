use super::config::{BertConfig, Shape};
use super::encoder::Sizes;
use crate::backend::{Backend, Loader, Lookup};
use crate::batch::Batch;
use crate::error::Result;

/// BERT's embeddings: those of word, position and segment, added and normalised.
#[derive(Debug)]
pub(super) struct Embeddings<B: Backend> {
    words: B::Table,     // (V, E)
    positions: B::Table, // (P, E)
    segments: B::Table,  // (S, E)
    norm: B::Norm,
    sizes: Sizes,
}

impl<B: Backend> Embeddings<B> {
    /// Those below `at`, `width` wide.
    pub(super) fn load(
        at: &Loader<'_, B>,
        config: &BertConfig,
        shape: &Shape,
        width: usize,
    ) -> Result<Self> {
        let (positions, segments) = (config.max_position_embeddings, config.type_vocab_size);
        Ok(Self {
            words: at.table("word_embeddings", shape.vocab, width)?,
            positions: at.table("position_embeddings", positions, width)?,
            segments: at.table("token_type_embeddings", segments, width)?,
            norm: at.layer_norm("LayerNorm", width, shape.eps)?,
            sizes: Sizes { hidden: shape.hidden, vocab: shape.vocab, segments, positions },
        })
    }

    // -> (N, E)
    pub(super) fn forward(&self, pass: &B::Pass<'_>, batch: &Batch) -> Result<B::Rows> {
        let lookups = [
            Lookup::new(&self.words, &batch.ids),
            Lookup::new(&self.positions, &batch.positions),
            Lookup::new(&self.segments, &batch.type_ids),
        ];
        B::embed(pass, &lookups, Some(&self.norm))
    }

    /// What a model with these embeddings takes and gives.
    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }
}
