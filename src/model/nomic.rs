//! NomicBERT (Nussbaum et al. 2024, arXiv:2402.01613): post-norm, rotary positions, SwiGLU.
//!
//! Source: transformers `models/nomic_bert/modeling_nomic_bert.py` and, for checkpoints of the older remote
//! code, the names in `conversion_mapping.py`, both at v5.23.

use serde::Deserialize;
use serde_json::Value;

use super::config::{self, BERT_NAMES, Bounds, Shape};
use super::encoder::{Architecture, Sizes};
use super::layer::{last, wanted};
use super::rotary;
use crate::backend::{Activation, Attention, Backend, Loader, Lookup};
use crate::batch::Batch;
use crate::error::Result;

/// Fields as transformers writes them; the aliases are the remote code's, which took them from GPT-2.
// Flags that must have their usual values, as the remote code names them.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Deserialize)]
struct Config {
    vocab_size: usize,
    #[serde(alias = "n_embd")]
    hidden_size: usize,
    #[serde(alias = "n_layer")]
    num_hidden_layers: usize,
    #[serde(alias = "n_head")]
    num_attention_heads: usize,
    #[serde(alias = "n_inner")]
    intermediate_size: usize,
    #[serde(alias = "n_positions")]
    max_position_embeddings: usize,
    #[serde(default = "config::two")]
    type_vocab_size: usize,
    #[serde(default = "config::tiny", alias = "layer_norm_epsilon")]
    layer_norm_eps: f32,
    #[serde(default = "silu", alias = "activation_function")]
    hidden_act: String,
    head_dim: Option<usize>,
    rope_parameters: Option<Value>,
    #[serde(default = "theta")]
    rotary_emb_base: f64,
    #[serde(default = "whole")]
    rotary_emb_fraction: f64,
    #[serde(default)]
    rotary_emb_interleaved: bool,
    rotary_emb_scale_base: Option<f64>,
    #[serde(default)]
    prenorm: bool,
    #[serde(default)]
    parallel_block: bool,
    #[serde(default)]
    use_rms_norm: bool,
    #[serde(default)]
    causal: bool,
    #[serde(default)]
    num_experts: usize,
}

fn silu() -> String {
    "silu".to_owned()
}

fn theta() -> f64 {
    1000.0
}

fn whole() -> f64 {
    1.0
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
        Bounds::SEGMENTS.check("type_vocab_size", self.type_vocab_size)?;
        let head = shape.hidden / shape.heads;
        let odd = [
            ("prenorm", self.prenorm),
            ("parallel_block", self.parallel_block),
            ("use_rms_norm", self.use_rms_norm),
            ("causal", self.causal),
            ("rotary_emb_interleaved", self.rotary_emb_interleaved),
            ("rotary_emb_scale_base", self.rotary_emb_scale_base.is_some()),
            ("rotary_emb_fraction", (self.rotary_emb_fraction - 1.0).abs() > 1e-9),
            ("num_experts", self.num_experts > 0),
            ("head_dim", self.head_dim.is_some_and(|width| width != head)),
        ];
        match odd.iter().find(|(_, is_set)| *is_set) {
            Some((name, _)) => Err(format!("config.json: this value of {name} is not supported")),
            None => Ok(shape),
        }
    }

    fn theta(&self) -> Result<f64, String> {
        let parameters = self.rope_parameters.as_ref();
        rotary::default_only(parameters.and_then(|p| p["rope_type"].as_str()))?;
        Ok(parameters.and_then(|p| p["rope_theta"].as_f64()).unwrap_or(self.rotary_emb_base))
    }

    fn activation(&self) -> Result<Activation, String> {
        match self.hidden_act.as_str() {
            "swiglu" => Ok(Activation::Silu),
            "geglu" => Ok(Activation::Gelu),
            name => config::activation("hidden_act", name),
        }
    }
}

/// What tensors are called.
struct Names {
    norm: &'static str,
    layers: &'static str,
    attended: &'static str,
    attended_norm: &'static str,
    gate: &'static str,
    up: &'static str,
    down: &'static str,
    down_norm: &'static str,
}

const NATIVE: Names = Names {
    norm: "embeddings.LayerNorm",
    layers: "layers",
    attended: "self_attn.o_proj",
    attended_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    down_norm: "post_mlp_layernorm",
};

const REMOTE: Names = Names {
    norm: "emb_ln",
    layers: "encoder.layers",
    attended: "attn.out_proj",
    attended_norm: "norm1",
    gate: "mlp.fc12",
    up: "mlp.fc11",
    down: "mlp.fc2",
    down_norm: "norm2",
};

