use std::path::PathBuf;

use numpy::PyArray2;
use pyo3::prelude::*;

use super::arguments::{Count, Text};
use super::files::ModelFiles;
use super::tokenizer::Tokenizer;
use super::tokens::Tokens;
use super::{arrays, enter, texts};
use crate::engine::{self, EngineOptions, Outputs};
use crate::head::{Pooling, Shape};
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
    ///     pooling: "mean", "cls", "max", "lasttoken", "weightedmean" or "mean_sqrt_len_tokens", or several joined
    ///         by "+", whose vectors are put behind each other; None takes what the model's files say.
    ///     normalize: scale vectors to unit length; None takes what the model's files say.
    ///     truncate_dim: numbers of a vector, the first ones; None keeps all.
    ///
    /// Raises:
    ///     ModelError: the files are not a model that legato runs.
    ///     DeviceError: the device or dtype is not available.
    ///     InputError: the pooling is not known, or truncate_dim is out of range.
    #[new]
    #[pyo3(signature = (
        files, *, device = "auto", dtype = "float32", pooling = None, normalize = None, truncate_dim = None
    ))]
    fn new(
        py: Python<'_>,
        files: &ModelFiles,
        device: &str,
        dtype: &str,
        pooling: Option<String>,
        normalize: Option<bool>,
        truncate_dim: Option<Count>,
    ) -> PyResult<Self> {
        let options = EngineOptions {
            device: device.to_owned(),
            dtype: dtype.to_owned(),
            pooling,
            normalize,
            truncate_dim: truncate_dim.map(|n| n.0),
        };
        let inner = enter::load(py, |_| engine::Engine::load(&files.inner, &options))?;
        Ok(Self { inner })
    }

    /// Load a model from a folder; the arguments are those of the constructor.
    #[staticmethod]
    #[pyo3(signature = (
        path, *, device = "auto", dtype = "float32", pooling = None, normalize = None, truncate_dim = None
    ))]
    fn from_dir(
        py: Python<'_>,
        path: PathBuf,
        device: &str,
        dtype: &str,
        pooling: Option<String>,
        normalize: Option<bool>,
        truncate_dim: Option<Count>,
    ) -> PyResult<Self> {
        let files = ModelFiles { inner: enter::quick(py, || hub::ModelFiles::from_dir(&path))? };
        Self::new(py, &files, device, dtype, pooling, normalize, truncate_dim)
    }

    /// Compute one vector for each text of `tokens`.
    ///
    /// Args:
    ///     tokens: what this model's tokenizer encoded.
    ///     pooling: as for the constructor, for this call; None takes the engine's.
    ///     normalize: scale vectors to unit length, after they are cut; False leaves them; None takes the engine's.
    ///     truncate_dim: numbers of a vector, the first ones; None takes the engine's.
    ///     prompt_tokens: tokens at the beginning of each text that are a prompt's: what prompt_tokens() says.
    ///         They are not pooled, if the model's files say so.
    ///
    /// Returns:
    ///     float32 (B, W), in the order of the texts; W is the engine's width, or truncate_dim. Where the model's
    ///     files ask for vectors of unit length and normalize does not, they are scaled before they are cut, as
    ///     sentence-transformers does it.
    ///
    /// Raises:
    ///     InputError: the tokens are of another tokenizer, or longer than the model takes, or an argument is out
    ///         of range.
    #[pyo3(signature = (
        tokens, *, pooling = None, normalize = None, truncate_dim = None, prompt_tokens = Count(0)
    ), text_signature = "($self, tokens, *, pooling=None, normalize=None, truncate_dim=None, prompt_tokens=0)")]
    fn run<'py>(
        &self,
        py: Python<'py>,
        tokens: &Tokens,
        pooling: Option<String>,
        normalize: Option<bool>,
        truncate_dim: Option<Count>,
        prompt_tokens: Count,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let truncate_dim = truncate_dim.map(|n| n.0);
        let outputs = enter::compute(py, |stop| {
            let pooling = pooling.as_deref().map(Pooling::from_name).transpose()?;
            let shape = Shape { pooling, normalize, truncate_dim, skip: prompt_tokens.0 };
            self.inner.run_as(&tokens.inner, shape, stop)
        })?;
        matrix(py, outputs, tokens.inner.len())
    }

    /// Compute the last hidden state of each token, before any pooling.
    ///
    /// Args:
    ///     tokens: what this model's tokenizer encoded.
    ///
    /// Returns:
    ///     float32 (N, H), text after text; `tokens.lengths` says where one ends.
    ///
    /// Raises:
    ///     InputError: the tokens are of another tokenizer, or longer than the model takes.
    fn hidden_states<'py>(
        &self,
        py: Python<'py>,
        tokens: &Tokens,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let outputs = enter::compute(py, |stop| self.inner.hidden_states(&tokens.inner, stop))?;
        matrix(py, outputs, tokens.inner.ids.len())
    }

    /// Encode texts and compute one vector for each.
    ///
    /// Args:
    ///     texts: one text, or a sequence, an array, a series or an iterator of them.
    ///     max_length: tokens that a text is cut to; None takes the model's own limit.
    ///     prompt: put before each text; None takes the model's default prompt, which mostly is none.
    ///
    /// Returns:
    ///     float32 (B, W), in the order of the texts; B is 1 for a single text.
    ///
    /// Raises:
    ///     InputError: something is no text, or max_length is out of range.
    #[pyo3(signature = (texts, *, max_length = None, prompt = None))]
    fn embed<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        max_length: Option<Count>,
        prompt: Option<Text>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let texts = texts::extract(texts)?;
        let max_length = max_length.map(|n| n.0);
        let options = EncodeOptions { max_length, ..EncodeOptions::default() };
        let prompt = prompt.as_ref().map(|prompt| prompt.0.as_str());
        let outputs =
            enter::compute(py, |stop| self.inner.encode_and_run(&texts, prompt, options, stop))?;
        matrix(py, outputs, texts.len())
    }

    /// Return how many tokens of a prompt are not pooled; 0 where the model's files do not ask for that.
    fn prompt_tokens(&self, py: Python<'_>, prompt: Text) -> PyResult<usize> {
        enter::quick(py, || self.inner.prompt_tokens(&prompt.0))
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

    /// Width of a hidden state, H.
    #[getter]
    fn hidden_size(&self) -> usize {
        self.inner.hidden_size()
    }

    /// Width of a vector: that of a hidden state, unless poolings are joined, a Dense layer follows, or
    /// truncate_dim was given.
    #[getter]
    fn width(&self, py: Python<'_>) -> PyResult<usize> {
        enter::quick(py, || self.inner.width())
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
    fn pooling(&self) -> String {
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
