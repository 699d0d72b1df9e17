//! ModernBERT (Warner et al. 2024, arXiv:2412.13663): pre-norm, rotary positions, gated linear units, and
//! layers that look at their neighbourhood between those that look at all of the text.
//!
//! Source: transformers `models/modernbert/modeling_modernbert.py` at v5.23.

use serde::Deserialize;
use serde_json::Value;

use super::config::{self, BERT_NAMES, Bounds, Names, Shape};
use super::encoder::{Architecture, Sizes};
use super::layer::{last, wanted};
use super::rotary;
use crate::backend::{Activation, Attention, Backend, Loader, Lookup};
use crate::batch::Batch;
use crate::error::Result;

const CONFIG_NAMES: Names = Names { eps: "norm_eps", ..BERT_NAMES };

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

#[derive(Debug, Deserialize)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "small")]
    norm_eps: f32,
    #[serde(default)]
    norm_bias: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default = "config::gelu")]
    hidden_activation: String,
    #[serde(default = "window")]
    local_attention: usize,
    /// Since transformers 5; before, every so many layers was a global one.
    layer_types: Option<Vec<String>>,
    #[serde(default = "three")]
    global_attn_every_n_layers: usize,
    rope_parameters: Option<Value>,
    #[serde(default = "global_theta")]
    global_rope_theta: f64,
    local_rope_theta: Option<f64>,
}

fn small() -> f32 {
    1e-5
}

fn window() -> usize {
    128
}

fn three() -> usize {
    3
}

fn global_theta() -> f64 {
    160_000.0
}

const LOCAL_THETA: f64 = 10_000.0;

impl Config {
    fn shape(&self) -> Result<Shape, String> {
        let shape = Shape {
            vocab: self.vocab_size,
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            inner: self.intermediate_size,
            eps: self.norm_eps,
        };
        shape.check(&CONFIG_NAMES)?;
        Bounds::POSITIONS.check("local_attention", self.local_attention)?;
        Ok(shape)
    }

    /// Which layers look at their neighbourhood only.
    fn local_layers(&self) -> Result<Vec<bool>, String> {
        let layers = self.num_hidden_layers;
        let Some(types) = &self.layer_types else {
            Bounds::LAYERS.check("global_attn_every_n_layers", self.global_attn_every_n_layers)?;
            let every = self.global_attn_every_n_layers;
            return Ok((0..layers).map(|i| !i.is_multiple_of(every)).collect());
        };
        if types.len() != layers {
            return Err(format!(
                "config.json: layer_types has {} entries, num_hidden_layers is {layers}",
                types.len()
            ));
        }
        let local = |name: &String| match name.as_str() {
            SLIDING => Ok(true),
            FULL => Ok(false),
            other => Err(format!("config.json: layer type '{other}' is not known")),
        };
        types.iter().map(local).collect()
    }

    fn theta(&self, layer_type: &str, default: f64) -> Result<f64, String> {
        let parameters = self.rope_parameters.as_ref().map(|all| &all[layer_type]);
        rotary::default_only(parameters.and_then(|p| p["rope_type"].as_str()))?;
        Ok(parameters.and_then(|p| p["rope_theta"].as_f64()).unwrap_or(default))
    }
}

#[derive(Debug)]
pub(super) struct ModernBert<B: Backend> {
    shape: Shape,
    activation: Activation,
    words: B::Table, // (V, H)
    norm: B::Norm,
    layers: Vec<Layer<B>>,
    last_norm: B::Norm,
    full: B::Table, // (P, head)
    near: B::Table, // (P, head)
    window: usize,
    max_positions: usize,
}

#[derive(Debug)]
struct Layer<B: Backend> {
    before: Option<B::Norm>, // the first layer's input is normalised already
    qkv: B::Linear,
    attended: B::Linear,
    between: B::Norm,
    up: B::Linear, // (H, 2I)
    down: B::Linear,
    local: bool,
}

