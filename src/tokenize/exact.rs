use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::utils::truncation::{
    TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
};
use tokenizers::{
    Decoder as _, DecoderWrapper, EncodeInput, Encoding, InputSequence, NormalizerWrapper,
    PaddingParams, PostProcessor, PostProcessorWrapper, PreTokenizerWrapper,
};

use super::limits::{self, Shape};
use super::oniguruma;
use super::options::{Side, Strategy};
use super::source::View;
use super::truncate::{Refusal, kept, windows};
use crate::error::{Error, Result};

/// Most tokens of all windows over one text, or pair, that are made with their details.
const MOST_TOKENS: usize = 1 << 23;

/// The `tokenizers` crate itself: exact for every `tokenizer.json`, and the reference for any fast path.
///
/// The post-processor is held apart, so that a text can be cut between encoding and the special tokens
/// with options that belong to the call. (The crate keeps truncation and padding as state, and reads
/// them from `tokenizer.json`: files in the wild embed values that nobody asked for.)
#[derive(Debug)]
pub(super) struct Exact {
    tokenizer: tokenizers::Tokenizer,
    post: Option<PostProcessorWrapper>,
    padding: Option<PaddingParams>,
}

/// How a text is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Tokens that may stay beside special tokens.
    pub(super) room: usize,
    pub(super) strategy: Strategy,
    pub(super) side: Side,
    /// Tokens that windows over what is cut off share; `None` drops what is cut off.
    pub(super) stride: Option<usize>,
}

impl Exact {
    pub(super) fn from_bytes(data: &[u8]) -> Result<Self> {
        let bad = |reason: &str| {
            Error::model("tokenizer.json", format!("it cannot be read ({reason}); export it again"))
        };
        let shape = limits::check(data)?;
        let mut tokenizer = contained(|| tokenizers::Tokenizer::from_bytes(data))
            .ok_or_else(|| bad("its parts do not fit together"))?
            .map_err(|e| bad(&e.to_string()))?;
        contained(|| respell(&mut tokenizer, shape))
            .and_then(std::result::Result::ok)
            .ok_or_else(|| bad("its patterns cannot be compiled"))?;
        tokenizer
            .with_truncation(None)
            .map_err(|e| Error::internal(format!("tokenizers refused no truncation ({e})")))?;
        let padding = tokenizer.get_padding().cloned();
        tokenizer.with_padding(None);
        let post = tokenizer.get_post_processor().cloned();
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        Ok(Self { tokenizer, post, padding })
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    pub(super) fn post(&self) -> Option<&PostProcessorWrapper> {
        self.post.as_ref()
    }

    /// The padding that the definition embeds.
    pub(super) fn padding(&self) -> Option<&PaddingParams> {
        self.padding.as_ref()
    }

    pub(super) fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    pub(super) fn id_to_token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The text that ids stand for; `None` if the decoder fails. Ids that no token has are left out.
    pub(super) fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Option<String> {
        contained(|| self.tokenizer.decode(ids, skip_special_tokens))?.ok()
    }

    /// The text of tokens; `None` if the decoder fails.
    pub(super) fn join(&self, tokens: Vec<String>) -> Option<String> {
        contained(|| match self.tokenizer.get_decoder() {
            Some(decoder) => decoder.decode(tokens).ok(),
            None => Some(tokens.join(" ")),
        })?
    }

    /// Appends the ids of a text, without special tokens.
    pub(super) fn ids(&self, text: &View<'_>, ids: &mut Vec<u32>) -> Result<(), Refusal> {
        let encoding = contained(|| self.tokenizer.encode_fast(input(text), false));
        let encoding = encoding.and_then(std::result::Result::ok).ok_or(Refusal::Unencodable)?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }

    /// Encodes a text or a pair with all that upstream knows of its tokens.
    ///
    /// `copies` is how often the template uses the first and the second.
    pub(super) fn encode(
        &self,
        first: &View<'_>,
        second: Option<&View<'_>>,
        cut: Option<Cut>,
        add_special_tokens: bool,
        copies: [usize; 2],
    ) -> Result<(Encoding, bool), Refusal> {
        let encode = |text: &View<'_>| {
            let encoding = contained(|| self.tokenizer.encode_char_offsets(input(text), false));
            encoding.and_then(std::result::Result::ok).ok_or(Refusal::Unencodable)
        };
        let mut first = encode(first)?;
        let mut second = second.map(encode).transpose()?;
        if let Some(second) = &mut second {
            second.set_type_ids(vec![1; second.len()]);
        }
        let mut truncated = false;
        if let Some(cut) = cut {
            truncated = cut.check(&first, second.as_ref(), copies)?;
            let params = cut.params();
            let both = contained(|| truncate_encodings(first, second, &params));
            (first, second) = both.and_then(std::result::Result::ok).ok_or(Refusal::Unencodable)?;
            if cut.stride.is_none() {
                first.take_overflowing();
                second.as_mut().map(Encoding::take_overflowing);
            }
        }
        let encoding = contained(|| {
            if let Some(post) = &self.post {
                return post.process(first, second, add_special_tokens);
            }
            let both = [Some(first), second].into_iter().flatten().collect();
            <dyn PostProcessor>::default_process(both, add_special_tokens)
                .map(|mut rows| rows.pop().unwrap_or_default())
        });
        let encoding = encoding.and_then(std::result::Result::ok).ok_or(Refusal::Unencodable)?;
        Ok((encoding, truncated))
    }
}

