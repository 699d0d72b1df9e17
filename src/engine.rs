//! Model and head composed: tokens to vectors, and texts to vectors for callers that have text.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use rayon::prelude::*;

use crate::batch::{self, Batch};
use crate::device::{self, Precision};
use crate::error::{Error, Result};
use crate::head::{Pooling, Sentence, Shape};
use crate::hub::{ModelFiles, Prompts};
use crate::model::{self, Encoder, Sizes};
use crate::tokenize::{Defaults, EncodeOptions, Tokenizer, Tokens};

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
    /// Numbers of a vector, the first ones; `None` keeps all.
    pub truncate_dim: Option<usize>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            device: "auto".into(),
            dtype: "float32".into(),
            pooling: None,
            normalize: None,
            truncate_dim: None,
        }
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

/// Vectors of `B` texts, or of their `N` tokens, in the order in which they were given.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// `(B, H)` or `(N, H)`, row after row.
    pub vectors: Vec<f32>,
    /// `H`.
    pub width: usize,
}

/// An encoder with its tokenizer and its head.
pub struct Engine {
    encoder: Box<dyn Encoder>,
    tokenizer: Arc<Tokenizer>,
    head: Sentence,
    /// What was asked for at loading.
    shape: Shape,
    prompts: Prompts,
    device: Device,
    precision: Precision,
    model_type: String,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("encoder", &self.encoder)
            .field("pooling", self.pooling())
            .field("normalize", &self.normalize())
            .field("device", &self.device())
            .field("dtype", &self.dtype())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads weights, tokenizer and sentence-transformers files.
    pub fn load(files: &ModelFiles, options: &EngineOptions) -> Result<Self> {
        let device = device::open(&options.device)?;
        let precision = device::dtype(&options.dtype, &device)?;
        let pooling = options.pooling.as_deref().map(Pooling::from_name).transpose()?;
        let (normalize, truncate_dim) = (options.normalize, options.truncate_dim);
        let shape = Shape { pooling, normalize, truncate_dim, skip: 0 };
        let prompts = files.prompts()?;
        let (tokenizer, encoder) =
            rayon::join(|| tokenizer(files, None), || model::load(files, &device, precision));
        let (tokenizer, encoder) = (Arc::new(tokenizer?), encoder?);
        let head = Sentence::load(files, encoder.sizes().hidden)?;
        head.width(encoder.sizes().hidden, &shape)?;
        let model_type = files.config()?["model_type"].as_str().unwrap_or_default().to_owned();
        Ok(Self { encoder, tokenizer, head, shape, prompts, device, precision, model_type })
    }

    /// Computes one vector a text, on the current rayon pool; `stop` is looked at between batches.
    ///
    /// # Errors
    /// [`Error::Input`] for tokens of another tokenizer, or outside of what the model knows;
    /// [`Error::Stopped`] once `stop` is set.
    pub fn run(&self, tokens: &Tokens, stop: &AtomicBool) -> Result<Outputs> {
        self.run_as(tokens, Shape::default(), stop)
    }

    /// As [`Engine::run`], with vectors of another shape, which goes before what was asked for at loading.
    ///
    /// # Errors
    /// Those of [`Engine::run`], and of [`Sentence::width`].
    pub fn run_as(&self, tokens: &Tokens, shape: Shape, stop: &AtomicBool) -> Result<Outputs> {
        let shape = shape.or(&self.shape);
        let (hidden, width) = (self.hidden_size(), self.head.width(self.hidden_size(), &shape)?);
        let one = |batch: &Batch| self.head.looks_at(batch, &shape);
        let (batches, pooled) = self.over_batches(tokens, stop, one, |states, batch| {
            let ones = vec![1; batch.lengths.len()];
            let all = states.len() == batch.ids.len() * hidden;
            self.head.vectors(states, hidden, if all { &batch.lengths } else { &ones }, &shape)
        })?;
        let mut vectors = vec![0.0; tokens.len() * width];
        for (batch, rows) in batches.iter().zip(pooled) {
            for (&text, row) in batch.order.iter().zip(rows.chunks_exact(width)) {
                vectors[text * width..][..width].copy_from_slice(row);
            }
        }
        Ok(Outputs { vectors, width })
    }

