use serde::Deserialize;

use super::files::ModelFiles;
use crate::error::{Error, Result};

/// What a tokenizer's definition says of words and their parts, without its vocabulary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Words {
    /// What tokens that go on a word begin with, such as `##`; `None` or empty: nothing tells them apart.
    pub continuing_subword_prefix: Option<String>,
    /// The token of what the vocabulary does not have.
    pub unk_token: Option<String>,
    /// Its id, where the definition has that instead.
    pub unk_id: Option<u32>,
}

#[derive(Deserialize)]
struct Definition {
    #[serde(default)]
    model: Words,
}

impl ModelFiles {
    /// Reads what the tokenizer's definition says of words.
    pub fn words(&self) -> Result<Words> {
        let definition = serde_json::from_slice::<Definition>(&self.tokenizer()?);
        definition.map(|definition| definition.model).map_err(|_| {
            let reason = "tokenizer.json has a model that cannot be read; copy it again";
            Error::model(self.origin(), reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_is_passed_over() {
        let text = r###"{"model": {"type": "WordPiece", "unk_token": "[UNK]",
            "continuing_subword_prefix": "##", "vocab": {"a": 0}}}"###;
        let words = serde_json::from_str::<Definition>(text).unwrap().model;
        assert_eq!(words.continuing_subword_prefix.as_deref(), Some("##"));
        assert_eq!((words.unk_token.as_deref(), words.unk_id), (Some("[UNK]"), None));
        assert_eq!(serde_json::from_str::<Definition>("{}").unwrap().model, Words::default());
    }
}
