use serde_json::Value;

use super::files::ModelFiles;
use crate::error::{Error, Result};

const MODULES: &str = "modules.json";

/// What the sentence-transformers files of a model say about its output.
///
/// Source: `sentence_transformers/models/{Transformer,Pooling,Normalize}.py`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceConfig {
    /// Name of the pooling: `mean` where the model has no sentence-transformers files, as in that library.
    pub pooling: String,
    /// Whether vectors are scaled to unit length.
    pub normalize: bool,
    /// Most tokens of a text, special tokens included.
    pub max_length: Option<usize>,
}

impl ModelFiles {
    /// Reads pooling, normalisation and the limit in tokens.
    pub fn sentence_config(&self) -> Result<SentenceConfig> {
        let mut config =
            SentenceConfig { pooling: "mean".into(), normalize: false, max_length: self.limit()? };
        for module in self.modules()? {
            match module.kind.as_str() {
                "Transformer" => {}
                "Normalize" => config.normalize = true,
                "Pooling" => config.pooling = self.pooling(&module.path)?,
                other => {
                    let reason = format!(
                        "{MODULES} has a module of type {other}, which is not supported; \
                         Transformer, Pooling and Normalize are"
                    );
                    return Err(Error::model(self.origin(), reason));
                }
            }
        }
        Ok(config)
    }

    /// Folders of the modules that have a configuration of their own.
    pub(super) fn sentence_modules(&self) -> Result<Vec<String>> {
        let modules = self.modules()?.into_iter().filter(|module| module.kind == "Pooling");
        Ok(modules.map(|module| module.path).collect())
    }

    fn modules(&self) -> Result<Vec<Module>> {
        if !self.has(MODULES) {
            return Ok(Vec::new());
        }
        let bad =
            |what: &str| Error::model(self.origin(), format!("{MODULES} {what}; copy it again"));
        let value = self.json(MODULES)?;
        let entries = value.as_array().ok_or_else(|| bad("is not a list of modules"))?;
        let mut modules = Vec::with_capacity(entries.len());
        for entry in entries {
            let kind = entry["type"].as_str().ok_or_else(|| bad("has a module without a type"))?;
            let path = entry["path"].as_str().unwrap_or_default();
            // The path comes from the model: it may name a folder beside this file and nothing else.
            if path.contains(['/', '\\', '\0']) || matches!(path, "." | "..") {
                return Err(bad("has a module path that leaves the model folder"));
            }
            let kind = kind.rsplit('.').next().unwrap_or(kind).to_owned();
            if kind == "Pooling" && path.is_empty() {
                return Err(bad("has a Pooling module without a folder of its own"));
            }
            modules.push(Module { kind, path: path.to_owned() });
        }
        Ok(modules)
    }

    fn pooling(&self, path: &str) -> Result<String> {
        let name = format!("{path}/config.json");
        let config = self.json(&name)?;
        if let Some(mode) = config["pooling_mode"].as_str() {
            return Ok(mode.to_owned());
        }
        let flags = config.as_object().into_iter().flatten();
        let on: Vec<&str> = flags
            .filter(|(_, value)| **value == Value::Bool(true))
            .filter_map(|(key, _)| key.strip_prefix("pooling_mode_"))
            .collect();
        match on[..] {
            ["cls_token"] => Ok("cls".into()),
            ["mean_tokens"] => Ok("mean".into()),
            ["max_tokens"] => Ok("max".into()),
            [other] => Ok(other.to_owned()),
            _ => {
                let reason =
                    format!("{name} turns on {} pooling modes; exactly one is supported", on.len());
                Err(Error::model(self.origin(), reason))
            }
        }
    }

    /// The smallest of the limits that the model's files state.
    fn limit(&self) -> Result<Option<usize>> {
        let stated = |file: &str, key: &str| -> Result<Option<usize>> {
            if !self.has(file) {
                return Ok(None);
            }
            let value = self.json(file)?;
            // transformers writes 1e30 for "no limit".
            let limit = value[key].as_u64().filter(|&n| 0 < n && n < 1 << 31);
            Ok(limit.and_then(|n| usize::try_from(n).ok()))
        };
        let sentence = stated("sentence_bert_config.json", "max_seq_length")?;
        let tokenizer = stated("tokenizer_config.json", "model_max_length")?;
        let positions = stated("config.json", "max_position_embeddings")?;
        Ok(sentence.or(tokenizer).into_iter().chain(positions).min())
    }
}

struct Module {
    kind: String,
    path: String,
}
