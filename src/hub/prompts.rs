//! What is put before texts, and what is done to them, before they are tokenized.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::files::ModelFiles;
use crate::error::{Error, Result};

const PROMPTS: &str = "config_sentence_transformers.json";

/// Names that every model has; empty where its files have no prompt for them.
const USUAL: [&str; 2] = ["query", "document"];

/// Prompts by name, and which of them is put before texts where a call names none.
///
/// Source: `sentence_transformers/base/model.py`, 6.2.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompts {
    pub named: BTreeMap<String, String>,
    /// A name in `named`.
    pub default: Option<String>,
}

impl Prompts {
    /// What is put before texts where a call says nothing.
    #[must_use]
    pub fn default_prompt(&self) -> &str {
        let prompt = self.default.as_ref().and_then(|name| self.named.get(name));
        prompt.map_or("", String::as_str)
    }
}

impl ModelFiles {
    /// Reads the prompts that the sentence-transformers files name.
    pub fn prompts(&self) -> Result<Prompts> {
        let mut prompts = Prompts {
            named: USUAL.iter().map(|name| ((*name).to_owned(), String::new())).collect(),
            default: None,
        };
        if !self.has(PROMPTS) {
            return Ok(prompts);
        }
        let bad =
            |what: &str| Error::model(self.origin(), format!("{PROMPTS} {what}; copy it again"));
        let mut file = self.object(PROMPTS)?;
        match file.remove("prompts") {
            None | Some(Value::Null) => {}
            Some(Value::Object(named)) => {
                for (name, prompt) in named {
                    match prompt {
                        Value::Null => {}
                        Value::String(prompt) => _ = prompts.named.insert(name, prompt),
                        _ => return Err(bad("has a prompt that is no text")),
                    }
                }
            }
            Some(_) => return Err(bad("has prompts that are not by name")),
        }
        match file.remove("default_prompt_name") {
            None | Some(Value::Null) => {}
            Some(Value::String(name)) if prompts.named.contains_key(&name) => {
                prompts.default = Some(name);
            }
            Some(_) => return Err(bad("has a default_prompt_name that is none of its prompts")),
        }
        Ok(prompts)
    }

    /// A tokenizer's definition, with lower-casing put first where the model's files ask for it.
    pub(super) fn lowered(&self, definition: Bytes) -> Result<Bytes> {
        if !self.do_lower_case()? {
            return Ok(definition);
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(&definition) else {
            // The tokenizer says better what is wrong.
            return Ok(definition);
        };
        let lowercase = json!({"type": "Lowercase"});
        let steps = match value["normalizer"].take() {
            Value::Null => vec![lowercase],
            step if step["type"] == "Lowercase" => vec![step],
            Value::Object(mut sequence) if sequence.get("type") == Some(&json!("Sequence")) => {
                let Some(Value::Array(mut steps)) = sequence.remove("normalizers") else {
                    return Ok(definition);
                };
                if steps.iter().all(|step| step["type"] != "Lowercase") {
                    steps.insert(0, lowercase);
                }
                steps
            }
            step => vec![lowercase, step],
        };
        value["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
        Ok(value.to_string().into())
    }
}
