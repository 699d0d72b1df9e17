//! The heads of every architecture on every backend, against the logits of transformers
//! (`tests/data/make_tiny_models.py`).

use std::path::Path;

use candle_core::{DType, Device};
use legato::Error;
use legato::backend::{Candle, Cpu, Weights};
use legato::batch::pack;
use legato::head::{Model, Task, TaskModel};
use serde_json::Value;

use crate::models::{Tensors, furthest, serialize};
use crate::parity::{config, folders, tensors, tokens};

const TASKS: [&str; 4] =
    ["sequence-classification", "token-classification", "question-answering", "masked-lm"];

/// What an architecture's tensors begin with below a head.
const PREFIXES: [(&str, &str); 11] = [
    ("albert", "albert."),
    ("bert", "bert."),
    ("camembert", "roberta."),
    ("deberta-v2", "deberta."),
    ("distilbert", "distilbert."),
    ("electra", "electra."),
    ("modernbert", "model."),
    ("mpnet", "mpnet."),
    ("nomic_bert", "nomic_bert."),
    ("roberta", "roberta."),
    ("xlm-roberta", "roberta."),
];

/// A checkpoint of a model with its head, and the logits of the folder's texts.
fn headed(folder: &Path, task: &str) -> Option<(Value, Tensors, Vec<f32>)> {
    if !folder.join(format!("{task}.safetensors")).exists() {
        return None;
    }
    let config = config(folder);
    let (_, prefix) = PREFIXES.iter().find(|(name, _)| config["model_type"] == *name).unwrap();
    let encoder = tensors(folder, "model.safetensors");
    let mut all: Tensors =
        encoder.into_iter().map(|(name, raw)| (format!("{prefix}{name}"), raw)).collect();
    all.extend(tensors(folder, &format!("{task}.safetensors")));
    let logits = all.remove("expected/logits").unwrap().floats();
    Some((config, all, logits))
}

fn logits(model: &dyn TaskModel, folder: &Path, task: Task, budget: usize) -> Vec<f32> {
    let tokens = tokens(&tensors(folder, "expected.safetensors"));
    let mut texts: Vec<Vec<f32>> = vec![Vec::new(); tokens.len()];
    for batch in pack(&tokens, budget) {
        let read = &mut |all: &[f32]| {
            let mut rest = all;
            for (&text, &length) in batch.order.iter().zip(&batch.lengths) {
                let rows = if task.is_of_texts() { 1 } else { length };
                let (row, after) = rest.split_at(rows * model.width());
                texts[text] = row.to_vec();
                rest = after;
            }
            assert!(rest.is_empty());
        };
        model.logits(&batch, None, read).unwrap();
    }
    texts.concat()
}

fn load(
    config: &Value,
    data: &[u8],
    task: Task,
    on_candle: bool,
) -> Result<Box<dyn TaskModel>, Error> {
    let weights = Weights::parse("test", data)?;
    Ok(if on_candle {
        let candle = Candle::new(&Device::Cpu, DType::F32);
        Box::new(Model::load(config, &weights, candle, task)?)
    } else {
        Box::new(Model::load(config, &weights, Cpu::default(), task)?)
    })
}

#[test]
fn logits_are_those_of_transformers() {
    let mut compared = 0;
    for folder in folders() {
        for name in TASKS {
            let Some((config, all, wanted)) = headed(&folder, name) else { continue };
            let (data, task) = (serialize(&all), Task::from_name(name).unwrap());
            for on_candle in [false, true] {
                let what = format!("{} for {name}, candle {on_candle}", folder.display());
                let model =
                    load(&config, &data, task, on_candle).unwrap_or_else(|e| panic!("{what}: {e}"));
                for budget in [1, 1 << 20] {
                    let found = logits(model.as_ref(), &folder, task, budget);
                    let difference = furthest(&found, &wanted);
                    assert!(difference <= 1e-5, "{what}: {difference}");
                }
                compared += 1;
            }
        }
    }
    assert!(compared >= 2 * 40, "{compared}");
}

#[test]
fn only_some_tokens() {
    for folder in folders() {
        let Some((config, all, _)) = headed(&folder, "masked-lm") else { continue };
        let model = load(&config, &serialize(&all), Task::MaskedLm, false).unwrap();
        let tokens = tokens(&tensors(&folder, "expected.safetensors"));
        for batch in pack(&tokens, 1 << 20) {
            let mut whole = Vec::new();
            model.logits(&batch, None, &mut |all| whole = all.to_vec()).unwrap();
            let mut some = Vec::new();
            model.logits(&batch, Some(&[4, 0]), &mut |all| some = all.to_vec()).unwrap();
            let row = |at: usize| &whole[at * model.width()..][..model.width()];
            assert!(furthest(&some, &[row(4), row(0)].concat()) <= 1e-6);
        }
    }
}

#[test]
fn heads_that_are_not_there_or_not_whole() {
    for folder in folders() {
        for name in TASKS {
            let Some((mut config, all, _)) = headed(&folder, name) else { continue };
            let task = Task::from_name(name).unwrap();
            let own = tensors(&folder, &format!("{name}.safetensors"));
            for tensor in own.keys().filter(|name| name.ends_with("weight")) {
                let mut bad = all.clone();
                bad.remove(tensor).unwrap();
                let found = load(&config, &serialize(&bad), task, false);
                let Err(Error::Model { reason, .. }) = found else { panic!("{tensor}: {found:?}") };
                let said = ["no tensor", "no head for"].iter().any(|part| reason.contains(part));
                assert!(said, "{reason}");
            }
            if task != Task::MaskedLm && task != Task::QuestionAnswering {
                config["id2label"] = serde_json::json!({"0": "a", "1": "b"});
                let found = load(&config, &serialize(&all), task, false);
                let Err(Error::Model { reason, .. }) = found else { panic!("{name}: {found:?}") };
                assert!(reason.contains("config.json implies"), "{reason}");
            }
        }
    }
    assert!(Task::from_name("summarization").is_err());
}
