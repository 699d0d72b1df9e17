//! BERT (Devlin et al. 2018, arXiv:1810.04805).
//!
//! Source: transformers `models/bert/modeling_bert.py` at v5.23. Sequences lie flat, `(N, H)`, so that
//! projections, norms and activations do no padding work; attention runs over texts of one length.

use candle_core::{D, Tensor};
use serde::Deserialize;

use super::encoder::Encoder;
use super::weights::Weights;
use crate::batch::{Batch, Run};
use crate::error::{Error, Result};
use crate::kernels::{Activation, Norm, add, add_norm, bias_activation, scale_softmax};

#[derive(Debug, Deserialize)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    #[serde(default = "tiny")]
    layer_norm_eps: f32,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default = "absolute")]
    position_embedding_type: String,
}

fn two() -> usize {
    2
}

fn tiny() -> f32 {
    1e-12
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn absolute() -> String {
    "absolute".to_owned()
}

#[derive(Debug)]
pub(super) struct Bert {
    config: Config,
    activation: Activation,
    words: Tensor,     // (V, H)
    positions: Tensor, // (P, H)
    segments: Tensor,  // (S, H)
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    qkv: Linear,      // (H, 3H): the three projections as one product
    attended: Tensor, // (H, H); its bias is in the norm after it, as is that of `down`
    attended_norm: Norm,
    up: Linear,   // (H, I)
    down: Tensor, // (I, H)
    down_norm: Norm,
}

#[derive(Debug)]
struct Linear {
    weight: Tensor, // (in, out), as the product reads it
    bias: Tensor,   // (out,)
}

impl Bert {
    pub(super) fn load(config: &serde_json::Value, weights: &Weights<'_>) -> Result<Self> {
        let bad = |reason: String| Error::model(weights.origin(), reason);
        let config: Config = serde_json::from_value(config.clone())
            .map_err(|e| bad(format!("config.json does not describe a BERT model ({e})")))?;
        config.check().map_err(bad)?;
        let activation = match config.hidden_act.as_str() {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            other => {
                let reason = format!(
                    "hidden_act '{other}' is not supported; gelu, gelu_new, gelu_pytorch_tanh and relu are"
                );
                return Err(Error::model(weights.origin(), reason));
            }
        };
        let words = "embeddings.word_embeddings.weight";
        let prefix = weights.prefix(&["", "bert."], words).unwrap_or("");
        let (h, eps) = (config.hidden_size, config.layer_norm_eps);
        let table = |name: &str, rows: usize| {
            weights.get(&[&format!("{prefix}embeddings.{name}.weight")], &[rows, h])
        };
        Ok(Self {
            words: table("word_embeddings", config.vocab_size)?,
            positions: table("position_embeddings", config.max_position_embeddings)?,
            segments: table("token_type_embeddings", config.type_vocab_size)?,
            norm: embedding_norm(weights, &format!("{prefix}embeddings.LayerNorm"), h, eps)?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::load(weights, &format!("{prefix}encoder.layer.{i}"), &config))
                .collect::<Result<_>>()?,
            activation,
            config,
        })
    }

    fn hidden_states(&self, batch: &Batch) -> candle_core::Result<Tensor> {
        let device = self.words.device();
        let rows = |ids: &[u32]| Tensor::from_slice(ids, ids.len(), device);
        let x = self.words.index_select(&rows(&batch.ids)?, 0)?; // (N, H)
        let x = add(x, &self.positions.index_select(&rows(&batch.positions)?, 0)?)?;
        let segments = self.segments.index_select(&rows(&batch.type_ids)?, 0)?;
        let mut x = add_norm(x, &segments, &self.norm)?;
        let runs = batch.runs();
        for layer in &self.layers {
            x = layer.forward(&x, &runs, self.config.num_attention_heads, self.activation)?;
        }
        Ok(x)
    }
}

impl Encoder for Bert {
    fn forward(&self, batch: &Batch) -> Result<Tensor> {
        self.hidden_states(batch)
            .map_err(|e| Error::internal(format!("the BERT forward pass failed: {e}")))
    }

    fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn type_vocab_size(&self) -> usize {
        self.config.type_vocab_size
    }

    fn max_positions(&self) -> usize {
        self.config.max_position_embeddings
    }
}

impl Config {
    /// Bounds before any memory is taken for what a hostile config claims.
    fn check(&self) -> Result<(), String> {
        let bounds = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 16),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 10),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 20),
            ("type_vocab_size", self.type_vocab_size, 1 << 10),
        ];
        for (name, value, most) in bounds {
            if value == 0 || value > most {
                return Err(format!("config.json: {name} is {value}, it must be 1 to {most}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(format!(
                "config.json: hidden_size {} is not a multiple of num_attention_heads {}",
                self.hidden_size, self.num_attention_heads
            ));
        }
        if self.is_decoder {
            return Err("config.json: is_decoder is true; encoders are supported".to_owned());
        }
        if self.position_embedding_type != "absolute" {
            return Err(format!(
                "config.json: position_embedding_type '{}' is not supported; absolute is",
                self.position_embedding_type
            ));
        }
        if !(self.layer_norm_eps.is_finite() && self.layer_norm_eps > 0.0) {
            return Err("config.json: layer_norm_eps must be a positive number".to_owned());
        }
        Ok(())
    }
}

