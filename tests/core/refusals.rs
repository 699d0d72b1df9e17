//! Models that are damaged, hostile or not supported: refused before they compute, and by name.

use std::fs;

use bytes::Bytes;
use legato::engine::EngineOptions;
use legato::{Engine, Error, ModelFiles};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::models::{Tiny, folder};

/// Fails unless loading `model` is a model error that says `said`.
fn refused(model: &Tiny, said: &str) {
    match model.load(&EngineOptions::default()) {
        Err(Error::Model { origin, reason }) => {
            assert!(!origin.is_empty());
            assert!(reason.contains(said), "'{said}' is not said: {reason}");
            assert!(reason.len() < 1000, "{reason}");
        }
        Err(other) => panic!("{said}: {other:?}"),
        Ok(_) => panic!("{said}: it was loaded"),
    }
}

#[test]
fn configurations() {
    type Change = (&'static str, Value, &'static str);
    let cases: [Change; 25] = [
        (
            "model_type",
            "llama".into(),
            "model_type 'llama' is not supported; supported: albert, bert, camembert, deberta-v2, distilbert, electra, modernbert, mpnet, nomic_bert, roberta, xlm-roberta",
        ),
        ("model_type", Value::Null, "names no model_type"),
        ("model_type", 5.into(), "names no model_type"),
        ("is_decoder", true.into(), "is_decoder is true"),
        ("hidden_size", 0.into(), "hidden_size is 0"),
        ("hidden_size", (1u64 << 60).into(), "hidden_size is 1152921504606846976"),
        ("hidden_size", (-32).into(), "does not describe a BERT model"),
        ("hidden_size", "32".into(), "does not describe a BERT model"),
        ("hidden_size", 32.5.into(), "does not describe a BERT model"),
        ("hidden_size", 64.into(), "has shape [249, 32], config.json implies [249, 64]"),
        (
            "num_attention_heads",
            5.into(),
            "hidden_size 32 is not a multiple of num_attention_heads 5",
        ),
        ("num_attention_heads", 0.into(), "num_attention_heads is 0"),
        ("num_attention_heads", 64.into(), "not a multiple"),
        ("num_hidden_layers", 0.into(), "num_hidden_layers is 0"),
        ("num_hidden_layers", 3.into(), "no tensor encoder.layer.2."),
        ("num_hidden_layers", u64::MAX.into(), "num_hidden_layers is"),
        ("vocab_size", 250.into(), "word_embeddings.weight has shape"),
        ("max_position_embeddings", (1u64 << 40).into(), "max_position_embeddings is"),
        ("type_vocab_size", 0.into(), "type_vocab_size is 0"),
        ("intermediate_size", 63.into(), "config.json implies [63, 32]"),
        ("layer_norm_eps", 0.into(), "layer_norm_eps must be"),
        ("layer_norm_eps", (-1e-12).into(), "layer_norm_eps must be"),
        ("layer_norm_eps", 1e300.into(), "layer_norm_eps must be"),
        ("hidden_act", "mish".into(), "hidden_act 'mish' is not supported"),
        (
            "position_embedding_type",
            "relative_key".into(),
            "position_embedding_type 'relative_key'",
        ),
    ];
    for (field, value, said) in cases {
        refused(&Tiny::new().json("config.json", |config| config[field] = value), said);
    }
    for (text, said) in [
        ("", "config.json is not valid JSON (line 1 column 0)"),
        ("{\"model_type\": \"bert\"", "config.json is not valid JSON"),
        ("[]", "is no JSON object"),
        ("{\"model_type\": \"bert\"}", "missing field `vocab_size`"),
    ] {
        refused(&Tiny::new().with("config.json", text), said);
    }
    let nested = Bytes::from("[".repeat(500_000));
    refused(&Tiny::new().with("config.json", nested), "config.json is not valid JSON");
    let huge = Bytes::from(" ".repeat(2 << 20));
    refused(&Tiny::new().with("config.json", huge), "config.json is larger than the limit");
}

