use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::backend::Activation;

/// Reads the fields that an architecture needs of `config.json`.
pub(super) fn parse<C: DeserializeOwned>(
    config: &serde_json::Value,
    architecture: &str,
) -> Result<C, String> {
    serde_json::from_value(config.clone())
        .map_err(|e| format!("config.json does not describe {architecture} model ({e})"))
}

/// Bounds on what a hostile config claims, before any memory is taken for it.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most of what it bounds.
    pub most: usize,
}

impl Bounds {
    pub const VOCAB: Self = Self { most: 1 << 24 };
    pub const WIDTH: Self = Self { most: 1 << 16 };
    pub const LAYERS: Self = Self { most: 1 << 10 };
    pub const HEADS: Self = Self { most: 1 << 10 };
    pub const INNER: Self = Self { most: 1 << 20 };
    pub const POSITIONS: Self = Self { most: 1 << 20 };
    /// Positions that no tensor of the checkpoint vouches for.
    pub const COMPUTED_POSITIONS: Self = Self { most: 1 << 16 };
    pub const SEGMENTS: Self = Self { most: 1 << 10 };
    pub const LABELS: Self = Self { most: 1 << 16 };

    /// Fails unless `value` is from 1 to the bound.
    pub fn check(self, name: &str, value: usize) -> Result<(), String> {
        if value == 0 || value > self.most {
            return Err(format!("config.json: {name} is {value}, it must be 1 to {}", self.most));
        }
        Ok(())
    }
}

/// The sizes that every encoder has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) vocab: usize,
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) inner: usize,
    pub(super) eps: f32,
}

/// The names that a config has for them.
pub(super) struct Names {
    pub(super) hidden: &'static str,
    pub(super) layers: &'static str,
    pub(super) heads: &'static str,
    pub(super) inner: &'static str,
    pub(super) eps: &'static str,
}

pub(super) const BERT_NAMES: Names = Names {
    hidden: "hidden_size",
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    inner: "intermediate_size",
    eps: "layer_norm_eps",
};

impl Shape {
    pub(super) fn check(&self, names: &Names) -> Result<(), String> {
        Bounds::VOCAB.check("vocab_size", self.vocab)?;
        Bounds::WIDTH.check(names.hidden, self.hidden)?;
        Bounds::LAYERS.check(names.layers, self.layers)?;
        Bounds::HEADS.check(names.heads, self.heads)?;
        Bounds::INNER.check(names.inner, self.inner)?;
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(format!(
                "config.json: {} {} is not a multiple of {} {}",
                names.hidden, self.hidden, names.heads, self.heads
            ));
        }
        if !(self.eps.is_finite() && self.eps > 0.0) {
            return Err(format!("config.json: {} must be a positive number", names.eps));
        }
        Ok(())
    }
}

/// What the configs of BERT and its relatives have in common.
#[derive(Debug, Deserialize)]
pub(super) struct BertConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    pub(super) max_position_embeddings: usize,
    #[serde(default = "two")]
    pub(super) type_vocab_size: usize,
    #[serde(default = "tiny")]
    layer_norm_eps: f32,
    hidden_act: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default = "absolute")]
    position_embedding_type: String,
}

impl BertConfig {
    pub(super) fn shape(&self) -> Result<Shape, String> {
        let shape = Shape {
            vocab: self.vocab_size,
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            inner: self.intermediate_size,
            eps: self.layer_norm_eps,
        };
        shape.check(&BERT_NAMES)?;
        Bounds::POSITIONS.check("max_position_embeddings", self.max_position_embeddings)?;
        Bounds::SEGMENTS.check("type_vocab_size", self.type_vocab_size)?;
        encoder_only(self.is_decoder)?;
        absolute_positions(&self.position_embedding_type)?;
        Ok(shape)
    }

    pub(super) fn activation(&self, default: &str) -> Result<Activation, String> {
        activation("hidden_act", self.hidden_act.as_deref().unwrap_or(default))
    }
}

/// An activation by the name that a config has for it.
pub fn activation(field: &str, name: &str) -> Result<Activation, String> {
    Activation::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Activation::names().collect();
        format!("{field} '{name}' is not supported; supported: {}", known.join(", "))
    })
}

pub(super) fn encoder_only(is_decoder: bool) -> Result<(), String> {
    if is_decoder {
        return Err("config.json: is_decoder is true; encoders are supported".to_owned());
    }
    Ok(())
}

pub(super) fn absolute_positions(position_embedding_type: &str) -> Result<(), String> {
    match position_embedding_type {
        "absolute" => Ok(()),
        other => Err(format!(
            "config.json: position_embedding_type '{other}' is not supported; absolute is"
        )),
    }
}

pub(super) fn gelu() -> String {
    "gelu".to_owned()
}

pub(super) fn absolute() -> String {
    "absolute".to_owned()
}

pub(super) fn tiny() -> f32 {
    1e-12
}

pub(super) fn two() -> usize {
    2
}
