use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;

use super::arguments::{Count, Text};
use super::batch::{self, Call};
use super::call::{self, Fit, Kind, Truncation};
use super::ids;
use super::texts::{self, Batch};
use super::tokens::Tokens;
use super::{enter, errors::input};
use crate::engine;
use crate::hub::ModelFiles;
use crate::runtime;
use crate::tokenize::{self, Column, Defaults, EncodeOptions, Inputs, Side, Strategy};

/// A Hugging Face tokenizer.
///
/// Truncation and padding belong to the call; of what a tokenizer.json embeds of them, only the padding
/// token and side are taken. Safe to use from several threads at once, and in a child after fork.
///
/// Example:
///     >>> tokenizer = legato.Tokenizer.from_dir(MODEL)
///     >>> tokenizer.encode(["hello world"]).input_ids
///     array([ 101, 7592, 2088,  102], dtype=int32)
///     >>> tokenizer(["hello world", "hi"], padding=True, return_tensors="np")["input_ids"]
///     array([[ 101, 7592, 2088,  102],
///            [ 101, 7632,  102,    0]])
#[pyclass(frozen, module = "legato._native")]
pub(super) struct Tokenizer {
    pub(super) inner: Arc<tokenize::Tokenizer>,
}

#[pymethods]
impl Tokenizer {
    /// Read a tokenizer from the bytes of its tokenizer.json.
    ///
    /// Args:
    ///     data: the file's bytes.
    ///     max_length: tokens that a text is cut to unless a call says otherwise; None: no limit.
    ///
    /// Raises:
    ///     ModelError: the definition cannot be read.
    #[staticmethod]
    #[pyo3(signature = (data, *, max_length = None))]
    fn from_bytes(py: Python<'_>, data: &[u8], max_length: Option<Count>) -> PyResult<Self> {
        let max_length = max_length.map(|n| n.0);
        let defaults = Defaults { max_length, ..Defaults::default() };
        let inner = enter::quick(py, || tokenize::Tokenizer::from_bytes(data, defaults))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Read a tokenizer from a tokenizer.json file.
    ///
    /// Args:
    ///     path: the file.
    ///     max_length: tokens that a text is cut to unless a call says otherwise; None: no limit.
    ///
    /// Raises:
    ///     ModelError: the file is missing, or cannot be read.
    #[staticmethod]
    #[pyo3(signature = (path, *, max_length = None))]
    fn from_file(py: Python<'_>, path: PathBuf, max_length: Option<Count>) -> PyResult<Self> {
        let max_length = max_length.map(|n| n.0);
        let inner = enter::quick(py, || {
            let defaults = Defaults { max_length, ..Defaults::default() };
            tokenize::Tokenizer::from_bytes(&ModelFiles::tokenizer_file(&path)?, defaults)
        })?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Read a tokenizer, the model's limit in tokens and its padding token from a model folder.
    ///
    /// Args:
    ///     path: the folder with tokenizer.json, config.json and the sentence-transformers files.
    ///     max_length: tokens that a text is cut to instead of the model's own limit.
    ///
    /// Raises:
    ///     ModelError: the folder is not a whole model, or the definition cannot be read.
    #[staticmethod]
    #[pyo3(signature = (path, *, max_length = None))]
    fn from_dir(py: Python<'_>, path: PathBuf, max_length: Option<Count>) -> PyResult<Self> {
        let max_length = max_length.map(|n| n.0);
        let inner =
            enter::quick(py, || engine::tokenizer(&ModelFiles::from_dir(&path)?, max_length))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Read a tokenizer, the model's limit in tokens and its padding token from a model's files.
    ///
    /// Args:
    ///     files: the model's files.
    ///     max_length: tokens that a text is cut to instead of the model's own limit.
    ///
    /// Raises:
    ///     ModelError: the definition cannot be read.
    #[staticmethod]
    #[pyo3(signature = (files, *, max_length = None))]
    fn from_files(
        py: Python<'_>,
        files: &super::files::ModelFiles,
        max_length: Option<Count>,
    ) -> PyResult<Self> {
        let max_length = max_length.map(|n| n.0);
        let inner = enter::quick(py, || engine::tokenizer(&files.inner, max_length))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// sha256 of the definition, lower-case hex.
    #[getter]
    fn digest(&self) -> &str {
        self.inner.digest()
    }

    /// Tokens that a text is cut to unless a call says otherwise.
    #[getter]
    fn max_length(&self) -> Option<usize> {
        self.inner.max_length()
    }

    /// Number of tokens, added ones included.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.inner.vocab_size()
    }

    /// Id of the padding token; None if the model's files name none.
    #[getter]
    fn pad_id(&self) -> Option<u32> {
        self.inner.pad().map(|pad| pad.id)
    }

    /// The padding token; None if the model's files name none.
    #[getter]
    fn pad_token(&self) -> Option<&str> {
        self.inner.pad().map(|pad| pad.token.as_str())
    }

    /// Return how many special tokens a text, or a pair, gets.
    #[pyo3(signature = (pair = false))]
    fn num_special_tokens_to_add(&self, pair: bool) -> usize {
        self.inner.added_tokens(pair)
    }

    /// Return the id of a token; None if the tokenizer does not have it.
    fn token_to_id(&self, py: Python<'_>, token: Text) -> PyResult<Option<u32>> {
        enter::quick(py, || self.inner.token_to_id(&token.0))
    }

    /// Return the token with an id; None if there is none.
    fn id_to_token(&self, py: Python<'_>, token_id: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
        let token_id = ids::one(token_id)?;
        enter::quick(py, || self.inner.id_to_token(token_id))
    }

    /// Encode texts to flat tokens, which an engine takes.
    ///
    /// Args:
    ///     texts: one text, or a sequence, an array, a series or an iterator of them.
    ///     pairs: as many second texts, to encode pairs.
    ///     truncation: cut texts to the maximum length. True, or "longest_first": of a pair the longer, then
    ///         both; "only_first" or "only_second": that text of a pair.
    ///     max_length: maximum tokens of a text, special tokens included; None takes the tokenizer's.
    ///     truncation_side: "right" or "left", the end that is cut off; None takes the tokenizer's.
    ///     add_special_tokens: add the special tokens of the tokenizer's template.
    ///
    /// Returns:
    ///     Tokens of all texts, in their order.
    ///
    /// Raises:
    ///     InputError: something is no text, has a lone surrogate, or max_length leaves no room.
    #[pyo3(signature = (
        texts, *, pairs = None, truncation = Truncation::Is(Some(Strategy::LongestFirst)),
        max_length = None, truncation_side = None, add_special_tokens = true
    ), text_signature = "($self, texts, *, pairs=None, truncation=True, max_length=None, \
        truncation_side=None, add_special_tokens=True)")]
    #[allow(clippy::too_many_arguments)] // Python's own
    fn encode(
        &self,
        py: Python<'_>,
        texts: &Bound<'_, PyAny>,
        pairs: Option<&Bound<'_, PyAny>>,
        truncation: Truncation,
        max_length: Option<Count>,
        truncation_side: Option<Side>,
        add_special_tokens: bool,
    ) -> PyResult<Tokens> {
        let first = texts::extract(texts)?;
        let second = pairs.map(texts::extract).transpose()?;
        let options = EncodeOptions {
            truncation: match truncation {
                Truncation::Unsaid => None,
                Truncation::Is(strategy) => strategy,
            },
            max_length: max_length.map(|n| n.0),
            side: truncation_side.unwrap_or(self.inner.truncation_side()),
            add_special_tokens,
            ..EncodeOptions::default()
        };
        let inputs = Inputs { first: &first, second: second.as_deref() };
        let tokens = batch::compute(py, &self.inner, inputs, options, |stop| {
            self.inner.tokens(inputs, options, stop)
        })?;
        Ok(Tokens { inner: tokens })
    }

