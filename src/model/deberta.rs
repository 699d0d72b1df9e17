//! DeBERTa-v2 and -v3 (He et al. 2020, arXiv:2006.03654; 2021, arXiv:2111.09543): attention to contents and to
//! relative positions, each on its own.
//!
//! Source: transformers `models/deberta_v2/modeling_deberta_v2.py` at v5.23.

use std::borrow::Cow;

use serde::Deserialize;

use super::config::{self, BERT_NAMES, Bounds, Shape};
use super::encoder::{Architecture, Sizes};
use super::layer::{self, Layer, last};
use crate::backend::{
    Activation, Attention, Backend, Dense, Loader, Lookup, Relative, normalized, projected,
};
use crate::batch::Batch;
use crate::error::Result;

const LAYER: layer::Names = layer::Names {
    query: "attention.self.query_proj",
    key: "attention.self.key_proj",
    value: "attention.self.value_proj",
    ..layer::BERT
};

#[derive(Debug, Deserialize)]
struct Config {
    vocab_size: usize,
    embedding_size: Option<usize>,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    attention_head_size: Option<usize>,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
    #[serde(default = "small")]
    layer_norm_eps: f32,
    #[serde(default = "config::gelu")]
    hidden_act: String,
    #[serde(default)]
    relative_attention: bool,
    #[serde(default = "unset")]
    max_relative_positions: i64,
    #[serde(default = "unset")]
    position_buckets: i64,
    #[serde(default)]
    share_att_key: bool,
    pos_att_type: Option<OneOrMore>,
    #[serde(default = "yes")]
    position_biased_input: bool,
    #[serde(default)]
    norm_rel_ebd: String,
    #[serde(default)]
    conv_kernel_size: usize,
    #[serde(default = "one")]
    conv_groups: usize,
    #[serde(default = "tanh")]
    conv_act: String,
}

/// Written as a list, or as `c2p|p2c`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn small() -> f32 {
    1e-7
}

fn unset() -> i64 {
    -1
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn tanh() -> String {
    "tanh".to_owned()
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
        Bounds::WIDTH.check("embedding_size", self.embedding_size())?;
        let positions =
            if self.position_biased_input { Bounds::POSITIONS } else { Bounds::COMPUTED_POSITIONS };
        positions.check("max_position_embeddings", self.max_position_embeddings)?;
        if self.type_vocab_size > 0 {
            Bounds::SEGMENTS.check("type_vocab_size", self.type_vocab_size)?;
        }
        if self.attention_head_size.is_some_and(|size| size != shape.hidden / shape.heads) {
            return Err(
                "config.json: attention_head_size must be hidden_size over heads".to_owned()
            );
        }
        if self.conv_kernel_size > 0 {
            Bounds { most: 64 }.check("conv_kernel_size", self.conv_kernel_size)?;
            Bounds { most: shape.hidden }.check("conv_groups", self.conv_groups)?;
            let whole = shape.hidden.is_multiple_of(self.conv_groups);
            if self.conv_kernel_size.is_multiple_of(2) || !whole {
                return Err(format!(
                    "config.json: conv_kernel_size {} must be odd, and conv_groups {} divide hidden_size",
                    self.conv_kernel_size, self.conv_groups
                ));
            }
        }
        Ok(shape)
    }

    fn embedding_size(&self) -> usize {
        self.embedding_size.unwrap_or(self.hidden_size)
    }

    fn attends(&self, kind: &str) -> bool {
        match &self.pos_att_type {
            None => false,
            Some(OneOrMore::One(kinds)) => {
                kinds.split('|').any(|k| k.trim().eq_ignore_ascii_case(kind))
            }
            Some(OneOrMore::More(kinds)) => kinds.iter().any(|k| k == kind),
        }
    }

    /// The furthest distance, and the number of buckets on each side, of which there may be no limit of their own.
    fn span(&self) -> Result<(usize, usize), String> {
        let furthest = match usize::try_from(self.max_relative_positions) {
            Err(_) | Ok(0) => self.max_position_embeddings,
            Ok(furthest) => furthest,
        };
        let buckets = usize::try_from(self.position_buckets).unwrap_or(0);
        Bounds::POSITIONS.check("max_relative_positions", furthest)?;
        if buckets == 0 {
            return Ok((furthest, furthest));
        }
        // Below, the logarithm of the bucket formula is not defined.
        if buckets < 2 || furthest <= buckets / 2 + 1 {
            return Err(format!(
                "config.json: position_buckets is {buckets}, max_relative_positions {furthest}; \
                 there must be at least 2 buckets, and twice as many positions"
            ));
        }
        Ok((furthest, buckets))
    }
}