impl<B: Backend> ModernBert<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let config: Config = config::parse(config, "a ModernBERT").map_err(bad)?;
        let shape = config.shape().map_err(bad)?;
        let local = config.local_layers().map_err(bad)?;
        let (head, positions) = (shape.hidden / shape.heads, config.max_position_embeddings);
        let angles = |layer_type: &str, default: f64| {
            let theta = config.theta(layer_type, default).map_err(bad)?;
            rotary::check(head, positions, theta).map_err(bad)?;
            rotary::angles(weights.backend(), head, positions, theta)
        };
        let activation = config::activation("hidden_activation", &config.hidden_activation);
        let activation = activation.map_err(bad)?;
        let at = weights.under(&["", "model."], "embeddings.tok_embeddings.weight");
        let layers = at.at("layers");
        let words = at.table("embeddings.tok_embeddings", shape.vocab, shape.hidden)?;
        Ok(Self {
            activation,
            words,
            norm: norm(&at, "embeddings.norm", &config)?,
            layers: (0..shape.layers)
                .map(|i| Layer::load(&layers.at(i), &config, i == 0, local[i]))
                .collect::<Result<_>>()?,
            last_norm: norm(&at, "final_norm", &config)?,
            full: angles(FULL, config.global_rope_theta)?,
            near: angles(SLIDING, config.local_rope_theta.unwrap_or(LOCAL_THETA))?,
            window: config.local_attention / 2,
            max_positions: positions,
            shape,
        })
    }

    fn attention(&self, local: bool) -> Attention<'_, B> {
        Attention {
            window: local.then_some(self.window),
            rotary: Some(if local { &self.near } else { &self.full }),
            ..Attention::plain(self.shape.heads, self.shape.hidden)
        }
    }
}

fn norm<B: Backend>(at: &Loader<'_, B>, name: &str, config: &Config) -> Result<B::Norm> {
    if config.norm_bias {
        at.layer_norm(name, config.hidden_size, config.norm_eps)
    } else {
        at.layer_norm_without_bias(name, config.hidden_size, config.norm_eps)
    }
}

impl<B: Backend> Layer<B> {
    fn load(at: &Loader<'_, B>, config: &Config, first: bool, local: bool) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |name: &str, input: usize, output: usize, bias: bool| {
            at.backend().pack(&at.dense(name, input, output, bias)?)
        };
        let before = || norm(at, "attn_norm", config);
        Ok(Self {
            before: (!first).then(before).transpose()?,
            qkv: linear("attn.Wqkv", hidden, 3 * hidden, config.attention_bias)?,
            attended: linear("attn.Wo", hidden, hidden, config.attention_bias)?,
            between: norm(at, "mlp_norm", config)?,
            up: linear("mlp.Wi", hidden, 2 * inner, config.mlp_bias)?,
            down: linear("mlp.Wo", inner, hidden, config.mlp_bias)?,
            local,
        })
    }

    // (N, H) -> (N, H), or (only, H)
    fn forward(
        &self,
        pass: &B::Pass<'_>,
        x: B::Rows,
        model: &ModernBert<B>,
        only: Option<&[u32]>,
    ) -> Result<B::Rows> {
        let linear = |x: &B::Rows, layer| B::linear(pass, x, layer, Activation::Identity);
        let qkv = match &self.before {
            Some(norm) => linear(&B::norm(pass, &x, norm)?, &self.qkv)?,
            None => linear(&x, &self.qkv)?,
        };
        let context = B::attention(pass, qkv, &model.attention(self.local))?;
        let (context, x) = wanted::<B>(pass, context, x, only)?;
        let x = B::linear_add(pass, &context, &self.attended, x)?;
        let both = linear(&B::norm(pass, &x, &self.between)?, &self.up)?; // (N, 2I)
        let inner = B::gate(pass, &both, model.activation)?; // (N, I)
        B::linear_add(pass, &inner, &self.down, x)
    }
}

impl<B: Backend> Architecture<B> for ModernBert<B> {
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch, only: Option<&[u32]>) -> Result<B::Rows> {
        let lookups = [Lookup::new(&self.words, &batch.ids)];
        let mut x = B::embed(pass, &lookups, Some(&self.norm))?;
        for (layer, only) in last(&self.layers, only) {
            x = layer.forward(pass, x, self, only)?;
        }
        B::norm(pass, &x, &self.last_norm)
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
