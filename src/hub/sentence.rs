use serde_json::Value;

use super::files::ModelFiles;
use crate::error::{Error, Result};

const MODULES: &str = "modules.json";
const PROMPTS: &str = "config_sentence_transformers.json";
const SENTENCE: &str = "sentence_bert_config.json";
const TOKENIZER: &str = "tokenizer_config.json";

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
        self.refuse_unsupported()?;
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
        let sentence = self.stated(SENTENCE, "max_seq_length")?;
        let tokenizer = self.stated(TOKENIZER, "model_max_length")?;
        Ok(sentence.or(tokenizer).into_iter().chain(self.max_positions()?).min())
    }

    /// Most tokens that the model's position embeddings reach.
    pub fn max_positions(&self) -> Result<Option<usize>> {
        self.stated("config.json", "max_position_embeddings")
    }

    /// A limit in tokens that a file states.
    fn stated(&self, file: &str, key: &str) -> Result<Option<usize>> {
        let value = if self.has(file) { self.object(file)?.remove(key) } else { None };
        let limit = match value {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value.as_f64(),
        };
        match limit.filter(|&n| n >= 1.0 && n.fract() == 0.0) {
            // transformers writes 1e30 for "no limit".
            Some(n) if n >= f64::from(1 << 30) => Ok(None),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 1 to 2^30
            Some(n) => Ok(Some(n as usize)),
            None => {
                let reason = format!("{file}: {key} must be a whole number of tokens, 1 or more");
                Err(Error::model(self.origin(), reason))
            }
        }
    }

    /// Refuses by name what would change the vectors and is not done here.
    fn refuse_unsupported(&self) -> Result<()> {
        let asked = |file: &str, key: &str| -> Result<Option<Value>> {
            if self.has(file) { Ok(self.object(file)?.remove(key)) } else { Ok(None) }
        };
        let lower = asked(SENTENCE, "do_lower_case")?;
        let side = asked(TOKENIZER, "truncation_side")?;
        let prompt = asked(PROMPTS, "default_prompt_name")?;
        let found = if lower == Some(Value::Bool(true)) {
            Some((SENTENCE, "do_lower_case"))
        } else if side.is_some_and(|side| side != "right") {
            Some((TOKENIZER, "truncation_side other than right"))
        } else if prompt.is_some_and(|prompt| !prompt.is_null()) {
            Some((PROMPTS, "default_prompt_name"))
        } else {
            None
        };
        match found {
            Some((file, what)) => {
                let reason = format!("{file} asks for {what}, which is not supported yet");
                Err(Error::model(self.origin(), reason))
            }
            None => Ok(()),
        }
    }
}

struct Module {
    kind: String,
    path: String,
}
