use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use super::defaults::{Defaults, PADS};
use super::definition::{Definition, Vocab};
use super::encode::{INLINE_BYTES, Plan};
use super::encoding::Encoding;
use super::exact::{Cut, Exact, contained};
use super::fast::Fast;
use super::limits;
use super::names::Names;
use super::options::{EncodeOptions, Side};
use super::rows::Rows;
use super::source::{Inputs, Source, View};
use super::template::{Origin, Template};
use super::tokens::Tokens;
use crate::digest::{hex, sha256};
use crate::error::{Error, Result};

/// Bytes of text that the calling thread encodes where another one would do it alone. Ctrl-C waits for them: some
/// 10 ms, and half a second at most (words without end, all of them new).
const ALONE_BYTES: usize = 1 << 18;

/// Ids for which decoding stays on its own thread.
const INLINE_IDS: usize = 4096;

/// As [`ALONE_BYTES`], in ids to decode.
const ALONE_IDS: usize = 1 << 16;

/// A Hugging Face tokenizer.
///
/// Stateless: truncation and padding belong to the call, and what `tokenizer.json` embeds of them is ignored,
/// but for the padding token and side.
#[derive(Debug)]
pub struct Tokenizer {
    /// What gives ids, if a family of the fast path covers the definition.
    fast: Option<Fast>,
    /// What gives them else, and what else there is to know: made at once if there is no `fast`.
    exact: OnceLock<Box<Exact>>,
    /// What ids are called, if there is a `fast`: made when first asked for. `None`: `exact` must say.
    names: OnceLock<Option<Box<Names>>>,
    /// The definition, for what is still to be made of it.
    data: Box<[u8]>,
    template: Template,
    vocab_size: usize,
    pad: Option<Pad>,
    padding_side: Side,
    defaults: Defaults,
    digest: String,
}

/// The token that padding consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pad {
    pub token: String,
    pub id: u32,
    pub type_id: u32,
}

impl Tokenizer {
    /// Reads the definition in `tokenizer.json`.
    pub fn from_bytes(data: &[u8], defaults: Defaults) -> Result<Self> {
        limits::size(data)?;
        let definition = Definition::parse(data);
        if let Some(definition) = &definition {
            let decoder = serde_json::to_value(&definition.decoder).unwrap_or_default();
            limits::steps(&definition.normalizer, &definition.pre_tokenizer, &decoder)?;
        }
        // What upstream panics on is for the exact path to say.
        let fast = definition.as_ref();
        let fast = fast.and_then(|definition| contained(|| Fast::new(definition)).flatten());
        let digest = hex(&sha256(data));
        if let Some((definition, fast)) = definition.zip(fast) {
            let template = Template::new(definition.post_processor.as_ref());
            let padding = definition.padding.as_ref();
            return Ok(Self {
                vocab_size: fast.vocab_size(),
                fast: Some(fast),
                exact: OnceLock::new(),
                names: OnceLock::new(),
                data: data.into(),
                template: template.or_else(limits::refuse)?,
                pad: Pad::find(&defaults, padding, |token| id_of(&definition, token)),
                padding_side: side(&defaults, padding),
                defaults,
                digest,
            });
        }
        let exact = Exact::from_bytes(data)?;
        Ok(Self {
            fast: None,
            names: OnceLock::from(None),
            data: Box::default(),
            template: Template::new(exact.post()).or_else(limits::refuse)?,
            vocab_size: exact.vocab_size(),
            pad: Pad::find(&defaults, exact.padding(), |token| exact.token_to_id(token)),
            padding_side: side(&defaults, exact.padding()),
            exact: OnceLock::from(Box::new(exact)),
            defaults,
            digest,
        })
    }

    /// sha256 of the definition, lower-case hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The limit in tokens that a text is cut to unless a call says otherwise.
    #[must_use]
    pub fn max_length(&self) -> Option<usize> {
        self.defaults.max_length
    }

    /// What the tokenizer does unless a call says otherwise.
    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Number of tokens, added ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token that padding consists of, if the model's files name one.
    #[must_use]
    pub fn pad(&self) -> Option<&Pad> {
        self.pad.as_ref()
    }

    /// Where padding goes unless a call says otherwise.
    #[must_use]
    pub fn padding_side(&self) -> Side {
        self.padding_side
    }

    /// The end at which tokens are cut off unless a call says otherwise.
    #[must_use]
    pub fn truncation_side(&self) -> Side {
        self.defaults.truncation_side
    }

    /// Special tokens that a text, or a pair, gets.
    #[must_use]
    pub fn added_tokens(&self, pair: bool) -> usize {
        self.template.added(true, pair)
    }

