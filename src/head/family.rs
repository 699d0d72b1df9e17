use crate::backend::Activation;

/// How the heads of an architecture are called, and what they compute.
///
/// Source: the `For...` classes of transformers `models/*/modeling_*.py` at v5.23.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) model_types: &'static [&'static str],
    /// What the encoder's names begin with below a head, and how its word embeddings are called.
    pub(super) prefixes: &'static [&'static str],
    pub(super) words: &'static str,
    /// The layer before the labels of a text.
    pub(super) pooled: Dense,
    /// The layer before the labels of tokens.
    pub(super) token: Option<Dense>,
    pub(super) text_labels: &'static str,
    pub(super) token_labels: &'static str,
    pub(super) spans: &'static str,
    pub(super) masked: &'static [Masked],
}

/// A linear layer, an activation and, where it has one, a norm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dense {
    /// `*` stands for the encoder's prefix.
    pub(super) name: &'static str,
    pub(super) activation: Act,
    pub(super) norm: Option<&'static str>,
}

/// Where an activation comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Fixed(Activation),
    /// A field of the config, and what holds where it is not there.
    Config(&'static str, &'static str),
}

/// The head of a masked language model. Its matrix is the word embeddings' where the checkpoint has none.
#[derive(Debug)]
pub(super) struct Masked {
    pub(super) dense: Dense,
    pub(super) weight: &'static str,
    pub(super) biases: &'static [&'static str],
}

const fn dense(name: &'static str, activation: Activation) -> Dense {
    Dense { name, activation: Act::Fixed(activation), norm: None }
}

const WORDS: &str = "embeddings.word_embeddings";

const BERT_MASKED: Masked = Masked {
    dense: Dense {
        name: "cls.predictions.transform.dense",
        activation: Act::Config("hidden_act", "gelu"),
        norm: Some("cls.predictions.transform.LayerNorm"),
    },
    weight: "cls.predictions.decoder.weight",
    biases: &["cls.predictions.bias", "cls.predictions.decoder.bias"],
};

const ROBERTA_MASKED: Masked = Masked {
    dense: Dense {
        name: "lm_head.dense",
        activation: Act::Fixed(Activation::Gelu),
        norm: Some("lm_head.layer_norm"),
    },
    weight: "lm_head.decoder.weight",
    biases: &["lm_head.bias", "lm_head.decoder.bias"],
};

const MODERN: Dense = Dense {
    name: "head.dense",
    activation: Act::Config("classifier_activation", "gelu"),
    norm: Some("head.norm"),
};

pub(super) const FAMILIES: [Family; 8] = [
    Family {
        model_types: &["bert"],
        prefixes: &["bert."],
        words: WORDS,
        pooled: dense("*pooler.dense", Activation::Tanh),
        token: None,
        text_labels: "classifier",
        token_labels: "classifier",
        spans: "qa_outputs",
        masked: &[BERT_MASKED],
    },
    Family {
        model_types: &["distilbert"],
        prefixes: &["distilbert."],
        words: WORDS,
        pooled: dense("pre_classifier", Activation::Relu),
        token: None,
        text_labels: "classifier",
        token_labels: "classifier",
        spans: "qa_outputs",
        masked: &[Masked {
            dense: Dense {
                name: "vocab_transform",
                activation: Act::Config("activation", "gelu"),
                norm: Some("vocab_layer_norm"),
            },
            weight: "vocab_projector.weight",
            biases: &["vocab_projector.bias"],
        }],
    },
    Family {
        model_types: &["roberta", "xlm-roberta", "camembert", "mpnet"],
        prefixes: &["roberta.", "mpnet."],
        words: WORDS,
        pooled: dense("classifier.dense", Activation::Tanh),
        token: None,
        text_labels: "classifier.out_proj",
        token_labels: "classifier",
        spans: "qa_outputs",
        masked: &[ROBERTA_MASKED],
    },
    Family {
        model_types: &["albert"],
        prefixes: &["albert."],
        words: WORDS,
        pooled: dense("*pooler", Activation::Tanh),
        token: None,
        text_labels: "classifier",
        token_labels: "classifier",
        spans: "qa_outputs",
        masked: &[Masked {
            dense: Dense {
                name: "predictions.dense",
                activation: Act::Config("hidden_act", "gelu_new"),
                norm: Some("predictions.LayerNorm"),
            },
            weight: "predictions.decoder.weight",
            biases: &["predictions.bias", "predictions.decoder.bias"],
        }],
    },
    Family {
        model_types: &["electra"],
        prefixes: &["electra."],
        words: WORDS,
        pooled: dense("classifier.dense", Activation::Gelu),
        token: None,
        text_labels: "classifier.out_proj",
        token_labels: "classifier",
        spans: "qa_outputs",
        masked: &[Masked {
            dense: Dense {
                name: "generator_predictions.dense",
                activation: Act::Fixed(Activation::Gelu),
                norm: Some("generator_predictions.LayerNorm"),
            },
            weight: "generator_lm_head.weight",
            biases: &["generator_lm_head.bias"],
        }],
    },
    Family {
        model_types: &["deberta-v2"],
        prefixes: &["deberta."],
        words: WORDS,
        pooled: Dense {
            name: "pooler.dense",
            activation: Act::Config("pooler_hidden_act", "gelu"),
            norm: None,
        },
        token: None,
        text_labels: "classifier",
        token_labels: "classifier",
        spans: "qa_outputs",
        // Microsoft's own checkpoints have the second kind.
        masked: &[
            BERT_MASKED,
            Masked {
                dense: Dense {
                    name: "lm_predictions.lm_head.dense",
                    activation: Act::Config("hidden_act", "gelu"),
                    norm: Some("lm_predictions.lm_head.LayerNorm"),
                },
                weight: "lm_predictions.lm_head.weight",
                biases: &["lm_predictions.lm_head.bias"],
            },
        ],
    },
    Family {
        model_types: &["modernbert"],
        prefixes: &["model."],
        words: "embeddings.tok_embeddings",
        pooled: MODERN,
        token: Some(MODERN),
        text_labels: "classifier",
        token_labels: "classifier",
        spans: "classifier",
        masked: &[Masked { dense: MODERN, weight: "decoder.weight", biases: &["decoder.bias"] }],
    },
    Family {
        model_types: &["nomic_bert"],
        prefixes: &["nomic_bert.", "bert."],
        words: WORDS,
        pooled: dense("*pooler.dense", Activation::Tanh),
        token: None,
        text_labels: "classifier",
        token_labels: "classifier",
        spans: "qa_outputs",
        masked: &[Masked {
            dense: Dense {
                name: "cls.predictions.transform.dense",
                activation: Act::Config("hidden_act", "silu"),
                norm: Some("cls.predictions.transform.layer_norm"),
            },
            weight: "cls.predictions.decoder.weight",
            biases: &["cls.predictions.bias", "cls.predictions.decoder.bias"],
        }],
    },
];
