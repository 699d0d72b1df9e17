use serde_json::Value;

use crate::error::{Error, Result};

/// What a head answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Logits of a text's labels, `(B, labels)`; also what a cross-encoder gives.
    SequenceClassification,
    /// Logits of each token's labels, `(N, labels)`.
    TokenClassification,
    /// Logits of each token as the start and as the end of the answer, `(N, 2)`.
    QuestionAnswering,
    /// Logits of the vocabulary, `(N, V)`.
    MaskedLm,
}

const NAMES: [(&str, Task); 4] = [
    ("sequence-classification", Task::SequenceClassification),
    ("token-classification", Task::TokenClassification),
    ("question-answering", Task::QuestionAnswering),
    ("masked-lm", Task::MaskedLm),
];

impl Task {
    /// Reads a task's name.
    pub fn from_name(name: &str) -> Result<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, task)| *task).ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            Error::input(format!("task '{name}' is not known; use {}", known.join(", ")))
        })
    }

    /// Whether there is one row of logits a text, and not a token.
    #[must_use]
    pub fn is_of_texts(self) -> bool {
        self == Self::SequenceClassification
    }
}

/// How many labels a config names, as transformers counts them.
pub(super) fn labels(config: &Value) -> usize {
    match (config["id2label"].as_object(), config["num_labels"].as_u64()) {
        (Some(names), _) => names.len(),
        (None, Some(count)) => usize::try_from(count).unwrap_or(usize::MAX),
        (None, None) => 2,
    }
}
