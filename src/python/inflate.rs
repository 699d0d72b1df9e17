use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyIterator};

use super::enter;
use crate::format::Inflater;

/// Decompress zstd as it comes.
///
/// Args:
///     chunks: the compressed bytes, cut anywhere; what iterating over them raises is passed on.
///
/// Returns:
///     An iterator over pieces of at most 1 MiB, whatever a frame claims.
///
/// Raises:
///     InputError: while iterating: the bytes are no zstd, or end before their frame.
#[pyfunction]
pub(super) fn inflate(py: Python<'_>, chunks: &Bound<'_, PyAny>) -> PyResult<Inflated> {
    let inflater = enter::brief(py, Inflater::new)?;
    Ok(Inflated { chunks: chunks.try_iter()?.unbind(), inflater: Mutex::new(inflater) })
}

/// Decompressed pieces, in order.
#[pyclass(frozen, module = "legato._native")]
pub(super) struct Inflated {
    chunks: Py<PyIterator>,
    inflater: Mutex<Inflater>,
}

#[pymethods]
impl Inflated {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        loop {
            let piece = enter::quick(py, || self.lock().piece())?;
            if let Some(piece) = piece {
                return Ok(Some(PyBytes::new(py, &piece)));
            }
            let Some(chunk) = self.chunks.bind(py).clone().next() else {
                enter::brief(py, || self.lock().finish())?;
                return Ok(None);
            };
            let chunk = chunk?.extract::<PyBackedBytes>()?;
            self.lock().push(Bytes::from_owner(chunk));
        }
    }
}

impl Inflated {
    /// Never held while Python runs.
    fn lock(&self) -> std::sync::MutexGuard<'_, Inflater> {
        self.inflater.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