#[test]
fn weights() {
    let bias = "encoder.layer.1.output.dense.bias";
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let model = Tiny::new().weights(|tensors| tensors.get_mut(bias).unwrap().set(31, value));
        refused(
            &model,
            "tensor encoder.layer.1.output.dense.bias holds values that are not finite",
        );
    }
    let missing = Tiny::new().weights(|tensors| assert!(tensors.remove(bias).is_some()));
    refused(&missing, "no tensor encoder.layer.1.output.dense.bias");
    let flat = Tiny::new().weights(|tensors| tensors.get_mut(bias).unwrap().shape = vec![1, 32]);
    refused(&flat, "encoder.layer.1.output.dense.bias has shape [1, 32], config.json implies [32]");
    let whole_numbers =
        Tiny::new().weights(|tensors| tensors.get_mut(bias).unwrap().dtype = Dtype::I32);
    refused(&whole_numbers, "has dtype I32; F32, F16 and BF16 are supported");
    refused(
        &Tiny::new().renamed(|name| format!("model.{name}")),
        "no tensor embeddings.word_embeddings",
    );
}

#[test]
fn damaged_weight_files() {
    let data = Tiny::new().0["model.safetensors"].clone();
    for end in [0, 7, 8, 100, data.len() / 2, data.len() - 1] {
        refused(&Tiny::new().with("model.safetensors", data.slice(..end)), "truncated");
    }
    let longer = [&data[..], b"more"].concat();
    refused(&Tiny::new().with("model.safetensors", longer), "damaged");
    let pickle: &[u8] = b"PK\x03\x04 a zip archive, as torch.save makes it, under another name";
    refused(&Tiny::new().with("model.safetensors", pickle), "is no safetensors file");

    // The same name twice: which of the two would be used?
    let length = usize::try_from(u64::from_le_bytes(data[..8].try_into().unwrap())).unwrap();
    let header = std::str::from_utf8(&data[8..8 + length]).unwrap().trim_end();
    let name = "\"embeddings.LayerNorm.bias\":";
    let start = header.find(name).unwrap();
    let entry = &header[start..=start + header[start..].find('}').unwrap()];
    let twice = format!("{},{entry}}}", header.strip_suffix('}').unwrap());
    let mut file = (twice.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(twice.as_bytes());
    file.extend_from_slice(&data[8 + length..]);
    refused(&Tiny::new().with("model.safetensors", file), "a tensor name stands twice");
}

#[test]
fn missing_files() {
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        refused(&Tiny::new().without(name), &format!("it has no {name}"));
    }
    let weightless = || Tiny::new().without("model.safetensors");
    let index = weightless().with("model.safetensors.index.json", "{}");
    refused(&index, "its weights are sharded");
    for pickle in ["pytorch_model.bin", "model.pt", "weights.pkl"] {
        let said = format!("{pickle} is a pickle, which can run code and is refused");
        refused(&weightless().with(pickle, "x"), &said);
        let folder = tempfile::tempdir().unwrap();
        for (name, data) in weightless().without("1_Pooling/config.json").with(pickle, "x").0 {
            fs::write(folder.path().join(name), data).unwrap();
        }
        let error = ModelFiles::from_dir(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&said) && error.contains("save_pretrained"), "{error}");
    }
}

#[test]
fn folders() {
    let file = folder().join("config.json");
    for (path, said) in [
        (folder().join("none"), "there is no such folder"),
        (file, "it is a file; give the folder that holds it"),
        (folder().join("1_Pooling"), "it has no model.safetensors"),
    ] {
        let error = ModelFiles::from_dir(&path).unwrap_err();
        assert!(matches!(&error, Error::Model { reason, .. } if reason.contains(said)), "{error}");
    }
}