    /// Encode texts as transformers does: the arguments and results are those of its tokenizers.
    ///
    /// Args:
    ///     text: a text, a list of texts, or a list of pairs. With is_split_into_words a list of words, or a
    ///         list of such lists.
    ///     text_pair: the second text, or as many of them.
    ///     add_special_tokens: add the special tokens of the tokenizer's template.
    ///     padding: True or "longest", "max_length", or False.
    ///     truncation: True or "longest_first", "only_first", "only_second", or False. None is False, unless
    ///         max_length is given and padding is not.
    ///     max_length: maximum tokens of a row, special tokens included; None takes the tokenizer's.
    ///     stride: tokens that windows share, with return_overflowing_tokens.
    ///     is_split_into_words: texts are lists of words.
    ///     pad_to_multiple_of: round the width of padded rows up to a multiple of this.
    ///     padding_side: "right" or "left"; None takes the tokenizer's.
    ///     truncation_side: "right" or "left"; None takes the tokenizer's.
    ///     return_tensors: "np" for arrays, None for lists.
    ///     return_token_type_ids: None takes what the model takes.
    ///     return_attention_mask: None takes what the model takes.
    ///     return_overflowing_tokens: return what truncation cuts off as further rows, windows over the
    ///         text, and of each row the index of its text as overflow_to_sample_mapping.
    ///     return_special_tokens_mask: return which tokens the template added.
    ///     return_offsets_mapping: return where in its text each token is, in characters.
    ///     return_length: return the length of each row.
    ///     dtype: of the arrays, int64 (None) or int32.
    ///     pad_id: id of the padding token; None takes the tokenizer's.
    ///
    /// Returns:
    ///     BatchEncoding, a dict: input_ids, token_type_ids, attention_mask and what else was asked for, each
    ///     a list for a text, a list of lists for texts, or an array (B, T); offset_mapping is (B, T, 2).
    ///
    /// Raises:
    ///     InputError: an argument is wrong, rows of different length were to be an array, or there is no
    ///         padding token.
    #[pyo3(signature = (
        text, text_pair = None, *, add_special_tokens = true, padding = Fit::No,
        truncation = Truncation::Unsaid, max_length = None, stride = Count(0),
        is_split_into_words = false, pad_to_multiple_of = None, padding_side = None,
        truncation_side = None, return_tensors = None, return_token_type_ids = None,
        return_attention_mask = None, return_overflowing_tokens = false,
        return_special_tokens_mask = false, return_offsets_mapping = false, return_length = false,
        dtype = None, pad_id = None
    ))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // transformers' own
    fn __call__(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        text_pair: Option<&Bound<'_, PyAny>>,
        add_special_tokens: bool,
        padding: Fit,
        truncation: Truncation,
        max_length: Option<Count>,
        stride: Count,
        is_split_into_words: bool,
        pad_to_multiple_of: Option<Count>,
        padding_side: Option<Side>,
        truncation_side: Option<Side>,
        return_tensors: Option<&Bound<'_, PyAny>>,
        return_token_type_ids: Option<bool>,
        return_attention_mask: Option<bool>,
        return_overflowing_tokens: bool,
        return_special_tokens_mask: bool,
        return_offsets_mapping: bool,
        return_length: bool,
        dtype: Option<&Bound<'_, PyAny>>,
        pad_id: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let kind = Kind::new(py, return_tensors, dtype)?;
        let multiple_of = call::multiple(py, pad_to_multiple_of)?;
        let max_length = max_length.map(|n| n.0);
        let truncation = match truncation {
            Truncation::Unsaid if max_length.is_some() && padding == Fit::No => {
                Some(Strategy::LongestFirst)
            }
            Truncation::Unsaid => None,
            Truncation::Is(strategy) => strategy,
        };
        let max_length = max_length.or(self.inner.max_length());
        let fit = if max_length.is_none() && padding == Fit::MaxLength { Fit::No } else { padding };
        let pad = match fit {
            Fit::No => (0, 0),
            _ => batch::pad(py, &self.inner, pad_id.map(ids::one).transpose()?)?,
        };
        let both = truncation.is_some() && fit != Fit::No;
        if let Some(max) = max_length.filter(|max| both && max % multiple_of != 0) {
            let reason =
                format!("max_length {max} is no multiple of pad_to_multiple_of {multiple_of}");
            return Err(input(py, format!("{reason}; truncated rows could not be padded to one")));
        }
        let defaults = self.inner.defaults();
        let columns = [
            Some(Column::Ids),
            return_token_type_ids.unwrap_or(defaults.type_ids).then_some(Column::TypeIds),
            return_attention_mask.unwrap_or(defaults.attention_mask).then_some(Column::Attention),
            return_special_tokens_mask.then_some(Column::Special),
            return_offsets_mapping.then_some(Column::Offsets),
        ];
        let call = Call {
            tokenizer: Arc::clone(&self.inner),
            batch: Batch::extract(text, text_pair, is_split_into_words)?,
            options: EncodeOptions {
                truncation,
                max_length,
                side: truncation_side.unwrap_or(self.inner.truncation_side()),
                overflow: return_overflowing_tokens,
                stride: stride.0,
                add_special_tokens,
                special_mask: return_special_tokens_mask,
                offsets: return_offsets_mapping,
            },
            fit,
            side: padding_side.unwrap_or(self.inner.padding_side()),
            multiple_of,
            pad,
            kind,
            columns,
            length: return_length,
        };
        call.run(py)
    }

    /// Return the text that ids stand for.
    ///
    /// Ids that no token has are left out. Spaces before punctuation are not cleaned up, as
    /// clean_up_tokenization_spaces does in transformers: the decoder of tokenizer.json decides.
    ///
    /// Args:
    ///     ids: a sequence or array of ids, or one.
    ///     skip_special_tokens: leave special tokens out.
    ///
    /// Raises:
    ///     InputError: something is no id.
    #[pyo3(signature = (ids, *, skip_special_tokens = false))]
    fn decode(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        skip_special_tokens: bool,
    ) -> PyResult<String> {
        let ids = ids::row(ids)?;
        enter::quick(py, || self.inner.decode(&ids, skip_special_tokens))
    }

    /// Return the text that tokens stand for, or words made of some; the tokenizer's decoder joins them.
    ///
    /// Args:
    ///     tokens: what id_to_token() or the decoder gave.
    ///
    /// Raises:
    ///     InputError: the decoder cannot join them.
    fn convert_tokens_to_string(&self, py: Python<'_>, tokens: Vec<Text>) -> PyResult<String> {
        let tokens = tokens.into_iter().map(|token| token.0).collect();
        enter::quick(py, || self.inner.join(tokens))
    }

    /// Return the texts that rows of ids stand for; the arguments are those of decode().
    ///
    /// Args:
    ///     batch: a sequence of rows, or a matrix.
    ///     skip_special_tokens: leave special tokens out.
    ///
    /// Raises:
    ///     InputError: something is no id.
    #[pyo3(signature = (batch, *, skip_special_tokens = false))]
    fn decode_batch(
        &self,
        py: Python<'_>,
        batch: &Bound<'_, PyAny>,
        skip_special_tokens: bool,
    ) -> PyResult<Vec<String>> {
        let rows = ids::rows(batch)?;
        if tokenize::Tokenizer::decodes_inline(&rows, runtime::num_threads) {
            return enter::quick(py, || self.inner.decode_batch(&rows, skip_special_tokens));
        }
        enter::compute(py, |_| self.inner.decode_batch(&rows, skip_special_tokens))
    }

    fn __repr__(&self) -> String {
        let limit = self.inner.max_length().map_or("None".to_owned(), |n| n.to_string());
        let digest = &self.inner.digest()[..12];
        format!(
            "Tokenizer(vocab_size={}, max_length={limit}, digest={digest})",
            self.inner.vocab_size()
        )
    }
}
