use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::exact::Exact;
use super::tokens::Tokens;
use crate::digest::{hex, sha256};
use crate::error::{Error, Result};

/// Texts that one task encodes: enough to hide the cost of a task, few enough to share the work.
const TEXTS_PER_TASK: usize = 16;

/// What belongs to one call of [`Tokenizer::encode`].
#[derive(Debug, Clone, Copy)]
pub struct EncodeOptions {
    /// Cut texts to the maximum length; otherwise they keep all of their tokens.
    pub truncation: bool,
    /// Maximum tokens of a text, special tokens included; `None` takes the tokenizer's own limit.
    pub max_length: Option<usize>,
    /// Add the special tokens that the tokenizer's template names.
    pub add_special_tokens: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { truncation: true, max_length: None, add_special_tokens: true }
    }
}

/// A Hugging Face tokenizer.
///
/// Stateless: truncation belongs to the call, and what `tokenizer.json` embeds of it is ignored.
#[derive(Debug)]
pub struct Tokenizer {
    exact: Exact,
    digest: String,
    max_length: Option<usize>,
}

impl Tokenizer {
    /// Reads the definition in `tokenizer.json`; `max_length` is the model's limit in tokens, if it has one.
    pub fn from_bytes(data: &[u8], max_length: Option<usize>) -> Result<Self> {
        let exact = Exact::from_bytes(data)?;
        Ok(Self { exact, digest: hex(&sha256(data)), max_length })
    }

    /// sha256 of the definition, lower-case hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The limit in tokens that a text is cut to unless a call says otherwise.
    #[must_use]
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// Number of tokens, added ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.exact.vocab_size()
    }

    /// Encodes `texts` in parallel on the current rayon pool, in their order; `stop` is looked at between
    /// texts.
    pub fn encode<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        options: EncodeOptions,
        stop: &AtomicBool,
    ) -> Result<Tokens> {
        let max_length =
            if options.truncation { options.max_length.or(self.max_length) } else { None };
        let added = if options.add_special_tokens { self.exact.added() } else { 0 };
        if let Some(max) = max_length.filter(|&max| max <= added) {
            return Err(Error::input(format!(
                "max_length {max} leaves no room beside {added} special tokens; set it to {} or more",
                added + 1
            )));
        }
        let parts = texts
            .par_chunks(TEXTS_PER_TASK)
            .enumerate()
            .map(|(task, chunk)| {
                let mut part = Tokens::default();
                for (offset, text) in chunk.iter().enumerate() {
                    if stop.load(Ordering::Relaxed) {
                        return Err(Error::Stopped);
                    }
                    let (ids, type_ids, truncated) = self
                        .exact
                        .encode(text.as_ref(), max_length, options.add_special_tokens)
                        .ok_or_else(|| {
                            let index = task * TEXTS_PER_TASK + offset;
                            Error::input(format!(
                                "text {index} cannot be encoded by this tokenizer; leave it out, or check \
                                 that tokenizer.json is whole and has a token for what is unknown"
                            ))
                        })?;
                    part.push(&ids, &type_ids, truncated)?;
                }
                Ok(part)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut tokens = Tokens { tokenizer_digest: self.digest.clone(), ..Tokens::default() };
        for part in parts {
            tokens.ids.extend(part.ids);
            tokens.type_ids.extend(part.type_ids);
            tokens.lengths.extend(part.lengths);
            tokens.truncated += part.truncated;
        }
        Ok(tokens)
    }
}
