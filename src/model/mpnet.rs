//! MPNet (Song et al. 2020, arXiv:2004.09297): BERT with a bias by the distance between tokens.
//!
//! Source: transformers `models/mpnet/modeling_mpnet.py` at v5.23.

use std::borrow::Cow;

use serde::Deserialize;

use super::config::{self, BertConfig};
use super::encoder::{Architecture, Sizes};
use super::layer::{self, Stack};
use super::offset::Positions;
use crate::backend::{Backend, Loader, Lookup, Relative};
use crate::batch::Batch;
use crate::error::Result;

/// Not in the config: upstream has it in its code, whatever `pad_token_id` says.
const PAD: u32 = 1;

/// Distance from which all keys share a bucket.
const MAX_DISTANCE: f32 = 128.0;

const LAYER: layer::Names = layer::Names {
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    attended: "attention.attn.o",
    attended_norm: "attention.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    down_norm: "output.LayerNorm",
};

/// Upstream's code has this number in the place where it uses it.
const BUCKETS: usize = 32;

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(flatten)]
    bert: BertConfig,
    #[serde(default = "buckets")]
    relative_attention_num_buckets: usize,
}

fn buckets() -> usize {
    BUCKETS
}

impl Config {
    fn check(&self) -> Result<(), String> {
        match self.relative_attention_num_buckets {
            BUCKETS => Ok(()),
            other => Err(format!(
                "config.json: relative_attention_num_buckets {other} is not supported; {BUCKETS} is"
            )),
        }
    }
}

#[derive(Debug)]
pub(super) struct MpNet<B: Backend> {
    words: B::Table, // (V, H)
    positions: Positions<B>,
    norm: B::Norm,
    bias: B::Table, // (heads, 2P - 1)
    layers: Stack<B>,
    sizes: Sizes,
}

impl<B: Backend> MpNet<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let config: Config = config::parse(config, "an MPNet").map_err(bad)?;
        let shape = config.bert.shape().map_err(bad)?;
        config.check().map_err(bad)?;
        let activation = config.bert.activation("gelu").map_err(bad)?;
        let rows = config.bert.max_position_embeddings;
        let capacity = Positions::<B>::capacity(rows, PAD).map_err(bad)?;
        let at = weights.under(&["", "mpnet."], "embeddings.word_embeddings.weight");
        let (below, encoder) = (at.at("embeddings"), at.at("encoder"));
        let hidden = shape.hidden;
        let positions = Positions::load(&below, rows, hidden, PAD)?;
        let name = "relative_attention_bias.weight";
        let by_bucket = encoder.values(name, &[BUCKETS, shape.heads])?;
        let bias = by_distance(&by_bucket, shape.heads, capacity);
        let layers = encoder.at("layer");
        Ok(Self {
            words: below.table("word_embeddings", shape.vocab, hidden)?,
            positions,
            norm: below.layer_norm("LayerNorm", hidden, shape.eps)?,
            bias: at.backend().table(Cow::Owned(bias), 2 * capacity - 1)?,
            layers: Stack::load(&layers, &LAYER, &shape, shape.layers, activation)?,
            sizes: Sizes { hidden, vocab: shape.vocab, segments: usize::MAX, positions: capacity },
        })
    }
}

// (buckets, heads) -> (heads, 2 reach - 1), for key - query = 1 - reach .. reach - 1
fn by_distance(by_bucket: &[f32], heads: usize, reach: usize) -> Vec<f32> {
    let buckets = by_bucket.len() / heads;
    let mut bias = Vec::with_capacity(heads * (2 * reach - 1));
    for head in 0..heads {
        let of = |bucket: usize| by_bucket[bucket * heads + head];
        bias.extend((1..reach).rev().map(|before| of(bucket(before, false, buckets))));
        bias.extend((0..reach).map(|after| of(bucket(after, true, buckets))));
    }
    bias
}

/// The bucket of a key that stands so far before or after its query: exact nearby, logarithmic further away.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn bucket(distance: usize, after: bool, buckets: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let within = if distance < exact {
        distance
    } else {
        let share = (distance as f32 / exact as f32).ln() / (MAX_DISTANCE / exact as f32).ln();
        (exact + (share * (half - exact) as f32) as usize).min(half - 1)
    };
    within + if after && distance > 0 { half } else { 0 }
}

impl<B: Backend> Architecture<B> for MpNet<B> {
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch, only: Option<&[u32]>) -> Result<B::Rows> {
        let positions = self.positions.of(batch);
        let lookups = [Lookup::new(&self.words, &batch.ids), self.positions.lookup(&positions)];
        let x = B::embed(pass, &lookups, Some(&self.norm))?;
        self.layers.forward(pass, x, Relative::Bias(&self.bias), only)
    }

    fn sizes(&self) -> Sizes {
        self.sizes
    }
}
