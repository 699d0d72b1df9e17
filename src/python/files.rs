use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyString;
use serde_json::Value;

use super::enter;
use crate::hub;
use crate::quantize;

/// The files of one model, bounded in size and with a digest over all of them.
///
/// Only safetensors and JSON are read; weights in a pickle format are refused.
#[pyclass(frozen, module = "legato._native")]
pub(super) struct ModelFiles {
    pub(super) inner: hub::ModelFiles,
}

#[pymethods]
impl ModelFiles {
    /// Take files by name, as they are called in a model repository.
    ///
    /// Args:
    ///     files: name to bytes; config.json, tokenizer.json and model.safetensors are needed.
    ///
    /// Raises:
    ///     ModelError: one of them is missing.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, files: HashMap<String, Vec<u8>>) -> PyResult<Self> {
        let files = files.into_iter().map(|(name, data)| (name, Bytes::from(data)));
        Ok(Self { inner: enter::quick(py, || hub::ModelFiles::from_bytes(files))? })
    }

    /// Find the files of a model in a folder; they are read when they are needed.
    ///
    /// Args:
    ///     path: the folder.
    ///     weights: without them what is left makes texts to tokens, and has no digest; they need not be there.
    ///
    /// Raises:
    ///     ModelError: the folder is missing or not a whole model, or has a pickle only.
    #[staticmethod]
    #[pyo3(signature = (path, *, weights = true))]
    fn from_dir(py: Python<'_>, path: PathBuf, weights: bool) -> PyResult<Self> {
        let find =
            if weights { hub::ModelFiles::from_dir } else { hub::ModelFiles::without_weights };
        Ok(Self { inner: enter::quick(py, || find(&path))? })
    }

    /// Write the model to a new folder with its weights in eight bits, for loading with dtype="int8": about a
    /// quarter of the bytes to read, and nothing to quantize. The vectors are those of quantizing at load.
    ///
    /// Matrices of linear layers and large tables are quantized, each row with a scale; heads of labels, norms,
    /// biases and the other files stay as they are. The file's header names the digest of this model.
    ///
    /// Args:
    ///     path: the folder; it is made, or empty.
    ///
    /// Returns:
    ///     The files there, which have a digest of their own.
    ///
    /// Raises:
    ///     ModelError: the files are not a model that legato runs, or are quantized already.
    ///     InputError: the folder is not empty.
    ///     AccessDeniedError: it cannot be written.
    ///     StorageFullError: no space is left.
    ///
    /// Example:
    ///     >>> small = legato.ModelFiles.from_dir(MODEL).quantize(OUT)
    ///     >>> legato.Engine(small, dtype="int8").embed(["hello world"]).shape
    ///     (1, 384)
    fn quantize(&self, py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let inner = enter::compute(py, |_| quantize::quantize(&self.inner, &path))?;
        Ok(Self { inner })
    }

    /// Return a JSON file of the model, such as "config.json", parsed; None if there is none of this name.
    ///
    /// Raises:
    ///     ModelError: it is no JSON object.
    fn read_json<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !self.inner.has(name) {
            return Ok(None);
        }
        let object = enter::quick(py, || Ok(Value::Object(self.inner.object(name)?).to_string()))?;
        py.import("json")?.call_method1("loads", (object,)).map(Some)
    }

    /// What pins this model: "sha256:" and the digest over names and contents of its files.
    #[getter]
    fn digest(&self, py: Python<'_>) -> PyResult<String> {
        enter::quick(py, || self.inner.digest())
    }

    /// Where each file lies, by its name in the digest. A folder of files with these names is the same model.
    #[getter]
    fn paths(&self) -> BTreeMap<String, PathBuf> {
        self.inner.paths().map(|(name, path)| (name.to_owned(), path.to_owned())).collect()
    }

    /// sha256 of tokenizer.json, lower-case hex.
    #[getter]
    fn tokenizer_digest(&self, py: Python<'_>) -> PyResult<String> {
        enter::quick(py, || self.inner.tokenizer_digest())
    }

    /// The model's own limit in tokens, if its files state one.
    #[getter]
    fn max_length(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        enter::quick(py, || self.inner.sentence_config().map(|config| config.max_length))
    }

    /// Most tokens that the model's position embeddings reach, if its config.json states it.
    #[getter]
    fn max_positions(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        enter::quick(py, || self.inner.max_positions())
    }

    /// Pooling that the sentence-transformers files name, several joined by "+", or "mean".
    #[getter]
    fn pooling(&self, py: Python<'_>) -> PyResult<String> {
        enter::quick(py, || self.inner.sentence_config().map(|config| config.pooling))
    }

    /// What tokens that go on a word begin with, such as "##"; None if nothing tells them apart.
    #[getter]
    fn subword_prefix(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let words = enter::quick(py, || self.inner.words())?;
        Ok(words.continuing_subword_prefix.filter(|prefix| !prefix.is_empty()))
    }

    /// The token of what the vocabulary does not have, or its id, as tokenizer.json says it; None if it does not.
    #[getter]
    fn unknown_token<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let words = enter::quick(py, || self.inner.words())?;
        Ok(match (words.unk_token, words.unk_id) {
            (Some(token), _) => Some(PyString::new(py, &token).into_any()),
            (None, Some(id)) => Some(id.into_pyobject(py)?.into_any()),
            (None, None) => None,
        })
    }

    /// Prompts that the sentence-transformers files name; "query" and "document" are there always, empty if not.
    #[getter]
    fn prompts(&self, py: Python<'_>) -> PyResult<BTreeMap<String, String>> {
        enter::quick(py, || self.inner.prompts().map(|prompts| prompts.named))
    }

    /// Name of the prompt that is put before texts where a call names none; None for none.
    #[getter]
    fn default_prompt_name(&self, py: Python<'_>) -> PyResult<Option<String>> {
        enter::quick(py, || self.inner.prompts().map(|prompts| prompts.default))
    }

    /// Whether the sentence-transformers files ask for vectors of unit length.
    #[getter]
    fn normalize(&self, py: Python<'_>) -> PyResult<bool> {
        enter::quick(py, || self.inner.sentence_config().map(|config| config.normalize))
    }

    fn __repr__(&self) -> String {
        format!("ModelFiles({:?})", self.inner.origin())
    }
}
