use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::arguments::Count;
use super::tokenizer::Tokenizer;
use super::{arrays, enter, errors::input};
use crate::format;
use crate::tokenize::{self, Column, Padding, Side};

/// Token ids of B texts, flat: N tokens in all, without padding.
#[pyclass(frozen, module = "legato._native")]
pub(super) struct Tokens {
    pub(super) inner: tokenize::Tokens,
}

#[pymethods]
impl Tokens {
    fn __len__(&self) -> usize {
        self.inner.len()
    }

    /// Token ids, int32 (N,).
    #[getter]
    fn input_ids<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i32>> {
        arrays::int32(py, &self.inner.ids)
    }

    /// Segment ids, int32 (N,).
    #[getter]
    fn token_type_ids<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i32>> {
        arrays::int32(py, &self.inner.type_ids)
    }

    /// Tokens of each text, int32 (B,).
    #[getter]
    fn lengths<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i32>> {
        arrays::int32(py, &self.inner.lengths)
    }

    /// How many texts were cut to the maximum length.
    #[getter]
    fn truncated(&self) -> usize {
        self.inner.truncated
    }

    /// sha256 of the definition of the tokenizer that made these tokens.
    #[getter]
    fn tokenizer_digest(&self) -> &str {
        &self.inner.tokenizer_digest
    }

    /// Return padded matrices, as transformers gives them.
    ///
    /// Args:
    ///     to: width in tokens; None takes the longest text.
    ///     multiple_of: round the width up to a multiple of this.
    ///     pad_id: token id of the padding.
    ///
    /// Returns:
    ///     input_ids, attention_mask and token_type_ids, each int64 (B, T).
    ///
    /// Raises:
    ///     InputError: a text is longer than `to`, or `multiple_of` is not positive.
    #[pyo3(signature = (*, to = None, multiple_of = 1, pad_id = 0))]
    fn pad<'py>(
        &self,
        py: Python<'py>,
        to: Option<Count>,
        multiple_of: usize,
        pad_id: u32,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (tokens, to) = (&self.inner, to.map(|n| n.0));
        let longest = tokens.lengths.iter().copied().max().unwrap_or(0) as usize;
        if let Some(to) = to.filter(|&to| to < longest) {
            return Err(input(py, format!("a text has {longest} tokens, more than to={to}")));
        }
        let Some(width) = to.unwrap_or(longest).checked_next_multiple_of(multiple_of) else {
            return Err(input(py, "multiple_of must be positive, and not too great"));
        };
        let padding = Padding { width, side: Side::Right, id: pad_id, type_id: 0 };
        let padded = PyDict::new(py);
        for (name, column) in [
            ("input_ids", Column::Ids),
            ("attention_mask", Column::Attention),
            ("token_type_ids", Column::TypeIds),
        ] {
            let cells = enter::quick(py, || tokens.matrix::<i64>(column, &padding))?;
            padded.set_item(name, arrays::matrix(py, cells, tokens.len(), width)?)?;
        }
        Ok(padded)
    }

    /// Take rows of token ids, such as the windows of long texts.
    ///
    /// Args:
    ///     rows: token ids of each row.
    ///     type_ids: segment ids of each row; None is 0 everywhere.
    ///     tokenizer: the tokenizer that made the ids.
    ///
    /// Raises:
    ///     InputError: ids and segment ids are not of the same lengths.
    #[staticmethod]
    #[pyo3(signature = (rows, type_ids = None, *, tokenizer))]
    fn from_rows(
        py: Python<'_>,
        rows: Vec<Vec<u32>>,
        type_ids: Option<Vec<Vec<u32>>>,
        tokenizer: &Tokenizer,
    ) -> PyResult<Self> {
        let digest = tokenizer.inner.digest().to_owned();
        let mut inner = tokenize::Tokens { tokenizer_digest: digest, ..Default::default() };
        let type_ids = match type_ids {
            Some(type_ids) => type_ids,
            None => rows.iter().map(|row| vec![0; row.len()]).collect(),
        };
        let lengths = |rows: &[Vec<u32>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
        if lengths(&rows) != lengths(&type_ids) {
            return Err(input(py, "type_ids must have as many ids as rows, row by row"));
        }
        for (row, type_ids) in rows.iter().zip(&type_ids) {
            enter::brief(py, || inner.push(row, type_ids, false))?;
        }
        Ok(Self { inner })
    }

    /// Write the tokens as a safetensors file of int32 arrays.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let data = enter::quick(py, || format::write_tokens(&self.inner))?;
        Ok(PyBytes::new(py, &data))
    }

    /// Read what to_bytes() wrote.
    ///
    /// Raises:
    ///     InputError: the bytes are no token file.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        Ok(Self { inner: enter::quick(py, || format::read_tokens(data))? })
    }

    fn __repr__(&self) -> String {
        format!("Tokens(texts={}, tokens={})", self.inner.len(), self.inner.ids.len())
    }
}
