use std::path::PathBuf;

use numpy::PyArray2;
use pyo3::prelude::*;

use super::arguments::Count;
use super::files::ModelFiles;
use super::tokenizer::Tokenizer;
use super::tokens::Tokens;
use super::{arrays, enter, texts};
use crate::engine::{self, EngineOptions, Outputs};
use crate::hub;
use crate::tokenize::EncodeOptions;

/// An encoder with its tokenizer, pooling and normalisation.
///
/// Safe to use from several threads at once, and in a child after fork.
///
/// Example:
///     >>> engine = legato.Engine.from_dir(MODEL)
///     >>> engine.embed(["hello world"]).shape
///     (1, 384)
#[pyclass(frozen, module = "legato._native")]
pub(super) struct Engine {
    inner: engine::Engine,
}

#[pymethods]
impl Engine {
    /// Load a model from its files.
    ///
    /// Args:
    ///     files: the model's files.
    ///     device: "auto", "cpu", "cuda", "cuda:N" or "metal".
    ///     dtype: "float32"; on a CPU also "int8", on an accelerator "float16" or "bfloat16".
    ///     pooling: "mean", "cls", "max" or "lasttoken"; None takes what the model's files say.
    ///     normalize: scale vectors to unit length; None takes what the model's files say.
    ///
    /// Raises:
    ///     ModelError: the files are not a model that legato runs.
    ///     DeviceError: the device or dtype is not available.
    ///     InputError: the pooling is not known.
    #[new]
    #[pyo3(signature = (files, *, device = "auto", dtype = "float32", pooling = None, normalize = None))]
    fn new(
        py: Python<'_>,
        files: &ModelFiles,
        device: &str,
        dtype: &str,
        pooling: Option<String>,
        normalize: Option<bool>,
    ) -> PyResult<Self> {
        let options = EngineOptions {
            device: device.to_owned(),
            dtype: dtype.to_owned(),
            pooling,
            normalize,
        };
        let inner = enter::load(py, |_| engine::Engine::load(&files.inner, &options))?;
        Ok(Self { inner })
    }

    /// Load a model from a folder; the arguments are those of the constructor.
    #[staticmethod]
    #[pyo3(signature = (path, *, device = "auto", dtype = "float32", pooling = None, normalize = None))]
    fn from_dir(
        py: Python<'_>,
        path: PathBuf,
        device: &str,
        dtype: &str,
        pooling: Option<String>,
        normalize: Option<bool>,
    ) -> PyResult<Self> {
        let files = ModelFiles { inner: enter::quick(py, || hub::ModelFiles::from_dir(&path))? };
        Self::new(py, &files, device, dtype, pooling, normalize)
    }

    /// Compute one vector for each text of `tokens`.
    ///
    /// Args:
    ///     tokens: what this model's tokenizer encoded.
    ///
    /// Returns:
    ///     float32 (B, H), in the order of the texts.
    ///
    /// Raises:
    ///     InputError: the tokens are of another tokenizer, or longer than the model takes.
    fn run<'py>(&self, py: Python<'py>, tokens: &Tokens) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let outputs = enter::compute(py, |stop| self.inner.run(&tokens.inner, stop))?;
        matrix(py, outputs, tokens.inner.len())
    }

    /// Encode texts and compute one vector for each.
    ///
    /// Args:
    ///     texts: one text or a sequence of them.
    ///     max_length: tokens that a text is cut to; None takes the model's own limit.
    ///
    /// Returns:
    ///     float32 (B, H), in the order of the texts; B is 1 for a single text.
    ///
    /// Raises:
    ///     InputError: something is no text, or max_length is out of range.
    #[pyo3(signature = (texts, *, max_length = None))]
    fn embed<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        max_length: Option<Count>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let texts = texts::extract(texts)?;
        let max_length = max_length.map(|n| n.0);
        let options = EncodeOptions { max_length, ..EncodeOptions::default() };
        let outputs = enter::compute(py, |stop| self.inner.encode_and_run(&texts, options, stop))?;
        matrix(py, outputs, texts.len())
    }

    /// The tokenizer whose tokens this model takes.
    #[getter]
    fn tokenizer(&self) -> Tokenizer {
        Tokenizer { inner: self.inner.tokenizer().clone() }
    }

    /// model_type in the model's config.json.
    #[getter]
    fn model_type(&self) -> &str {
        self.inner.model_type()
    }

    /// Width of a vector, H.
    #[getter]
    fn hidden_size(&self) -> usize {
        self.inner.hidden_size()
    }

    /// Tokens that a text is cut to unless a call says otherwise.
    #[getter]
    fn max_length(&self) -> Option<usize> {
        self.inner.tokenizer().max_length()
    }

    /// Where the model computes.
    #[getter]
    fn device(&self) -> String {
        self.inner.device()
    }

    /// What the model computes in.
    #[getter]
    fn dtype(&self) -> &str {
        self.inner.dtype()
    }

    /// How hidden states become one vector.
    #[getter]
    fn pooling(&self) -> &str {
        self.inner.pooling().name()
    }

    /// Whether vectors are scaled to unit length.
    #[getter]
    fn normalize(&self) -> bool {
        self.inner.normalize()
    }

    fn __repr__(&self) -> String {
        format!(
            "Engine(model_type='{}', hidden_size={}, device='{}', dtype='{}', pooling='{}')",
            self.inner.model_type(),
            self.inner.hidden_size(),
            self.inner.device(),
            self.inner.dtype(),
            self.inner.pooling().name()
        )
    }
}

fn matrix(py: Python<'_>, outputs: Outputs, rows: usize) -> PyResult<Bound<'_, PyArray2<f32>>> {
    arrays::matrix(py, outputs.vectors, rows, outputs.width)
}
