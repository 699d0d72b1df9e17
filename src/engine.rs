//! Model and head composed: tokens to vectors, and texts to vectors for callers that have text.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use rayon::prelude::*;

use crate::batch::{self, Batch};
use crate::device::{self, Precision};
use crate::error::{Error, Result};
use crate::head::Pooling;
use crate::hub::ModelFiles;
use crate::model::{self, Encoder, Sizes};
use crate::tokenize::{Defaults, EncodeOptions, Source, Tokenizer, Tokens};

/// Tokens of one batch: enough rows for the matrix kernels to reach their speed, few enough that the
/// widest activation (rows x 4H float32) stays within the cache that a core has for itself.
pub(crate) const TOKEN_BUDGET: usize = 1024;

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// How an [`Engine`] computes.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
    pub device: String,
    /// `float32`; on a CPU also `int8`, on an accelerator also `float16` or `bfloat16`.
    pub dtype: String,
    /// Name of the pooling; `None` takes what the model's files say.
    pub pooling: Option<String>,
    /// Scale vectors to unit length; `None` takes what the model's files say.
    pub normalize: Option<bool>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { device: "auto".into(), dtype: "float32".into(), pooling: None, normalize: None }
    }
}

/// A model's tokenizer, with what its files say of limits and padding.
pub fn tokenizer(files: &ModelFiles, max_length: Option<usize>) -> Result<Tokenizer> {
    let limit = files.sentence_config()?.max_length;
    let defaults = if files.has(TOKENIZER_CONFIG) {
        Defaults::from_config(&files.object(TOKENIZER_CONFIG)?)
    } else {
        Defaults::default()
    };
    let max_length = max_length.or(limit);
    Tokenizer::from_bytes(&files.tokenizer()?, Defaults { max_length, ..defaults })
}

/// Vectors of `B` texts in the order in which they were given.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// `(B, H)`, row after row.
    pub vectors: Vec<f32>,
    /// `H`.
    pub width: usize,
}

/// An encoder with its tokenizer and its head.
#[derive(Debug)]
pub struct Engine {
    encoder: Box<dyn Encoder>,
    tokenizer: Arc<Tokenizer>,
    pooling: Pooling,
    normalize: bool,
    device: Device,
    precision: Precision,
    model_type: String,
}

impl Engine {
    /// Loads weights, tokenizer and sentence-transformers files.
    pub fn load(files: &ModelFiles, options: &EngineOptions) -> Result<Self> {
        let device = device::open(&options.device)?;
        let precision = device::dtype(&options.dtype, &device)?;
        let sentence = files.sentence_config()?;
        let pooling = match &options.pooling {
            Some(name) => Pooling::from_name(name)?,
            None => Pooling::from_name(&sentence.pooling)
                .map_err(|e| Error::model(files.origin(), e.to_string()))?,
        };
        let tokenizer = Arc::new(tokenizer(files, None)?);
        let encoder = model::load(files, &device, precision)?;
        let model_type = files.config()?["model_type"].as_str().unwrap_or_default().to_owned();
        let normalize = options.normalize.unwrap_or(sentence.normalize);
        Ok(Self { encoder, tokenizer, pooling, normalize, device, precision, model_type })
    }

    /// Computes one vector a text, on the current rayon pool; `stop` is looked at between batches.
    ///
    /// # Errors
    /// [`Error::Input`] for tokens of another tokenizer, or outside of what the model knows;
    /// [`Error::Stopped`] once `stop` is set.
    pub fn run(&self, tokens: &Tokens, stop: &AtomicBool) -> Result<Outputs> {
        check(tokens, self.tokenizer.digest(), self.encoder.sizes())?;
        let width = self.hidden_size();
        let mut batches = batch::pack(tokens, TOKEN_BUDGET);
        for batch in &mut batches {
            // Those that have no batch of their own, or none left, help with another's.
            batch.threads = rayon::current_num_threads();
        }
        let pooled = batches
            .par_iter()
            .with_max_len(1)
            .map(|batch| {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Stopped);
                }
                self.run_batch(batch)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut vectors = vec![0.0; tokens.len() * width];
        for (batch, rows) in batches.iter().zip(pooled) {
            for (&text, row) in batch.order.iter().zip(rows.chunks_exact(width)) {
                vectors[text * width..][..width].copy_from_slice(row);
            }
        }
        Ok(Outputs { vectors, width })
    }

    /// [`Tokenizer::encode`] and [`Engine::run`] in one call, for callers that have text.
    pub fn encode_and_run<S: Source>(
        &self,
        texts: &[S],
        options: EncodeOptions,
        stop: &AtomicBool,
    ) -> Result<Outputs> {
        self.run(&self.tokenizer.encode(texts, options, stop)?, stop)
    }

    /// The tokenizer whose tokens this engine takes.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// `model_type` in the model's `config.json`.
    #[must_use]
    pub fn model_type(&self) -> &str {
        &self.model_type
    }

    /// Width of a vector, `H`.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        self.encoder.sizes().hidden
    }

    /// Most tokens of a text that the model takes; the tokenizer's own limit may be lower.
    #[must_use]
    pub fn max_positions(&self) -> usize {
        self.encoder.sizes().positions
    }

    /// How hidden states become one vector.
    #[must_use]
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Whether vectors are scaled to unit length.
    #[must_use]
    pub fn normalize(&self) -> bool {
        self.normalize
    }

    /// The device's name.
    #[must_use]
    pub fn device(&self) -> String {
        device::label(&self.device)
    }

    /// The dtype's name.
    #[must_use]
    pub fn dtype(&self) -> &'static str {
        self.precision.name()
    }

    fn run_batch(&self, batch: &Batch) -> Result<Vec<f32>> {
        let width = self.hidden_size();
        let mut pooled = Vec::new();
        self.encoder.forward(batch, &mut |hidden| {
            pooled = self.pooling.pool(hidden, width, batch, self.normalize);
        })?;
        Ok(pooled)
    }
}

/// Fails unless `tokens` are of the tokenizer with this digest, and within what a model takes.
pub(crate) fn check(tokens: &Tokens, digest: &str, sizes: Sizes) -> Result<()> {
    tokens.check()?;
    if tokens.tokenizer_digest != digest {
        return Err(Error::input(format!(
            "the tokens were made by tokenizer {}, this model has {}; encode the texts with the \
             model's own tokenizer",
            tokens.tokenizer_digest, digest
        )));
    }
    let Sizes { positions, vocab, segments, .. } = sizes;
    for (text, &length) in tokens.lengths.iter().enumerate() {
        if length == 0 {
            return Err(Error::input(format!(
                "text {text} has no tokens; encode it with special tokens, or leave it out"
            )));
        }
        if length as usize > positions {
            return Err(Error::input(format!(
                "text {text} has {length} tokens, the model takes {positions}; truncate it"
            )));
        }
    }
    for (what, ids, most) in
        [("token", &tokens.ids, vocab), ("segment", &tokens.type_ids, segments)]
    {
        // Which text, and not which token: those stay out of messages.
        if let Some(at) = ids.iter().position(|&id| id as usize >= most) {
            return Err(Error::input(format!(
                "text {} has a {what} id outside of the {most} that the model knows; encode it with \
                 the model's own tokenizer",
                tokens.text_of(at)
            )));
        }
    }
    Ok(())
}
