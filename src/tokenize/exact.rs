use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{PostProcessor, PostProcessorWrapper, TruncationDirection};

use crate::error::{Error, Result};

/// The `tokenizers` crate itself: exact for every `tokenizer.json`, and the reference for any fast path.
///
/// The post-processor is held apart, so that a text can be cut between encoding and the special tokens
/// with options that belong to the call. (The crate keeps truncation and padding as state, and reads
/// them from `tokenizer.json`: files in the wild embed values that nobody asked for.)
#[derive(Debug)]
pub(super) struct Exact {
    tokenizer: tokenizers::Tokenizer,
    post: Option<PostProcessorWrapper>,
}

impl Exact {
    pub(super) fn from_bytes(data: &[u8]) -> Result<Self> {
        let bad = |reason: &str| {
            Error::model("tokenizer.json", format!("it cannot be read ({reason}); export it again"))
        };
        let mut tokenizer = contained(|| tokenizers::Tokenizer::from_bytes(data))
            .ok_or_else(|| bad("its parts do not fit together"))?
            .map_err(|e| bad(&e.to_string()))?;
        tokenizer
            .with_truncation(None)
            .map_err(|e| Error::internal(format!("tokenizers refused no truncation ({e})")))?;
        tokenizer.with_padding(None);
        let post = tokenizer.get_post_processor().cloned();
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        Ok(Self { tokenizer, post })
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Special tokens that one text gets.
    pub(super) fn added(&self) -> usize {
        self.post.as_ref().map_or(0, |post| post.added_tokens(false))
    }

    /// Encodes one text to ids and type ids, and says whether it was cut; `None` if it cannot be encoded.
    ///
    /// The crate's message could quote the text, so it is not passed on.
    pub(super) fn encode(
        &self,
        text: &str,
        max_length: Option<usize>,
        add_special_tokens: bool,
    ) -> Option<(Vec<u32>, Vec<u32>, bool)> {
        contained(|| self.encode_or_panic(text, max_length, add_special_tokens))?.ok()
    }

    fn encode_or_panic(
        &self,
        text: &str,
        max_length: Option<usize>,
        add_special_tokens: bool,
    ) -> tokenizers::Result<(Vec<u32>, Vec<u32>, bool)> {
        let mut encoding = self.tokenizer.encode_fast(text, false)?;
        let mut truncated = false;
        if let Some(max) = max_length {
            let room = max.saturating_sub(if add_special_tokens { self.added() } else { 0 });
            truncated = encoding.len() > room;
            encoding.truncate(room, 0, TruncationDirection::Right);
            encoding.take_overflowing();
        }
        if let Some(post) = &self.post {
            encoding = post.process(encoding, None, add_special_tokens)?;
        }
        Ok((encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec(), truncated))
    }
}

/// The crate panics on some definitions, when it reads or when it uses them: `None` then.
fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