    /// The id of a token; `None` if the tokenizer does not have it.
    pub fn token_to_id(&self, token: &str) -> Result<Option<u32>> {
        match self.names() {
            Some(names) => Ok(names.id(token)),
            None => Ok(self.exact()?.token_to_id(token)),
        }
    }

    /// The token with an id; `None` if there is none.
    pub fn id_to_token(&self, id: u32) -> Result<Option<String>> {
        match self.names() {
            Some(names) => Ok(names.token(id).map(str::to_owned)),
            None => Ok(self.exact()?.id_to_token(id)),
        }
    }

    /// Encodes texts, in their order; `stop` is looked at between texts.
    ///
    /// In parallel if it is called in a rayon pool, and there is enough to do.
    pub fn encode<S: Source>(
        &self,
        texts: &[S],
        options: EncodeOptions,
        stop: &AtomicBool,
    ) -> Result<Tokens> {
        self.tokens(Inputs { first: texts, second: None }, options, stop)
    }

    /// As [`Tokenizer::encode`], of pairs too.
    pub fn tokens<S: Source>(
        &self,
        inputs: Inputs<'_, S>,
        options: EncodeOptions,
        stop: &AtomicBool,
    ) -> Result<Tokens> {
        Ok(self.rows(inputs, options, stop)?.into_tokens(self.digest.clone()))
    }

    /// As [`Tokenizer::tokens`], with what else is asked for.
    pub fn rows<S: Source>(
        &self,
        inputs: Inputs<'_, S>,
        options: EncodeOptions,
        stop: &AtomicBool,
    ) -> Result<Rows> {
        if inputs.second.is_some_and(|second| second.len() != inputs.first.len()) {
            return Err(Error::input("there must be as many second texts as first ones"));
        }
        let words = |texts: &[S]| matches!(texts.first().map(Source::view), Some(View::Words(_)));
        let words = words(inputs.first) || inputs.second.is_some_and(words);
        self.plan(options, inputs.second.is_some(), words)?.run(inputs, stop)
    }

    /// All that there is to know of the rows of one text or pair.
    pub fn encodings<S: Source>(
        &self,
        first: &S,
        second: Option<&S>,
        options: EncodeOptions,
    ) -> Result<Vec<Encoding>> {
        let options = EncodeOptions { offsets: true, ..options };
        let plan = self.plan(options, second.is_some(), true)?;
        let encoding = plan.encoding(&first.view(), second.map(Source::view).as_ref());
        let (encoding, _) = encoding.map_err(|refusal| plan.explain(refusal, 0))?;
        Ok(Encoding::all(encoding))
    }