#[derive(Debug)]
pub(super) struct Deberta<B: Backend> {
    shape: Shape,
    activation: Activation,
    scale: f32,
    words: B::Table,             // (V, E)
    positions: Option<B::Table>, // (P, E)
    segments: Option<B::Table>,  // (S, E)
    project: Option<B::Linear>,  // (E, H), where E is not H
    norm: B::Norm,
    layers: Vec<Layer<B>>,
    met: Vec<Positions<B>>,
    buckets: Vec<u32>, // (2P - 1,)
    convolution: Option<Convolution<B>>,
    sizes: Sizes,
}

/// A layer's projections of relative positions: they do not depend on the text.
#[derive(Debug)]
struct Positions<B: Backend> {
    keys: Option<B::Table>,    // (2S, H)
    queries: Option<B::Table>, // (2S, H)
}

/// v2's convolution over tokens beside the first layer.
#[derive(Debug)]
struct Convolution<B: Backend> {
    weight: B::Linear, // (kernel H, H)
    activation: Activation,
    norm: B::Norm,
    kernel: usize,
}

impl<B: Backend> Deberta<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let config: Config = config::parse(config, "a DeBERTa-v2").map_err(bad)?;
        let shape = config.shape().map_err(bad)?;
        let span = config.span().map_err(bad)?;
        let activation = config::activation("hidden_act", &config.hidden_act).map_err(bad)?;
        let at = weights.under(&["", "deberta."], "embeddings.word_embeddings.weight");
        let (below, encoder) = (at.at("embeddings"), at.at("encoder"));
        let (hidden, wide) = (shape.hidden, config.embedding_size());
        let (positions, segments) = (config.max_position_embeddings, config.type_vocab_size);
        let project = || below.linear_without_bias("embed_proj", wide, hidden);
        let relative = config.relative_attention;
        let layers = encoder.at("layer");
        let layer = |i: usize| Layer::load(&layers.at(i), &LAYER, &shape);
        Ok(Self {
            shape,
            activation,
            scale: scale(&config, &shape),
            words: below.table("word_embeddings", shape.vocab, wide)?,
            positions: config
                .position_biased_input
                .then(|| below.table("position_embeddings", positions, wide))
                .transpose()?,
            segments: (segments > 0)
                .then(|| below.table("token_type_embeddings", segments, wide))
                .transpose()?,
            project: (wide != hidden).then(project).transpose()?,
            norm: below.layer_norm("LayerNorm", hidden, shape.eps)?,
            layers: (0..shape.layers).map(layer).collect::<Result<_>>()?,
            met: if relative { positions_met(&encoder, &config, &shape, span.1)? } else { vec![] },
            buckets: if relative { buckets(positions, span) } else { vec![] },
            convolution: (config.conv_kernel_size > 0)
                .then(|| Convolution::load(&encoder.at("conv"), &config))
                .transpose()?,
            sizes: Sizes {
                hidden,
                vocab: shape.vocab,
                segments: if segments > 0 { segments } else { usize::MAX },
                positions,
            },
        })
    }

    fn attention(&self, layer: usize) -> Attention<'_, B> {
        let relative = match self.met.get(layer) {
            Some(met) => Relative::Disentangled {
                keys: met.keys.as_ref(),
                queries: met.queries.as_ref(),
                buckets: &self.buckets,
            },
            None => Relative::None,
        };
        let plain = Attention::plain(self.shape.heads, self.shape.hidden);
        Attention { scale: self.scale, relative, ..plain }
    }
}

/// Each kind of attention takes its share of the scale.
#[allow(clippy::cast_precision_loss)] // a head is far narrower than 2^24
fn scale(config: &Config, shape: &Shape) -> f32 {
    let kinds = 1 + ["c2p", "p2c"].iter().filter(|kind| config.attends(kind)).count();
    1.0 / ((shape.hidden / shape.heads * kinds) as f32).sqrt()
}

/// The row of the relative embeddings for query - key = 1 - reach .. reach - 1.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn buckets(reach: usize, (furthest, span): (usize, usize)) -> Vec<u32> {
    let middle = span / 2;
    let size = |distance: usize| -> usize {
        if span == furthest || distance <= middle {
            return distance;
        }
        let middle = middle as f32;
        let share = (distance as f32 / middle).ln() / ((furthest - 1) as f32 / middle).ln();
        (share * (middle - 1.0)).ceil() as usize + span / 2
    };
    let last = 2 * span - 1;
    let before = (1..reach).rev().map(|distance| span.saturating_sub(size(distance)));
    let after = (0..reach).map(|distance| (span + size(distance)).min(last));
    before.chain(after).map(|row| row as u32).collect()
}