#[test]
fn sentence_transformers_modules() {
    let module =
        |kind: &str, path: &str| json!([{"idx": 0, "name": "0", "path": path, "type": kind}]);
    let pooling = "sentence_transformers.models.Pooling";
    for (modules, said) in [
        (module(pooling, ".."), "leaves the model folder"),
        (module(pooling, "."), "leaves the model folder"),
        (module(pooling, "../1_Pooling"), "leaves the model folder"),
        (module(pooling, "/etc"), "leaves the model folder"),
        (module(pooling, "a\\b"), "leaves the model folder"),
        // "/config.json" would be what joins this path and the name of the file.
        (module(pooling, ""), "a Pooling module without a folder"),
        (module(pooling, "2_Pooling"), "it has no 2_Pooling/config.json"),
        (module("sentence_transformers.models.Dense", "2_Dense"), "it has no 2_Dense/config.json"),
        (module("sentence_transformers.models.Dense", ""), "a Dense module without a folder"),
        (module("sentence_transformers.models.LSTM", "2_LSTM"), "module of type LSTM"),
        (json!([{"path": ""}]), "a module without a type"),
        (json!({}), "is not a list of modules"),
        (json!([5]), "a module without a type"),
    ] {
        refused(&Tiny::new().with("modules.json", modules.to_string()), said);
    }
    let config = "1_Pooling/config.json";
    for (pooling, said) in [
        (json!({"pooling_mode": "median"}), "pooling 'median' is not supported"),
        (json!({"pooling_mode": ["cls", "median"]}), "pooling 'median' is not supported"),
        (json!({"pooling_mode_median": true}), "pooling_mode_median, which is not supported"),
        (json!([]), "is no JSON object"),
    ] {
        refused(&Tiny::new().with(config, pooling.to_string()), said);
    }
    for (pooling, name) in [
        (json!({"pooling_mode": "cls"}), "cls"),
        (json!({"pooling_mode": "max", "include_prompt": true}), "max"),
        (json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}), "cls"),
        (json!({"pooling_mode_max_tokens": true}), "max"),
        (json!({"pooling_mode_lasttoken": true}), "lasttoken"),
        (json!({"pooling_mode": ["max", "cls"]}), "max+cls"),
        (json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}), "cls+mean"),
        (json!({}), "mean"),
    ] {
        let engine = Tiny::new().with(config, pooling.to_string()).engine();
        assert_eq!((engine.pooling().name().as_str(), engine.normalize()), (name, true));
    }
    let plain = Tiny::new().without("modules.json").engine();
    assert_eq!((plain.pooling().name().as_str(), plain.normalize()), ("mean", false));
}

#[test]
fn options() {
    let load = |device: &str, dtype: &str, pooling: Option<&str>| {
        let (device, dtype) = (device.to_owned(), dtype.to_owned());
        let pooling = pooling.map(str::to_owned);
        Tiny::new().load(&EngineOptions { device, dtype, pooling, ..EngineOptions::default() })
    };
    for device in ["", "CPU", "cpu:1", "cuda:x", "cuda:-1", "tpu", "cuda:99"] {
        let error = load(device, "float32", None).unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{device}: {error}");
    }
    for dtype in ["", "float64", "int4", "float16", "bfloat16"] {
        let error = load("cpu", dtype, None).unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{dtype}: {error}");
    }
    let error = load("cpu", "float32", Some("median")).unwrap_err();
    assert!(
        matches!(&error, Error::Input { reason } if reason.contains("use mean, cls, max")),
        "{error}"
    );
}

#[test]
fn a_model_is_pinned_by_its_own_files_alone() {
    let memory = |tiny: &Tiny| ModelFiles::from_bytes(tiny.0.clone()).unwrap().digest().unwrap();
    let digest = memory(&Tiny::new());
    assert_eq!(ModelFiles::from_dir(&folder()).unwrap().digest().unwrap(), digest);
    assert_eq!(memory(&Tiny::new().with("README.md", "x")), digest);
    let mut weights = Tiny::new().0["model.safetensors"].to_vec();
    *weights.last_mut().unwrap() ^= 1;
    assert_ne!(memory(&Tiny::new().with("model.safetensors", weights)), digest);
    assert_ne!(memory(&Tiny::new().json("config.json", |c| c["x"] = 1.into())), digest);
}

#[test]
fn a_file_that_changes_is_noticed() {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("1_Pooling")).unwrap();
    for (name, data) in Tiny::new().0 {
        fs::write(copy.path().join(name), data).unwrap();
    }
    let files = ModelFiles::from_dir(copy.path()).unwrap();
    files.digest().unwrap();
    let weights = copy.path().join("model.safetensors");
    let mut data = fs::read(&weights).unwrap();
    *data.last_mut().unwrap() ^= 1;
    fs::write(weights, data).unwrap();
    let error = Engine::load(&files, &EngineOptions::default()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors changed while the model was in use"), "{error}");
}

#[test]
fn what_would_change_the_vectors_is_refused_by_name() {
    for (file, content, said) in [
        ("sentence_bert_config.json", json!({"max_seq_length": "100"}), "whole number of tokens"),
        ("sentence_bert_config.json", json!({"max_seq_length": 0}), "whole number of tokens"),
        ("sentence_bert_config.json", json!([]), "is no JSON object"),
        (
            "config_sentence_transformers.json",
            json!({"default_prompt_name": "search", "prompts": {"query": "q: "}}),
            "default_prompt_name",
        ),
    ] {
        refused(&Tiny::new().with(file, content.to_string()), said);
    }
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    refused(&Tiny::new().with("model.safetensors", pointer), "git lfs pull");
}