impl Cut {
    fn params(&self) -> TruncationParams {
        TruncationParams {
            max_length: self.room,
            stride: self.stride.unwrap_or(0),
            direction: match self.side {
                Side::Left => TruncationDirection::Left,
                Side::Right => TruncationDirection::Right,
            },
            strategy: match self.strategy {
                Strategy::LongestFirst => TruncationStrategy::LongestFirst,
                Strategy::OnlyFirst => TruncationStrategy::OnlyFirst,
                Strategy::OnlySecond => TruncationStrategy::OnlySecond,
            },
        }
    }

    /// Says whether anything is cut off; fails where upstream would, or would take memory without bound.
    fn check(
        &self,
        first: &Encoding,
        second: Option<&Encoding>,
        copies: [usize; 2],
    ) -> Result<bool, Refusal> {
        let (first, second) = (first.len(), second.map(Encoding::len));
        let (left, other) = kept(first, second, self.room, self.strategy)?;
        if let Some(stride) = self.stride {
            let mut rows = 1usize;
            // Every window over the first is put together with every window over the second.
            for ((length, width), copies) in
                [(first, left), (second.unwrap_or(0), other)].into_iter().zip(copies)
            {
                let windows = windows(length, width, stride, self.side)?.len();
                (0..copies).for_each(|_| rows = rows.saturating_mul(windows));
            }
            if rows > 1 && rows.saturating_mul(left + other) > MOST_TOKENS {
                return Err(Refusal::Windows);
            }
        }
        Ok(first > left || second.unwrap_or(0) > other)
    }
}

fn input<'a>(text: &View<'a>) -> EncodeInput<'a> {
    EncodeInput::Single(match text {
        View::Whole(text) => InputSequence::from(*text),
        View::Words(words) => InputSequence::from(words.clone()),
    })
}

/// Replaces the parts with patterns that PyPI's package reads otherwise than the crate.
fn respell(tokenizer: &mut tokenizers::Tokenizer, mut shape: Shape) -> tokenizers::Result<()> {
    if oniguruma::respell(&mut shape.normalizer) {
        let normalizer: NormalizerWrapper = serde_json::from_value(shape.normalizer)?;
        tokenizer.with_normalizer(Some(normalizer))?;
    }
    if oniguruma::respell(&mut shape.pre_tokenizer) {
        let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(shape.pre_tokenizer)?;
        tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    }
    if oniguruma::respell(&mut shape.decoder) {
        let decoder: DecoderWrapper = serde_json::from_value(shape.decoder)?;
        tokenizer.with_decoder(Some(decoder));
    }
    Ok(())
}

/// The crate panics on some definitions, when it reads or when it uses them: `None` then.
pub(super) fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