    /// Computes the last hidden state of each token, `(N, H)`, before any pooling.
    ///
    /// # Errors
    /// Those of [`Engine::run`].
    pub fn hidden_states(&self, tokens: &Tokens, stop: &AtomicBool) -> Result<Outputs> {
        let width = self.hidden_size();
        let (batches, states) =
            self.over_batches(tokens, stop, |_| None, |states, _| Ok(states.to_vec()))?;
        let starts: Vec<usize> = tokens.starts().collect();
        let mut vectors = vec![0.0; tokens.ids.len() * width];
        for (batch, states) in batches.iter().zip(states) {
            let mut rest = &states[..];
            for (&text, &length) in batch.order.iter().zip(&batch.lengths) {
                let (rows, after) = rest.split_at(length * width);
                vectors[starts[text] * width..][..rows.len()].copy_from_slice(rows);
                rest = after;
            }
        }
        Ok(Outputs { vectors, width })
    }

    /// What `read` makes of each batch's hidden states, or of those of the tokens that `only` names.
    fn over_batches<T: Default + Send>(
        &self,
        tokens: &Tokens,
        stop: &AtomicBool,
        only: impl Fn(&Batch) -> Option<Vec<u32>> + Sync,
        read: impl Fn(&[f32], &Batch) -> Result<T> + Sync,
    ) -> Result<(Vec<Batch>, Vec<T>)> {
        check(tokens, self.tokenizer.digest(), self.encoder.sizes())?;
        let mut batches = batch::pack(tokens, TOKEN_BUDGET);
        let threads = rayon::current_num_threads();
        if batches.len() < threads {
            // Too few to keep all threads busy: the threads share each batch instead.
            for batch in &mut batches {
                batch.threads = threads;
            }
        }
        let results = batches
            .par_iter()
            .map(|batch| {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Stopped);
                }
                let (mut result, only) = (Ok(T::default()), only(batch));
                let read = &mut |states: &[f32]| result = read(states, batch);
                self.encoder.forward(batch, only.as_deref(), read)?;
                result
            })
            .collect::<Result<Vec<_>>>()?;
        Ok((batches, results))
    }

    /// [`Tokenizer::encode`] and [`Engine::run`] in one call, for callers that have text. `prompt` is put before
    /// each text; `None` takes the model's own.
    pub fn encode_and_run<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        prompt: Option<&str>,
        options: EncodeOptions,
        stop: &AtomicBool,
    ) -> Result<Outputs> {
        let options = EncodeOptions { side: self.tokenizer.truncation_side(), ..options };
        let prompt = prompt.unwrap_or_else(|| self.prompts.default_prompt());
        if prompt.is_empty() {
            return self.run(&self.tokenizer.encode(texts, options, stop)?, stop);
        }
        let texts: Vec<String> =
            texts.iter().map(|text| format!("{prompt}{}", text.as_ref())).collect();
        let tokens = self.tokenizer.encode(&texts, options, stop)?;
        let skip = self.prompt_tokens(prompt)?;
        self.run_as(&tokens, Shape { skip, ..Shape::default() }, stop)
    }

    /// Tokens at the beginning of a text that are those of a prompt, and not pooled; 0 where the model pools them.
    ///
    /// As in sentence-transformers, they are those of the prompt alone, but for a special token at its end.
    pub fn prompt_tokens(&self, prompt: &str) -> Result<usize> {
        if self.head.include_prompt() || prompt.is_empty() {
            return Ok(0);
        }
        let options = EncodeOptions { special_mask: true, ..EncodeOptions::default() };
        let encoded = self.tokenizer.encodings(&prompt, None, options)?;
        let mask = encoded.first().map_or(&[][..], |encoding| encoding.special_tokens_mask());
        Ok(mask.len() - usize::from(mask.last() == Some(&1)))
    }

    /// The prompts that the model's files name.
    #[must_use]
    pub fn prompts(&self) -> &Prompts {
        &self.prompts
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

    /// Width of a hidden state, `H`.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        self.encoder.sizes().hidden
    }

    /// Width of a vector.
    pub fn width(&self) -> Result<usize> {
        self.head.width(self.hidden_size(), &self.shape)
    }

    /// Most tokens of a text that the model takes; the tokenizer's own limit may be lower.
    #[must_use]
    pub fn max_positions(&self) -> usize {
        self.encoder.sizes().positions
    }

    /// How hidden states become one vector.
    #[must_use]
    pub fn pooling(&self) -> &Pooling {
        self.shape.pooling.as_ref().unwrap_or_else(|| self.head.pooling())
    }

    /// Whether vectors are scaled to unit length.
    #[must_use]
    pub fn normalize(&self) -> bool {
        self.shape.normalize.unwrap_or_else(|| self.head.normalize())
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