    /// The text that ids stand for. Ids that no token has are left out.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let text = match self.names() {
            Some(names) => contained(|| names.decode(ids, skip_special_tokens)).flatten(),
            None => self.exact()?.decode(ids, skip_special_tokens),
        };
        text.ok_or_else(|| {
            Error::input(
                "the ids cannot be decoded by this tokenizer; check that tokenizer.json is whole",
            )
        })
    }

    /// The text that tokens stand for, or words made of some: what the decoder makes of them, which need not be
    /// in the vocabulary.
    pub fn join(&self, tokens: Vec<String>) -> Result<String> {
        let text = match self.names() {
            Some(names) => contained(|| names.join(tokens)).flatten(),
            None => self.exact()?.join(tokens),
        };
        text.ok_or_else(|| Error::input("the tokens cannot be joined by this tokenizer's decoder"))
    }

    /// The texts that rows of ids stand for; in parallel if it is called in a rayon pool.
    pub fn decode_batch(
        &self,
        rows: &[Vec<u32>],
        skip_special_tokens: bool,
    ) -> Result<Vec<String>> {
        let decode = |row: &Vec<u32>| self.decode(row, skip_special_tokens);
        let threads = rayon::current_num_threads;
        if rayon::current_thread_index().is_none() || Self::decodes_inline(rows, threads) {
            return rows.iter().map(decode).collect();
        }
        // Made before the tasks start, which would each make it.
        if self.names().is_none() {
            self.exact()?;
        }
        rows.par_iter().map(decode).collect()
    }

    /// Whether texts are best encoded on the calling thread, where a pool has so many threads. It is not long
    /// before that is done: nothing stops it meanwhile.
    pub fn encodes_inline<S: Source>(
        &self,
        inputs: Inputs<'_, S>,
        options: EncodeOptions,
        threads: impl FnOnce() -> usize,
    ) -> bool {
        let bytes = inputs.cost();
        let words = |texts: &[S]| matches!(texts.first().map(Source::view), Some(View::Words(_)));
        let slow = || {
            let words = words(inputs.first) || inputs.second.is_some_and(words);
            self.fast.is_none() || options.offsets || options.overflow || words
        };
        bytes <= INLINE_BYTES || (bytes <= ALONE_BYTES && !slow() && threads() == 1)
    }

    /// Whether so many ids are best decoded on the calling thread, where a pool has so many threads.
    pub fn decodes_inline(rows: &[Vec<u32>], threads: impl FnOnce() -> usize) -> bool {
        let ids = rows.iter().map(Vec::len).sum::<usize>();
        ids <= INLINE_IDS || (ids <= ALONE_IDS && threads() == 1)
    }

    fn plan(&self, options: EncodeOptions, pair: bool, words: bool) -> Result<Plan<'_>> {
        let special = options.add_special_tokens;
        let layout = self.template.layout(special, pair);
        let added = self.template.added(special, pair);
        let max_length = options.max_length.or(self.defaults.max_length);
        let cut = match options.truncation.zip(max_length) {
            None => None,
            Some((_, max)) if max <= added => {
                return Err(Error::input(format!(
                    "max_length {max} leaves no room beside {added} special tokens; set it to {} or more",
                    added + 1
                )));
            }
            Some((strategy, max)) => {
                let (room, side) = (max - added, options.side);
                let stride = options.overflow.then_some(options.stride);
                Some(Cut { room, strategy, side, stride })
            }
        };
        if let Some(Cut { room, stride: Some(stride), .. }) = cut
            && stride >= room
        {
            return Err(Error::input(format!(
                "stride {stride} must be less than the {room} tokens that fit beside the special tokens"
            )));
        }
        // Upstream's rows of windows over both texts, or over one that stands twice, have an order of their own.
        let firsts = layout.into_iter().flatten().filter(|piece| piece.origin == Origin::First);
        let windows = cut.is_some_and(|cut| cut.stride.is_some()) && (pair || firsts.count() != 1);
        let detailed = options.offsets || windows;
        let upstream = detailed || words || self.fast.is_none();
        let exact = if upstream { Some(self.exact()?) } else { None };
        Ok(Plan { fast: self.fast.as_ref(), exact, layout, options, cut, detailed })
    }

    /// Two threads may both make it, and one is dropped: no thread waits for another, so that a child forked
    /// meanwhile does not wait for a thread that it does not have.
    fn exact(&self) -> Result<&Exact> {
        if let Some(exact) = self.exact.get() {
            return Ok(exact);
        }
        let made = Box::new(Exact::from_bytes(&self.data)?);
        Ok(self.exact.get_or_init(|| made))
    }

    /// As [`Tokenizer::exact`].
    fn names(&self) -> Option<&Names> {
        if let Some(names) = self.names.get() {
            return names.as_deref();
        }
        let made = contained(|| Names::new(&Definition::parse(&self.data)?)).flatten();
        self.names.get_or_init(|| made.map(Box::new)).as_deref()
    }
}

impl Pad {
    /// The token that the model's files name, or one that pads by custom.
    fn find(
        defaults: &Defaults,
        embedded: Option<&tokenizers::PaddingParams>,
        id_of: impl Fn(&str) -> Option<u32>,
    ) -> Option<Self> {
        let embedded_type_id = embedded.map(|padding| padding.pad_type_id);
        let type_id = defaults.pad_type_id.or(embedded_type_id).unwrap_or(0);
        let pad = |token: &str, id| Self { token: token.to_owned(), id, type_id };
        if let Some(token) = defaults.pad_token.as_deref() {
            return id_of(token).map(|id| pad(token, id));
        }
        if let Some(padding) = embedded {
            let id = id_of(&padding.pad_token).unwrap_or(padding.pad_id);
            return Some(pad(&padding.pad_token, id));
        }
        PADS.into_iter().find_map(|token| Some(pad(token, id_of(token)?)))
    }
}

fn side(defaults: &Defaults, embedded: Option<&tokenizers::PaddingParams>) -> Side {
    let embedded = embedded.map(|padding| match padding.direction {
        tokenizers::PaddingDirection::Left => Side::Left,
        tokenizers::PaddingDirection::Right => Side::Right,
    });
    defaults.padding_side.or(embedded).unwrap_or_default()
}

/// The id of a token, as upstream finds it.
fn id_of(definition: &Definition<'_>, token: &str) -> Option<u32> {
    let mut added = definition.added_tokens.iter();
    if let Some(added) = added.find(|added| &*added.content == token) {
        return Some(added.id);
    }
    match &definition.model.vocab {
        Vocab::Ids(ids) => ids.iter().rev().find(|(own, _)| &**own == token).map(|(_, id)| *id),
        Vocab::Scores(scores) => {
            u32::try_from(scores.iter().rposition(|(piece, _)| &**piece == token)?).ok()
        }
    }
}
