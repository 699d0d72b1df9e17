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

impl Task {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::SequenceClassification,
        Self::TokenClassification,
        Self::QuestionAnswering,
        Self::MaskedLm,
    ];

    /// Reads a task's name.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::input(format!("task '{name}' is not known; use {known}"))
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SequenceClassification => "sequence-classification",
            Self::TokenClassification => "token-classification",
            Self::QuestionAnswering => "question-answering",
            Self::MaskedLm => "masked-lm",
        }
    }

    /// The task of a class of transformers, as `architectures` in a config names it.
    pub(super) fn of_class(class: &str) -> Option<Self> {
        let (_, what) = class.split_once("For")?;
        match what {
            "SequenceClassification" => Some(Self::SequenceClassification),
            "TokenClassification" => Some(Self::TokenClassification),
            "QuestionAnswering" => Some(Self::QuestionAnswering),
            "MaskedLM" | "PreTraining" => Some(Self::MaskedLm),
            _ => None,
        }
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
