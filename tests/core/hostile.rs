//! Every architecture with a config or a tensor that lies: a typed error, and no memory taken for it.

use std::fs;

use legato::Error;
use legato::backend::{Cpu, Weights};
use legato::model;
use safetensors::Dtype;
use serde_json::Value;

use crate::models::{Tensors, serialize};
use crate::parity::{config, folders, tensors};

fn load(config: &Value, data: &[u8]) -> Result<(), Error> {
    let weights = Weights::parse("test", data)?;
    model::architecture(config, &weights, &Cpu::default()).map(|_| ())
}

/// Fails unless it is refused as a model, in one of the ways `said`.
fn refused(what: &str, found: Result<(), Error>, said: &[&str]) {
    match found {
        Err(Error::Model { reason, .. }) => {
            assert!(said.iter().any(|said| reason.contains(said)), "{what}: {reason}");
            assert!(reason.len() < 500, "{what}: {reason}");
        }
        Err(other) => panic!("{what}: {other:?}"),
        Ok(()) => panic!("{what}: it was loaded"),
    }
}

/// Fields of which every architecture needs a sensible value, under all names that they have.
const SIZES: [&str; 23] = [
    "vocab_size",
    "hidden_size",
    "dim",
    "n_embd",
    "num_hidden_layers",
    "n_layers",
    "n_layer",
    "num_attention_heads",
    "n_heads",
    "n_head",
    "intermediate_size",
    "hidden_dim",
    "n_inner",
    "max_position_embeddings",
    "n_positions",
    "embedding_size",
    "num_hidden_groups",
    "inner_group_num",
    "conv_kernel_size",
    "conv_groups",
    "local_attention",
    "global_attn_every_n_layers",
    "relative_attention_num_buckets",
];

/// Where zero, or any value, says something else.
fn allows(field: &str, value: u64, config: &Value) -> bool {
    match field {
        "conv_kernel_size" => value == 0,
        "conv_groups" => !config["conv_kernel_size"].is_u64(),
        _ => false,
    }
}

#[test]
fn sizes() {
    let said = [
        "it must be",
        "does not describe",
        "config.json implies",
        "not a multiple",
        "no tensor",
        "is not supported",
        "must be",
        "entries",
    ];
    let mut tried = 0;
    for folder in folders() {
        let data = serialize(&tensors(&folder, "model.safetensors"));
        let good = config(&folder);
        load(&good, &data).unwrap();
        for field in SIZES.iter().filter(|field| good[**field].is_u64()) {
            for value in [0, 1_000_000_000, 1 << 40, u64::MAX] {
                if allows(field, value, &good) {
                    continue;
                }
                let mut bad = good.clone();
                bad[*field] = value.into();
                let what = format!("{} with {field} {value}", folder.display());
                refused(&what, load(&bad, &data), &said);
                tried += 1;
            }
            for value in [Value::from(-1), "16".into(), 1.5.into(), Value::Array(vec![])] {
                let mut bad = good.clone();
                bad[*field] = value;
                let what = format!("{} with {field} {}", folder.display(), bad[*field]);
                if !allows(field, 1, &good) {
                    refused(&what, load(&bad, &data), &["does not describe"]);
                }
            }
        }
        for field in ["num_attention_heads", "n_heads", "n_head"] {
            if good[field].is_u64() {
                let mut bad = good.clone();
                bad[field] = 5.into();
                let what = format!("{} with 5 heads", folder.display());
                refused(&what, load(&bad, &data), &["is not a multiple of"]);
            }
        }
    }
    assert!(tried > 400, "{tried}");
}

/// A checkpoint of more layers, or of layers with more in them, gives other numbers than its own config's.
#[test]
fn layers_that_the_config_does_not_know() {
    for folder in folders() {
        let data = fs::read(folder.join("model.safetensors")).unwrap();
        let mut fewer = config(&folder);
        let field = ["num_hidden_layers", "n_layers", "n_layer"]
            .into_iter()
            .find(|field| fewer[*field].is_u64())
            .unwrap();
        let layers = fewer[field].as_u64().unwrap();
        // ALBERT's layers share their weights: their number is free.
        if layers > 1 && !folder.ends_with("albert") {
            fewer[field] = (layers - 1).into();
            fewer["layer_types"] = Value::Null;
            let what = format!("{} with a layer fewer", folder.display());
            refused(&what, load(&fewer, &data), &["is no part of the model"]);
        }
        let mut more = tensors(&folder, "model.safetensors");
        let (name, raw) = more.iter().find(|(name, _)| name.contains(".0.")).unwrap();
        let (name, raw) = (format!("{name}_adapter"), raw.clone());
        more.insert(name, raw);
        let what = format!("{} with a layer's part of its own", folder.display());
        let found = load(&config(&folder), &serialize(&more));
        refused(&what, found, &["is no part of the model"]);
    }
}

#[test]
fn tensors_missing_misshapen_or_not_finite() {
    for folder in folders() {
        let good = tensors(&folder, "model.safetensors");
        let config = config(&folder);
        // An encoder does not read the pooler of a head.
        let read = good.keys().filter(|name| !name.contains("pooler"));
        for name in read {
            let refused_as = |said: &[&str], change: &dyn Fn(&mut Tensors)| {
                let mut bad = good.clone();
                change(&mut bad);
                let what = format!("{} with {name} changed", folder.display());
                refused(&what, load(&config, &serialize(&bad)), said);
            };
            refused_as(&["no tensor"], &|all| assert!(all.remove(name).is_some()));
            refused_as(&["has shape"], &|all| {
                all.get_mut(name).unwrap().shape.insert(0, 1);
            });
            for value in [f32::NAN, f32::INFINITY] {
                refused_as(&["not finite"], &|all| {
                    let raw = all.get_mut(name).unwrap();
                    match raw.dtype {
                        Dtype::F32 => raw.set(0, value),
                        // Ones in the exponent, as in all of these types.
                        _ => raw.data[..2].copy_from_slice(&[0x80, 0x7f]),
                    }
                    if raw.dtype == Dtype::F16 {
                        raw.data[..2].copy_from_slice(&[0x00, 0x7c]);
                    }
                });
            }
        }
    }
}
