//! MPNet (Song et al. 2020, arXiv:2004.09297): BERT with a bias by the distance between tokens.
//!
//! Source: transformers `models/mpnet/modeling_mpnet.py` at v5.23.

use std::borrow::Cow;

use serde::Deserialize;

use super::config::{self, BERT_NAMES, Shape};
use super::encoder::{Architecture, Sizes};
use super::layer::{self, Layer};
use super::offset::Positions;
use crate::backend::{Activation, Attention, Backend, Loader, Lookup, Relative};
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

#[derive(Debug, Deserialize)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "thirty_two")]
    relative_attention_num_buckets: usize,
    #[serde(default = "config::tiny")]
    layer_norm_eps: f32,
    #[serde(default = "config::gelu")]
    hidden_act: String,
}

fn thirty_two() -> usize {
    32
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
        // Upstream's code has 32 in the place where it uses them.
        if self.relative_attention_num_buckets != thirty_two() {
            return Err(format!(
                "config.json: relative_attention_num_buckets {} is not supported; 32 is",
                self.relative_attention_num_buckets
            ));
        }
        Ok(shape)
    }
}

#[derive(Debug)]
pub(super) struct MpNet<B: Backend> {
    shape: Shape,
    activation: Activation,
    words: B::Table, // (V, H)
    positions: Positions<B>,
    norm: B::Norm,
    bias: B::Table, // (heads, 2P - 1)
    layers: Vec<Layer<B>>,
    max_positions: usize,
}

impl<B: Backend> MpNet<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let config: Config = config::parse(config, "an MPNet").map_err(bad)?;
        let shape = config.shape().map_err(bad)?;
        let activation = config::activation("hidden_act", &config.hidden_act).map_err(bad)?;
        let rows = config.max_position_embeddings;
        let capacity = Positions::<B>::capacity(rows, PAD).map_err(bad)?;
        let at = weights.under(&["", "mpnet."], "embeddings.word_embeddings.weight");
        let (below, encoder) = (at.at("embeddings"), at.at("encoder"));
        let buckets = config.relative_attention_num_buckets;
        let positions = Positions::load(&below, rows, shape.hidden, PAD)?;
        let name = "relative_attention_bias.weight";
        let by_bucket = encoder.values(name, &[buckets, shape.heads])?;
        let bias = by_distance(&by_bucket, shape.heads, capacity);
        Ok(Self {
            shape,
            activation,
            words: below.table("word_embeddings", shape.vocab, shape.hidden)?,
            positions,
            norm: below.layer_norm("LayerNorm", shape.hidden, shape.eps)?,
            bias: at.backend().table(Cow::Owned(bias), 2 * capacity - 1)?,
            layers: Layer::load_all(&encoder.at("layer"), &LAYER, &shape)?,
            max_positions: capacity,
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
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch) -> Result<B::Rows> {
        let positions = self.positions.of(batch);
        let lookups = [Lookup::new(&self.words, &batch.ids), self.positions.lookup(&positions)];
        let mut x = B::embed(pass, &lookups, Some(&self.norm))?;
        let attention = Attention {
            relative: Relative::Bias(&self.bias),
            ..Attention::plain(self.shape.heads, self.shape.hidden)
        };
        for layer in &self.layers {
            x = layer.forward(pass, x, &attention, self.activation)?;
        }
        Ok(x)
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            hidden: self.shape.hidden,
            vocab: self.shape.vocab,
            segments: usize::MAX,
            positions: self.max_positions,
        }
    }
}
