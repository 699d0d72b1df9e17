use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::enter;
use crate::store;

/// Verified chunks of an object, in order.
#[pyclass(frozen, module = "legato._native")]
pub(super) struct Chunks {
    store: Arc<dyn store::Store>,
    reference: crate::reference::Ref,
    crcs: Vec<String>,
    next: AtomicU64,
}

impl Chunks {
    /// `crcs` are those of all chunks of the object.
    pub(super) fn new(
        store: Arc<dyn store::Store>,
        reference: crate::reference::Ref,
        crcs: Vec<String>,
    ) -> Self {
        Self { store, reference, crcs, next: AtomicU64::new(0) }
    }
}

#[pymethods]
impl Chunks {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if usize::try_from(index).map_or(true, |index| index >= self.crcs.len()) {
            return Ok(None);
        }
        let read = store::read_chunk(self.store.as_ref(), &self.reference, &self.crcs, index);
        let data: PyResult<Bytes> = enter::io(py, read);
        // After a failure there is no next chunk: one that is left out must not go unseen.
        let data = data.inspect_err(|_| self.next.store(u64::MAX / 2, Ordering::Relaxed))?;
        Ok(Some(PyBytes::new(py, &data)))
    }
}
