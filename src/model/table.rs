use candle_core::{DType, Device};

use super::bert::Bert;
use super::encoder::Encoder;
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::hub::ModelFiles;

type Load = fn(&serde_json::Value, &Weights<'_>) -> Result<Box<dyn Encoder>>;

/// `model_type` in `config.json` -> constructor.
const TABLE: [(&str, Load); 1] =
    [("bert", |config, weights| Ok(Box::new(Bert::load(config, weights)?)))];

/// Loads the encoder that the model's `config.json` names onto `device`.
pub fn load(files: &ModelFiles, device: &Device, dtype: DType) -> Result<Box<dyn Encoder>> {
    let config = files.config()?;
    let Some(model_type) = config["model_type"].as_str() else {
        let reason = "config.json names no model_type; copy the whole model folder";
        return Err(Error::model(files.origin(), reason));
    };
    let Some((_, load)) = TABLE.iter().find(|(name, _)| *name == model_type) else {
        let known: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
        let reason =
            format!("model_type '{model_type}' is not supported; supported: {}", known.join(", "));
        return Err(Error::model(files.origin(), reason));
    };
    let data = files.weights()?;
    load(&config, &Weights::parse(files.origin(), &data, device, dtype)?)
}
