use numpy::{PyArray2, PyReadonlyArray1};
use pyo3::prelude::*;

use super::files::ModelFiles;
use super::tokenizer::Tokenizer;
use super::tokens::Tokens;
use super::{arrays, enter, errors::input};
use crate::head::Task;
use crate::predict;

/// A model with the head of a task, and its tokenizer.
///
/// Safe to use from several threads at once, and in a child after fork.
///
/// Example:
///     >>> engine = legato.TaskEngine(legato.ModelFiles.from_dir(path), "sequence-classification")
///     >>> engine.run(engine.tokenizer.encode(["hello world"])).shape
///     (1, 2)
#[pyclass(frozen, module = "legato._native")]
pub(super) struct TaskEngine {
    inner: predict::TaskEngine,
    task: Task,
}

#[pymethods]
impl TaskEngine {
    /// Load a model and the head of a task from the model's files.
    ///
    /// Args:
    ///     files: the model's files.
    ///     task: "sequence-classification", "token-classification", "question-answering" or "masked-lm".
    ///     device: "auto", "cpu", "cuda", "cuda:N" or "metal".
    ///     dtype: "float32"; on a CPU also "int8", on an accelerator "float16" or "bfloat16".
    ///
    /// Raises:
    ///     ModelError: the files are not a model that legato runs, or have no head for the task.
    ///     DeviceError: the device or dtype is not available.
    ///     InputError: the task is not known.
    #[new]
    #[pyo3(signature = (files, task, *, device = "auto", dtype = "float32"))]
    fn new(
        py: Python<'_>,
        files: &ModelFiles,
        task: &str,
        device: &str,
        dtype: &str,
    ) -> PyResult<Self> {
        let (task, inner) = enter::load(py, |_| {
            let task = Task::from_name(task)?;
            Ok((task, predict::TaskEngine::load(&files.inner, task, device, dtype)?))
        })?;
        Ok(Self { inner, task })
    }

    /// Compute logits.
    ///
    /// Args:
    ///     tokens: what this model's tokenizer encoded; N in all, of B texts.
    ///     only: uint32, ascending positions of tokens, 0 to N - 1: the tokens that rows are computed of.
    ///
    /// Returns:
    ///     float32, a row a text for sequence-classification, (B, labels); else a row a token, (N, labels),
    ///     (N, 2) for the start and the end of an answer, (N, V) for masked-lm. Rows are in the order of the
    ///     texts, or of `only`.
    ///
    /// Raises:
    ///     InputError: the tokens are of another tokenizer, or longer than the model takes, or `only` is not
    ///         as it must be.
    #[pyo3(signature = (tokens, *, only = None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        tokens: &Tokens,
        only: Option<PyReadonlyArray1<'py, u32>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let only = only.as_ref().map(PyReadonlyArray1::as_slice).transpose();
        let only =
            only.map_err(|_| input(py, "positions must lie next to each other in memory"))?;
        let logits = enter::compute(py, |stop| self.inner.run(&tokens.inner, only, stop))?;
        arrays::matrix(py, logits.values, logits.rows, logits.width)
    }

    /// The tokenizer whose tokens this model takes.
    #[getter]
    fn tokenizer(&self) -> Tokenizer {
        Tokenizer { inner: self.inner.tokenizer().clone() }
    }

    /// What the head answers.
    #[getter]
    fn task(&self) -> &str {
        self.task.name()
    }

    /// Logits in a row.
    #[getter]
    fn width(&self) -> usize {
        self.inner.width()
    }

    /// Most tokens of a row, special tokens included.
    #[getter]
    fn max_length(&self) -> usize {
        self.inner.max_length()
    }

    /// Where the model computes.
    #[getter]
    fn device(&self) -> String {
        self.inner.device()
    }

    fn __repr__(&self) -> String {
        let (task, width, device) = (self.task.name(), self.inner.width(), self.inner.device());
        format!("TaskEngine(task='{task}', width={width}, device='{device}')")
    }
}
