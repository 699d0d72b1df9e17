use candle_core::{DType, Device};

use super::albert::Albert;
use super::bert::Bert;
use super::deberta::Deberta;
use super::distilbert::DistilBert;
use super::electra::Electra;
use super::encoder::{Architecture, Encoder, Encoding};
use super::modernbert::ModernBert;
use super::mpnet::MpNet;
use super::nomic::NomicBert;
use super::roberta::Roberta;
use crate::backend::{Backend, Candle, Cpu, Loader, Weights};
use crate::device::{Precision, no_int8};
use crate::error::{Error, Result};
use crate::hub::ModelFiles;

type Load<B> = fn(&serde_json::Value, &Loader<'_, B>) -> Result<Box<dyn Architecture<B>>>;

/// `model_type` in `config.json` -> constructor.
fn table<B: Backend>() -> [(&'static str, Load<B>); 11] {
    [
        ("albert", |config, weights| Ok(Box::new(Albert::load(config, weights)?))),
        ("bert", |config, weights| Ok(Box::new(Bert::load(config, weights)?))),
        ("camembert", |config, weights| Ok(Box::new(Roberta::load(config, weights)?))),
        ("deberta-v2", |config, weights| Ok(Box::new(Deberta::load(config, weights)?))),
        ("distilbert", |config, weights| Ok(Box::new(DistilBert::load(config, weights)?))),
        ("electra", |config, weights| Ok(Box::new(Electra::load(config, weights)?))),
        ("modernbert", |config, weights| Ok(Box::new(ModernBert::load(config, weights)?))),
        ("mpnet", |config, weights| Ok(Box::new(MpNet::load(config, weights)?))),
        ("nomic_bert", |config, weights| Ok(Box::new(NomicBert::load(config, weights)?))),
        ("roberta", |config, weights| Ok(Box::new(Roberta::load(config, weights)?))),
        ("xlm-roberta", |config, weights| Ok(Box::new(Roberta::load(config, weights)?))),
    ]
}

/// `model_type` in a model's `config.json`.
pub fn model_type<'c>(config: &'c serde_json::Value, origin: &str) -> Result<&'c str> {
    config["model_type"].as_str().ok_or_else(|| {
        let reason = "config.json names no model_type; copy the whole model folder";
        Error::model(origin, reason)
    })
}

/// Loads the architecture that `config.json` names into a backend.
pub fn architecture<B: Backend>(
    config: &serde_json::Value,
    weights: &Weights<'_>,
    backend: &B,
) -> Result<Box<dyn Architecture<B>>> {
    let model_type = model_type(config, weights.origin())?;
    let table = table::<B>();
    let Some((_, load)) = table.iter().find(|(name, _)| *name == model_type) else {
        let known: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        return Err(weights.bad(format!(
            "model_type '{model_type}' is not supported; supported: {}",
            known.join(", ")
        )));
    };
    let model = load(config, &Loader::new(backend, weights))?;
    weights.check_read()?;
    Ok(model)
}

/// Loads the encoder that the model's `config.json` names onto `device`: on a CPU in float32 or int8 into plain
/// buffers, elsewhere into candle's tensors.
pub fn load(files: &ModelFiles, device: &Device, precision: Precision) -> Result<Box<dyn Encoder>> {
    match (device, precision) {
        (Device::Cpu, Precision::Float(DType::F32)) => encoding(files, Cpu::default()),
        (Device::Cpu, Precision::Int8) => encoding(files, Cpu::int8()),
        (_, Precision::Float(dtype)) => encoding(files, Candle::new(device, dtype)),
        (_, Precision::Int8) => Err(no_int8(device)),
    }
}

fn encoding<B: Backend>(files: &ModelFiles, backend: B) -> Result<Box<dyn Encoder>> {
    let config = files.config()?;
    // A model that cannot be loaded is refused before its weights are read.
    model_type(&config, files.origin())?;
    files.load_weights(|checkpoint| {
        let weights = Weights::new(files.origin(), checkpoint);
        let model = architecture(&config, &weights, &backend)?;
        Ok(Box::new(Encoding { backend, model }) as Box<dyn Encoder>)
    })
}