fn positions_met<B: Backend>(
    encoder: &Loader<'_, B>,
    config: &Config,
    shape: &Shape,
    span: usize,
) -> Result<Vec<Positions<B>>> {
    let &Shape { hidden, eps, .. } = shape;
    let mut relative = encoder.values("rel_embeddings.weight", &[2 * span, hidden])?.into_owned();
    if config.norm_rel_ebd.to_lowercase().split('|').any(|norm| norm.trim() == "layer_norm") {
        let (gain, bias) = encoder.norm_values("LayerNorm", hidden)?;
        normalized(&mut relative, &gain, &bias, eps)?;
    }
    let (key, query) = if config.share_att_key {
        ("key_proj", "query_proj")
    } else {
        ("pos_key_proj", "pos_query_proj")
    };
    let layer = |i: usize| -> Result<Positions<B>> {
        let at = encoder.at("layer").at(i).at("attention.self");
        let side = |kind: &str, name: &str| -> Result<Option<B::Table>> {
            if !config.attends(kind) {
                return Ok(None);
            }
            let rows = projected(&relative, &at.dense(name, hidden, hidden, true)?)?;
            at.backend().table(Cow::Owned(rows), hidden).map(Some)
        };
        Ok(Positions { keys: side("c2p", key)?, queries: side("p2c", query)? })
    };
    (0..shape.layers).map(layer).collect()
}

impl<B: Backend> Convolution<B> {
    fn load(at: &Loader<'_, B>, config: &Config) -> Result<Self> {
        let (hidden, kernel) = (config.hidden_size, config.conv_kernel_size);
        let within = hidden / config.conv_groups;
        let weight = at.values("conv.weight", &[hidden, within, kernel])?;
        // A linear layer over a token and its neighbours; groups see zeros where they do not look.
        let mut dense = vec![0.0; hidden * kernel * hidden];
        for (o, row) in dense.chunks_exact_mut(kernel * hidden).enumerate() {
            let first = o / within * within;
            for i in 0..within {
                for k in 0..kernel {
                    row[k * hidden + first + i] = weight[(o * within + i) * kernel + k];
                }
            }
        }
        let bias = Some(at.values("conv.bias", &[hidden])?);
        let (weight, input) = (dense.into(), kernel * hidden);
        let activation = config::activation("conv_act", &config.conv_act);
        Ok(Self {
            weight: at.backend().pack(&Dense { weight, bias, input, output: hidden })?,
            activation: activation.map_err(|reason| at.weights().bad(reason))?,
            norm: at.layer_norm("LayerNorm", hidden, config.layer_norm_eps)?,
            kernel,
        })
    }

    // the first layer's input and output, both (N, H) -> (N, H)
    fn forward(&self, pass: &B::Pass<'_>, x: &B::Rows, layer: &B::Rows) -> Result<B::Rows> {
        let neighbours = B::unfold(pass, x, self.kernel)?; // (N, kernel H)
        let y = B::linear(pass, &neighbours, &self.weight, self.activation)?;
        B::norm(pass, &B::add(pass, y, layer)?, &self.norm)
    }
}

impl<B: Backend> Architecture<B> for Deberta<B> {
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch, only: Option<&[u32]>) -> Result<B::Rows> {
        let mut lookups = vec![Lookup::new(&self.words, &batch.ids)];
        lookups.extend(self.positions.as_ref().map(|t| Lookup::new(t, &batch.positions)));
        lookups.extend(self.segments.as_ref().map(|t| Lookup::new(t, &batch.type_ids)));
        let mut x = match &self.project {
            None => B::embed(pass, &lookups, Some(&self.norm))?,
            Some(project) => {
                let x = B::embed(pass, &lookups, None)?;
                let x = B::linear(pass, &x, project, Activation::Identity)?;
                B::norm(pass, &x, &self.norm)?
            }
        };
        for (i, (layer, only)) in last(&self.layers, only).enumerate() {
            let attention = self.attention(i);
            let Some(convolution) = self.convolution.as_ref().filter(|_| i == 0) else {
                x = layer.forward(pass, x, &attention, self.activation, only)?;
                continue;
            };
            let all: Vec<u32> = (0..).take(batch.ids.len()).collect();
            let copy = B::select(pass, &x, &all)?;
            let y = layer.forward(pass, copy, &attention, self.activation, None)?;
            x = convolution.forward(pass, &x, &y)?;
            if let Some(rows) = only {
                x = B::select(pass, &x, rows)?;
            }
        }
        Ok(x)
    }

    fn sizes(&self) -> Sizes {
        self.sizes
    }
}
