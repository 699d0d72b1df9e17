use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;

use super::arguments::Count;
use super::tokens::Tokens;
use super::{enter, texts};
use crate::hub::ModelFiles;
use crate::tokenize::{self, EncodeOptions};

/// A Hugging Face tokenizer.
///
/// Truncation belongs to the call; what a tokenizer.json embeds of truncation and padding is ignored.
///
/// Example:
///     >>> tokenizer = legato.Tokenizer.from_dir(MODEL)
///     >>> tokenizer.encode(["hello world"]).input_ids
///     array([ 101, 7592, 2088,  102], dtype=int32)
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
        let inner = enter::quick(py, || tokenize::Tokenizer::from_bytes(data, max_length))?;
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
            tokenize::Tokenizer::from_bytes(&ModelFiles::tokenizer_file(&path)?, max_length)
        })?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Read a tokenizer, and the model's limit in tokens, from a model folder.
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
        let inner = enter::quick(py, || {
            let files = ModelFiles::from_dir(&path)?;
            let limit = files.sentence_config()?.max_length;
            tokenize::Tokenizer::from_bytes(&files.tokenizer()?, max_length.or(limit))
        })?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Read a tokenizer, and the model's limit in tokens, from a model's files.
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
        let inner = enter::quick(py, || {
            let limit = files.inner.sentence_config()?.max_length;
            tokenize::Tokenizer::from_bytes(&files.inner.tokenizer()?, max_length.or(limit))
        })?;
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

    /// Encode texts to flat tokens.
    ///
    /// Args:
    ///     texts: one text or a sequence of them.
    ///     truncation: cut texts to the maximum length, from the right.
    ///     max_length: maximum tokens of a text, special tokens included; None takes the tokenizer's.
    ///     add_special_tokens: add the special tokens of the tokenizer's template.
    ///
    /// Returns:
    ///     Tokens of all texts, in their order.
    ///
    /// Raises:
    ///     InputError: something is no text, has a lone surrogate, or max_length leaves no room.
    #[pyo3(signature = (texts, *, truncation = true, max_length = None, add_special_tokens = true))]
    fn encode(
        &self,
        py: Python<'_>,
        texts: &Bound<'_, PyAny>,
        truncation: bool,
        max_length: Option<Count>,
        add_special_tokens: bool,
    ) -> PyResult<Tokens> {
        let texts = texts::extract(texts)?;
        let max_length = max_length.map(|n| n.0);
        let options = EncodeOptions { truncation, max_length, add_special_tokens };
        let tokens = enter::compute(py, |stop| self.inner.encode(&texts, options, stop))?;
        Ok(Tokens { inner: tokens })
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