#[derive(Debug)]
pub(super) struct NomicBert<B: Backend> {
    shape: Shape,
    activation: Activation,
    words: B::Table,    // (V, H)
    segments: B::Table, // (S, H)
    norm: B::Norm,
    layers: Vec<Layer<B>>,
    angles: B::Table, // (P, head)
    sizes: Sizes,
}

#[derive(Debug)]
struct Layer<B: Backend> {
    qkv: B::Linear,
    attended: B::Linear,
    attended_norm: B::Norm,
    gate_up: B::Linear, // (H, 2I): what is activated, and what it is multiplied with
    down: B::Linear,
    down_norm: B::Norm,
}

impl<B: Backend> NomicBert<B> {
    pub(super) fn load(config: &serde_json::Value, weights: &Loader<'_, B>) -> Result<Self> {
        let bad = |reason| weights.weights().bad(reason);
        let config: Config = config::parse(config, "a NomicBERT").map_err(bad)?;
        let shape = config.shape().map_err(bad)?;
        let activation = config.activation().map_err(bad)?;
        let theta = config.theta().map_err(bad)?;
        let (head, positions) = (shape.hidden / shape.heads, config.max_position_embeddings);
        rotary::check(head, positions, theta).map_err(bad)?;
        let at = weights.under(&["", "nomic_bert.", "bert."], "embeddings.word_embeddings.weight");
        let names = if at.has("emb_ln.weight") { &REMOTE } else { &NATIVE };
        let layers = at.at(names.layers);
        let words = at.table("embeddings.word_embeddings", shape.vocab, shape.hidden)?;
        let segments = config.type_vocab_size;
        Ok(Self {
            shape,
            activation,
            words,
            segments: at.table("embeddings.token_type_embeddings", segments, shape.hidden)?,
            norm: at.layer_norm(names.norm, shape.hidden, shape.eps)?,
            layers: (0..shape.layers)
                .map(|i| Layer::load(&layers.at(i), names, &shape))
                .collect::<Result<_>>()?,
            angles: rotary::angles(weights.backend(), head, positions, theta)?,
            sizes: Sizes { hidden: shape.hidden, vocab: shape.vocab, segments, positions },
        })
    }
}

impl<B: Backend> Layer<B> {
    fn load(at: &Loader<'_, B>, names: &Names, shape: &Shape) -> Result<Self> {
        let &Shape { hidden, inner, eps, .. } = shape;
        // Biases are options of the remote code; a checkpoint has them or not.
        let linear = |name: &str, input: usize, output: usize| {
            let bias = at.has(&format!("{name}.bias"));
            at.backend().pack(&at.dense(name, input, output, bias)?)
        };
        let stacked = |parts: &[&str], input: usize, output: usize| {
            let bias = parts.iter().any(|name| at.has(&format!("{name}.bias")));
            at.stacked(parts, input, output, bias)
        };
        Ok(Self {
            qkv: if at.has("attn.Wqkv.weight") {
                linear("attn.Wqkv", hidden, 3 * hidden)?
            } else {
                let parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
                stacked(&parts, hidden, hidden)?
            },
            attended: linear(names.attended, hidden, hidden)?,
            attended_norm: at.layer_norm(names.attended_norm, hidden, eps)?,
            gate_up: stacked(&[names.gate, names.up], hidden, inner)?,
            down: linear(names.down, inner, hidden)?,
            down_norm: at.layer_norm(names.down_norm, hidden, eps)?,
        })
    }
}

impl<B: Backend> Architecture<B> for NomicBert<B> {
    fn forward(&self, pass: &B::Pass<'_>, batch: &Batch, only: Option<&[u32]>) -> Result<B::Rows> {
        let lookups =
            [Lookup::new(&self.words, &batch.ids), Lookup::new(&self.segments, &batch.type_ids)];
        let mut x = B::embed(pass, &lookups, Some(&self.norm))?;
        let attention = Attention {
            rotary: Some(&self.angles),
            ..Attention::plain(self.shape.heads, self.shape.hidden)
        };
        for (layer, only) in last(&self.layers, only) {
            let qkv = B::linear(pass, &x, &layer.qkv, Activation::Identity)?;
            let context = B::attention(pass, qkv, &attention)?;
            let (context, residual) = wanted::<B>(pass, context, x, only)?;
            let attended = &layer.attended;
            x = B::linear_add_norm(pass, &context, attended, residual, &layer.attended_norm)?;
            let both = B::linear(pass, &x, &layer.gate_up, Activation::Identity)?; // (N, 2I)
            let inner = B::gate(pass, &both, self.activation)?; // (N, I)
            x = B::linear_add_norm(pass, &inner, &layer.down, x, &layer.down_norm)?;
        }
        Ok(x)
    }

    fn sizes(&self) -> Sizes {
        self.sizes
    }
}
