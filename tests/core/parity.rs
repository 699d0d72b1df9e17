//! Every architecture on every backend, against what transformers makes of the same seeded checkpoints
//! (`tests/data/make_tiny_models.py`).

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use legato::Tokens;
use legato::backend::{Backend, Candle, Cpu, Weights};
use legato::batch::pack;
use legato::model::{self, Encoder, Encoding};
use safetensors::Dtype;
use serde_json::Value;

use crate::models::{Raw, Tensors, furthest, parse};

/// The largest difference that there may be.
const TOLERANCE: f32 = 1e-5;

/// Token budgets: every text alone, some together, all together.
const BUDGETS: [usize; 3] = [1, 40, 1 << 20];

pub(crate) fn folders() -> Vec<PathBuf> {
    let all = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-models");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 18, "models are missing: {folders:?}");
    folders
}

pub(crate) fn config(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

pub(crate) fn tensors(folder: &Path, name: &str) -> Tensors {
    parse(&fs::read(folder.join(name)).unwrap())
}

fn integers(raw: &Raw) -> Vec<u32> {
    assert_eq!(raw.dtype, Dtype::I64);
    let wide = raw.data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
    wide.map(|n| u32::try_from(n).unwrap()).collect()
}

/// The texts of a model's folder.
pub(crate) fn tokens(expected: &Tensors) -> Tokens {
    Tokens {
        ids: integers(&expected["input_ids"]),
        type_ids: integers(&expected["type_ids"]),
        lengths: integers(&expected["lengths"]),
        ..Tokens::default()
    }
}

fn encoder<B: Backend>(folder: &Path, backend: B) -> Box<dyn Encoder> {
    encoder_of(folder, &config(folder), backend)
}

fn encoder_of<B: Backend>(folder: &Path, config: &Value, backend: B) -> Box<dyn Encoder> {
    let data = fs::read(folder.join("model.safetensors")).unwrap();
    let weights = Weights::parse("test", &data).unwrap();
    let model = model::architecture(config, &weights, &backend)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    Box::new(Encoding { backend, model })
}

/// Hidden states in the order of the texts, (N, H).
fn hidden(encoder: &dyn Encoder, tokens: &Tokens, budget: usize) -> Vec<f32> {
    let width = encoder.sizes().hidden;
    let mut texts: Vec<Vec<f32>> = vec![Vec::new(); tokens.len()];
    for batch in pack(tokens, budget) {
        let read = &mut |all: &[f32]| {
            let mut rest = all;
            for (&text, &length) in batch.order.iter().zip(&batch.lengths) {
                let (rows, after) = rest.split_at(length * width);
                texts[text] = rows.to_vec();
                rest = after;
            }
            assert!(rest.is_empty());
        };
        encoder.forward(&batch, None, read).unwrap();
    }
    texts.concat()
}

#[test]
fn hidden_states_are_those_of_transformers() {
    for folder in folders() {
        let expected = tensors(&folder, "expected.safetensors");
        let tokens = tokens(&expected);
        let wanted = expected["hidden"].floats();
        let encoders = [
            ("cpu", encoder(&folder, Cpu::default())),
            ("candle", encoder(&folder, Candle::new(&Device::Cpu, DType::F32))),
        ];
        for (backend, encoder) in &encoders {
            for budget in BUDGETS {
                let found = hidden(encoder.as_ref(), &tokens, budget);
                let difference = furthest(&found, &wanted);
                let name = folder.file_name().unwrap().display();
                assert!(difference <= TOLERANCE, "{name} on {backend}, {budget}: {difference}");
            }
        }
    }
}

#[test]
fn some_rows_are_the_same_as_among_all() {
    for folder in folders() {
        let tokens = tokens(&tensors(&folder, "expected.safetensors"));
        let encoders = [
            encoder(&folder, Cpu::default()),
            encoder(&folder, Candle::new(&Device::Cpu, DType::F32)),
        ];
        for encoder in &encoders {
            let width = encoder.sizes().hidden;
            for batch in pack(&tokens, 60) {
                let mut all = Vec::new();
                encoder.forward(&batch, None, &mut |rows| all = rows.to_vec()).unwrap();
                let every_third = (0..).take(batch.ids.len()).step_by(3).collect();
                for only in [batch.first_tokens(), every_third] {
                    let mut some = Vec::new();
                    encoder.forward(&batch, Some(&only), &mut |rows| some = rows.to_vec()).unwrap();
                    let row = |&at: &u32| all[at as usize * width..][..width].to_vec();
                    let wanted: Vec<f32> = only.iter().flat_map(row).collect();
                    assert!(furthest(&some, &wanted) <= TOLERANCE, "{}", folder.display());
                }
            }
        }
    }
}

#[test]
fn a_text_does_not_depend_on_its_company() {
    for folder in folders() {
        let expected = tensors(&folder, "expected.safetensors");
        let tokens = tokens(&expected);
        let encoder = encoder(&folder, Cpu::default());
        let width = encoder.sizes().hidden;
        let together = hidden(encoder.as_ref(), &tokens, 1 << 20);
        // The same texts backwards, twice over, in batches of another size.
        let (mut ends, mut end) = (Vec::new(), 0);
        for &length in &tokens.lengths {
            ends.push(end..end + length as usize);
            end += length as usize;
        }
        let order: Vec<usize> = (0..tokens.len()).rev().chain((0..tokens.len()).rev()).collect();
        let pick = |of: &[u32]| -> Vec<u32> {
            order.iter().flat_map(|&text| of[ends[text].clone()].to_vec()).collect()
        };
        let mixed = Tokens {
            ids: pick(&tokens.ids),
            type_ids: pick(&tokens.type_ids),
            lengths: order.iter().map(|&text| tokens.lengths[text]).collect(),
            ..Tokens::default()
        };
        let found = hidden(encoder.as_ref(), &mixed, 60);
        let rows = |text: usize| &together[ends[text].start * width..ends[text].end * width];
        let wanted: Vec<f32> = order.iter().flat_map(|&text| rows(text).to_vec()).collect();
        assert!(furthest(&found, &wanted) <= TOLERANCE, "{}", folder.display());
    }
}

/// Without this, an option could be ignored and parity would hold all the same.
#[test]
fn options_change_what_comes_out() {
    let cases: [(&str, &str, Value); 18] = [
        ("bert", "hidden_act", "relu".into()),
        ("bert", "layer_norm_eps", 0.1.into()),
        ("bert", "num_attention_heads", 4.into()),
        ("roberta", "pad_token_id", 2.into()),
        ("camembert", "pad_token_id", 4.into()),
        ("distilbert", "activation", "relu".into()),
        ("distilbert", "n_heads", 4.into()),
        ("albert", "num_hidden_layers", 3.into()),
        ("electra", "hidden_act", "silu".into()),
        ("deberta-v3", "max_relative_positions", 50.into()),
        ("deberta-v3", "norm_rel_ebd", "none".into()),
        ("deberta-v3", "pos_att_type", "c2p".into()),
        ("deberta-v2", "conv_act", "tanh".into()),
        ("modernbert", "local_attention", 8.into()),
        ("modernbert", "global_attn_every_n_layers", 2.into()),
        ("modernbert", "global_rope_theta", 10_000.0.into()),
        ("modernbert", "local_rope_theta", 160_000.0.into()),
        ("nomic-remote", "rotary_emb_base", 1000.0.into()),
    ];
    let all = folders();
    for (name, field, value) in cases {
        let folder = all.iter().find(|folder| folder.ends_with(name)).unwrap();
        let expected = tensors(folder, "expected.safetensors");
        let mut other = config(folder);
        assert_ne!(other[field], value);
        other[field] = value;
        let encoder = encoder_of(folder, &other, Cpu::default());
        let found = hidden(encoder.as_ref(), &tokens(&expected), 1 << 20);
        let difference = furthest(&found, &expected["hidden"].floats());
        assert!(difference > 10.0 * TOLERANCE, "{name}: {field} is ignored ({difference})");
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
#[allow(clippy::cast_precision_loss)] // a few rows
fn int8_is_near_to_float32_and_does_not_depend_on_company() {
    for folder in folders() {
        let expected = tensors(&folder, "expected.safetensors");
        let (tokens, wanted) = (tokens(&expected), expected["hidden"].floats());
        let encoder = encoder(&folder, Cpu::int8());
        let found = hidden(encoder.as_ref(), &tokens, 1 << 20);
        let width = encoder.sizes().hidden;
        let rows = found.chunks_exact(width).zip(wanted.chunks_exact(width));
        let mean = rows.map(|(a, b)| cosine(a, b)).sum::<f64>() / (found.len() / width) as f64;
        assert!(mean >= 0.98, "{}: {mean}", folder.display());
        assert!(
            furthest(&found, &wanted) > TOLERANCE,
            "{}: nothing is quantized",
            folder.display()
        );
        for budget in BUDGETS {
            let again = hidden(encoder.as_ref(), &tokens, budget);
            assert!(furthest(&again, &found) <= TOLERANCE, "{}, {budget}", folder.display());
        }
    }
}
