use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use super::enter;
use super::errors::input;
use super::texts::Batch;
use crate::tokenize::{self, EncodeOptions, Padding, Tokenizer};

/// All that there is to know of one row of a batch.
///
/// Positions in a text are in characters; spans are (start, end) with the end after the last.
#[pyclass(frozen, module = "legato._native")]
pub(super) struct Encoding {
    inner: tokenize::Encoding,
}

#[pymethods]
impl Encoding {
    fn __len__(&self) -> usize {
        self.inner.ids().len()
    }

    /// Token ids.
    #[getter]
    fn ids(&self) -> &[u32] {
        self.inner.ids()
    }

    /// Segment ids.
    #[getter]
    fn type_ids(&self) -> &[u32] {
        self.inner.type_ids()
    }

    /// 1 for tokens, 0 for padding.
    #[getter]
    fn attention_mask(&self) -> &[u32] {
        self.inner.attention_mask()
    }

    /// 1 for special tokens of the template and padding, 0 for tokens of the text.
    #[getter]
    fn special_tokens_mask(&self) -> &[u32] {
        self.inner.special_tokens_mask()
    }

    /// The tokens themselves.
    #[getter]
    fn tokens(&self) -> Vec<String> {
        self.inner.tokens().to_vec()
    }

    /// Where in its text each token is.
    #[getter]
    fn offsets(&self) -> Vec<(usize, usize)> {
        self.inner.offsets().to_vec()
    }

    /// Which word of its text each token is of; None for special tokens.
    #[getter]
    fn word_ids(&self) -> Vec<Option<u32>> {
        self.inner.word_ids().to_vec()
    }

    /// Which text of a pair each token is of, 0 or 1; None for special tokens.
    #[getter]
    fn sequence_ids(&self) -> Vec<Option<usize>> {
        self.inner.sequence_ids()
    }

    /// Return the token that a character is in; None if it is in none.
    #[pyo3(signature = (char_index, sequence_index = 0))]
    fn char_to_token(&self, char_index: usize, sequence_index: usize) -> Option<usize> {
        self.inner.char_to_token(char_index, sequence_index)
    }

    /// Return the word that a character is in; None if it is in none.
    #[pyo3(signature = (char_index, sequence_index = 0))]
    fn char_to_word(&self, char_index: usize, sequence_index: usize) -> Option<u32> {
        self.inner.char_to_word(char_index, sequence_index)
    }

    /// Return the span of a token in its text; None for special tokens.
    fn token_to_chars(&self, token_index: usize) -> Option<(usize, usize)> {
        self.inner.token_to_chars(token_index).map(|span| (span.start, span.end))
    }

    /// Return the word that a token is of; None for special tokens.
    fn token_to_word(&self, token_index: usize) -> Option<u32> {
        self.inner.token_to_word(token_index)
    }

    /// Return the span of a word's tokens; None if there are none.
    #[pyo3(signature = (word_index, sequence_index = 0))]
    fn word_to_tokens(&self, word_index: u32, sequence_index: usize) -> Option<(usize, usize)> {
        self.inner.word_to_tokens(word_index, sequence_index).map(|span| (span.start, span.end))
    }

    /// Return the span of a word in its text; None if no token is of it.
    #[pyo3(signature = (word_index, sequence_index = 0))]
    fn word_to_chars(&self, word_index: u32, sequence_index: usize) -> Option<(usize, usize)> {
        self.inner.word_to_chars(word_index, sequence_index).map(|span| (span.start, span.end))
    }

    fn __repr__(&self) -> String {
        format!("Encoding(tokens={})", self.inner.ids().len())
    }
}

/// The rows of a batch, each encoded once more with all details when it is first asked for.
#[pyclass(frozen, sequence, module = "legato._native")]
pub(super) struct Encodings {
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) batch: Batch,
    pub(super) options: EncodeOptions,
    /// Which text a row is of; empty if row and text are one.
    pub(super) texts: Vec<usize>,
    pub(super) padding: Option<Padding>,
    /// What was asked for. The lock is not held while anything else is done.
    pub(super) kept: Mutex<BTreeMap<usize, Py<Encoding>>>,
}

#[pymethods]
impl Encodings {
    fn __len__(&self) -> usize {
        if self.texts.is_empty() { self.batch.first.len() } else { self.texts.len() }
    }

    fn __getitem__(&self, py: Python<'_>, index: isize) -> PyResult<Py<Encoding>> {
        let count = self.__len__();
        let row = if index < 0 { index.checked_add_unsigned(count) } else { Some(index) };
        let row = row.and_then(|row| usize::try_from(row).ok()).filter(|&row| row < count);
        let Some(row) = row else {
            let reason = format!("there is no row {index}, the batch has {count}");
            return Err(pyo3::exceptions::PyIndexError::new_err(reason));
        };
        if let Some(kept) = self.kept().get(&row) {
            return Ok(kept.clone_ref(py));
        }
        let made = Py::new(py, self.encoding(py, row)?)?;
        // Another thread may have been faster.
        Ok(self.kept().entry(row).or_insert(made).clone_ref(py))
    }

    fn __repr__(&self) -> String {
        format!("Encodings(rows={})", self.__len__())
    }
}

impl Encodings {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<usize, Py<Encoding>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn encoding(&self, py: Python<'_>, row: usize) -> PyResult<Encoding> {
        let text = self.texts.get(row).copied().unwrap_or(row);
        let first =
            if self.texts.is_empty() { row } else { self.texts.partition_point(|&of| of < text) };
        let second = self.batch.second.as_ref().map(|second| &second[text]);
        let found = enter::quick(py, || {
            self.tokenizer.encodings(&self.batch.first[text], second, self.options)
        })?;
        let found = found.into_iter().nth(row - first);
        let Some(mut inner) = found else {
            return Err(input(py, format!("row {row} has no such window")));
        };
        if let Some(padding) = &self.padding {
            let token = self.tokenizer.pad().map_or("", |pad| pad.token.as_str());
            inner.pad(padding, token);
        }
        Ok(Encoding { inner })
    }
}
