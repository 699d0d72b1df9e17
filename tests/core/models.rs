//! The tiny model of `tests/data`, and variants of it with something changed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use legato::engine::EngineOptions;
use legato::{Engine, Error, ModelFiles, Tokens};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

pub(crate) static GO: AtomicBool = AtomicBool::new(false);

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-bert")
}

/// A tensor as the file has it.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<u8>,
}

impl Raw {
    fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, self.shape.clone(), &self.data).unwrap()
    }

    pub(crate) fn floats(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        self.data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub(crate) fn set(&mut self, at: usize, value: f32) {
        self.data[4 * at..][..4].copy_from_slice(&value.to_le_bytes());
    }
}

pub(crate) type Tensors = BTreeMap<String, Raw>;

pub(crate) fn parse(data: &[u8]) -> Tensors {
    let file = SafeTensors::deserialize(data).unwrap();
    let raw = |view: TensorView<'_>| Raw {
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        data: view.data().to_vec(),
    };
    file.tensors().into_iter().map(|(name, view)| (name, raw(view))).collect()
}

pub(crate) fn serialize(tensors: &Tensors) -> Vec<u8> {
    let views: BTreeMap<_, _> =
        tensors.iter().map(|(name, raw)| (name.clone(), raw.view())).collect();
    safetensors::serialize(&views, None).unwrap()
}

/// The model's files in memory.
#[derive(Clone)]
pub(crate) struct Tiny(pub(crate) BTreeMap<String, Bytes>);

impl Tiny {
    pub(crate) fn new() -> Self {
        let names = [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors",
            "sentence_bert_config.json",
            "modules.json",
            "1_Pooling/config.json",
        ];
        let read = |name: &str| Bytes::from(std::fs::read(folder().join(name)).unwrap());
        Self(names.into_iter().map(|name| (name.to_owned(), read(name))).collect())
    }

    pub(crate) fn with(mut self, name: &str, data: impl Into<Bytes>) -> Self {
        self.0.insert(name.to_owned(), data.into());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(name).unwrap();
        self
    }

    pub(crate) fn json(self, name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let mut value = serde_json::from_slice(&self.0[name]).unwrap();
        change(&mut value);
        self.with(name, value.to_string())
    }

    pub(crate) fn weights(self, change: impl FnOnce(&mut Tensors)) -> Self {
        let mut tensors = parse(&self.0["model.safetensors"]);
        change(&mut tensors);
        self.with("model.safetensors", serialize(&tensors))
    }

    /// Every tensor under another name.
    pub(crate) fn renamed(self, name: impl Fn(&str) -> String) -> Self {
        self.weights(|tensors| {
            *tensors =
                std::mem::take(tensors).into_iter().map(|(old, raw)| (name(&old), raw)).collect();
        })
    }

    pub(crate) fn load(&self, options: &EngineOptions) -> Result<Engine, Error> {
        Engine::load(&ModelFiles::from_bytes(self.0.clone())?, options)
    }

    pub(crate) fn engine(&self) -> Engine {
        self.load(&EngineOptions::default()).unwrap()
    }
}

pub(crate) fn texts() -> Vec<String> {
    serde_json::from_slice(&std::fs::read(folder().join("texts.json")).unwrap()).unwrap()
}

pub(crate) fn encode(engine: &Engine, texts: &[String]) -> Tokens {
    engine.tokenizer().encode(texts, legato::tokenize::EncodeOptions::default(), &GO).unwrap()
}

pub(crate) fn embed(engine: &Engine, texts: &[String]) -> Vec<f32> {
    engine.run(&encode(engine, texts), &GO).unwrap().vectors
}

pub(crate) fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|x| x.is_finite()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
