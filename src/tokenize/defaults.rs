use serde_json::{Map, Value};

use super::options::Side;

/// Tokens that pad where neither the call nor the model's files name one.
pub(super) const PADS: [&str; 4] = ["[PAD]", "<pad>", "<|pad|>", "<|padding|>"];

/// Classes of transformers whose models take no segment ids, by their names without `Tokenizer`.
///
/// Source: `model_input_names` in `transformers/models/*/tokenization_*.py`, 5.23.
const UNTYPED: [&str; 40] = [
    "Albert",
    "Barthez",
    "Bartpho",
    "Bart",
    "BertGeneration",
    "BigBird",
    "Blenderbot",
    "BlenderbotSmall",
    "CLIP",
    "Camembert",
    "CodeGen",
    "CodeLlama",
    "Cohere",
    "DistilBert",
    "Esm",
    "GPT2",
    "GPTNeoX",
    "Gemma",
    "Herbert",
    "Llama",
    "Longformer",
    "LED",
    "Luke",
    "M2M100",
    "MBart",
    "MBart50",
    "MPNet",
    "Marian",
    "Nllb",
    "OpenAIGPT",
    "Pegasus",
    "Qwen2",
    "Reformer",
    "RemBert",
    "Roberta",
    "Siglip",
    "Splinter",
    "T5",
    "XGLM",
    "XLMRoberta",
];

/// What a tokenizer does unless a call says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Most tokens of a row, special tokens included; `None`: no limit.
    pub max_length: Option<usize>,
    /// The token that pads; `None` takes what `tokenizer.json` has.
    pub pad_token: Option<String>,
    /// The type id of padding.
    pub pad_type_id: Option<u32>,
    /// Where padding goes; `None` takes what `tokenizer.json` embeds, or right.
    pub padding_side: Option<Side>,
    /// The end at which tokens are cut off.
    pub truncation_side: Side,
    /// Whether calls give segment ids.
    pub type_ids: bool,
    /// Whether calls give the attention mask.
    pub attention_mask: bool,
}

impl Default for Defaults {
    /// What transformers' `PreTrainedTokenizerFast` does.
    fn default() -> Self {
        Self {
            max_length: None,
            pad_token: None,
            pad_type_id: None,
            padding_side: None,
            truncation_side: Side::Right,
            type_ids: true,
            attention_mask: true,
        }
    }
}

impl Defaults {
    /// Takes what a `tokenizer_config.json` says; what is not well formed there is as if it were not.
    #[must_use]
    pub fn from_config(config: &Map<String, Value>) -> Self {
        let text = |key| config.get(key).and_then(Value::as_str);
        let pad = config.get("pad_token");
        let pad = pad.and_then(|pad| pad.as_str().or_else(|| pad["content"].as_str()));
        let pad_type_id = config.get("pad_token_type_id").and_then(Value::as_u64);
        let inputs = config.get("model_input_names").and_then(Value::as_array);
        let takes = |name: &str| inputs.map(|names| names.iter().any(|input| input == name));
        let class = text("tokenizer_class").unwrap_or_default();
        let class = class.strip_suffix("Fast").unwrap_or(class);
        let class = class.strip_suffix("Tokenizer").unwrap_or(class);
        Self {
            max_length: None,
            pad_token: pad.map(str::to_owned),
            pad_type_id: pad_type_id.and_then(|id| u32::try_from(id).ok()),
            padding_side: match text("padding_side") {
                Some("left") => Some(Side::Left),
                Some("right") => Some(Side::Right),
                _ => None,
            },
            truncation_side: match text("truncation_side") {
                Some("left") => Side::Left,
                _ => Side::Right,
            },
            type_ids: takes("token_type_ids").unwrap_or_else(|| !UNTYPED.contains(&class)),
            attention_mask: takes("attention_mask").unwrap_or(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn defaults(config: &Value) -> Defaults {
        Defaults::from_config(config.as_object().unwrap())
    }

    #[test]
    fn a_config_is_read_as_far_as_it_is_well_formed() {
        assert_eq!(defaults(&json!({})), Defaults::default());
        let odd = json!({"pad_token": 5, "padding_side": "up", "model_input_names": "x"});
        assert_eq!(defaults(&odd), Defaults::default());
        for pad in [json!("<pad>"), json!({"content": "<pad>", "lstrip": false})] {
            assert_eq!(defaults(&json!({"pad_token": pad})).pad_token.unwrap(), "<pad>");
        }
        assert_eq!(defaults(&json!({"padding_side": "left"})).padding_side, Some(Side::Left));
    }

    #[test]
    fn segment_ids_are_for_models_that_take_them() {
        for (class, typed) in [
            ("BertTokenizer", true),
            ("RobertaTokenizerFast", false),
            ("XLMRobertaTokenizer", false),
            ("PreTrainedTokenizerFast", true),
        ] {
            assert_eq!(defaults(&json!({"tokenizer_class": class})).type_ids, typed, "{class}");
        }
        let named = json!({
            "tokenizer_class": "BertTokenizer", "model_input_names": ["input_ids", "attention_mask"]
        });
        assert!(!defaults(&named).type_ids);
    }
}