impl Layer {
    fn load(weights: &Weights<'_>, at: &str, config: &Config) -> Result<Self> {
        let (h, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let attention = format!("{at}.attention");
        let project = |name: &str| Linear::load(weights, &format!("{attention}.self.{name}"), h, h);
        let attended = Linear::load(weights, &format!("{attention}.output.dense"), h, h)?;
        let down = Linear::load(weights, &format!("{at}.output.dense"), inner, h)?;
        let norm = |name: &str, before: &Tensor| load_norm(weights, name, before, h, eps);
        Ok(Self {
            qkv: Linear::concat(&[project("query")?, project("key")?, project("value")?])?,
            attended_norm: norm(&format!("{attention}.output.LayerNorm"), &attended.bias)?,
            attended: attended.weight,
            up: Linear::load(weights, &format!("{at}.intermediate.dense"), h, inner)?,
            down_norm: norm(&format!("{at}.output.LayerNorm"), &down.bias)?,
            down: down.weight,
        })
    }

    // (N, H) -> (N, H)
    fn forward(
        &self,
        x: &Tensor,
        runs: &[Run],
        heads: usize,
        activation: Activation,
    ) -> candle_core::Result<Tensor> {
        let qkv = self.qkv.forward(x, Activation::Identity)?;
        let attended = attention(&qkv, runs, heads)?.matmul(&self.attended)?;
        let x = add_norm(attended, x, &self.attended_norm)?;
        let inner = self.up.forward(&x, activation)?; // (N, I)
        add_norm(inner.matmul(&self.down)?, &x, &self.down_norm)
    }
}

// (N, 3H) -> (N, H), one run of equally long texts at a time: no mask, no padding.
fn attention(qkv: &Tensor, runs: &[Run], heads: usize) -> candle_core::Result<Tensor> {
    let hidden = qkv.dim(D::Minus1)? / 3;
    let head = hidden / heads;
    #[allow(clippy::cast_precision_loss)] // a head is far narrower than 2^24
    let scale = 1.0 / (head as f32).sqrt();
    let mut contexts = Vec::with_capacity(runs.len());
    for run in runs {
        let part = qkv
            .narrow(0, run.tokens.start, run.tokens.len())?
            .reshape((run.texts, run.length, 3, heads, head))?
            .permute((2, 0, 3, 1, 4))? // (3, B, heads, T, head)
            .contiguous()?;
        let scores = part.get(0)?.matmul(&part.get(1)?.t()?)?; // (B, heads, T, T)
        let context = scale_softmax(scores, scale)?.matmul(&part.get(2)?)?; // (B, heads, T, head)
        contexts.push(context.transpose(1, 2)?.reshape((run.tokens.len(), hidden))?);
    }
    match contexts.len() {
        1 => Ok(contexts.swap_remove(0)),
        _ => Tensor::cat(&contexts, 0),
    }
}

impl Linear {
    fn load(weights: &Weights<'_>, at: &str, input: usize, output: usize) -> Result<Self> {
        let weight = weights.get(&[&format!("{at}.weight")], &[output, input])?;
        let weight = weight.t().and_then(|w| w.contiguous()).map_err(device_failed)?;
        Ok(Self { weight, bias: weights.get(&[&format!("{at}.bias")], &[output])? })
    }

    /// Layers that read the same input as one.
    fn concat(parts: &[Self]) -> Result<Self> {
        let weights: Vec<&Tensor> = parts.iter().map(|part| &part.weight).collect();
        let biases: Vec<&Tensor> = parts.iter().map(|part| &part.bias).collect();
        Ok(Self {
            weight: Tensor::cat(&weights, 1).map_err(device_failed)?,
            bias: Tensor::cat(&biases, 0).map_err(device_failed)?,
        })
    }

    fn forward(&self, x: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
        bias_activation(x.matmul(&self.weight)?, &self.bias, activation)
    }
}

fn embedding_norm(weights: &Weights<'_>, at: &str, width: usize, eps: f32) -> Result<Norm> {
    let gain = norm_part(weights, at, ["weight", "gamma"], width)?;
    load_norm(weights, at, &gain.zeros_like().map_err(device_failed)?, width, eps)
}

fn load_norm(
    weights: &Weights<'_>,
    at: &str,
    before: &Tensor,
    width: usize,
    eps: f32,
) -> Result<Norm> {
    let gain = norm_part(weights, at, ["weight", "gamma"], width)?;
    let bias = norm_part(weights, at, ["bias", "beta"], width)?;
    Norm::new(before, &gain, &bias, eps).map_err(device_failed)
}

/// Checkpoints that were converted from TensorFlow call them gamma and beta.
fn norm_part(weights: &Weights<'_>, at: &str, names: [&str; 2], width: usize) -> Result<Tensor> {
    let [new, old] = names.map(|name| format!("{at}.{name}"));
    weights.get(&[&new, &old], &[width])
}

#[allow(clippy::needless_pass_by_value)] // as map_err calls it
fn device_failed(error: candle_core::Error) -> Error {
    Error::internal(format!("weights cannot be laid out on the device: {error}"))
}
