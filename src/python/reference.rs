use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use super::enter;
use super::errors::{input, to_python};
use crate::reference;

/// A typed, verifiable reference to an object: what a state hands to the next one instead of data.
///
/// Read a reference from an event with Ref.from_dict(), and what it points to with Store.get().
#[pyclass(frozen, eq, module = "legato._native")]
#[derive(PartialEq)]
pub(super) struct Ref {
    pub(super) inner: reference::Ref,
}

#[pymethods]
impl Ref {
    /// Read a reference from an event's JSON object.
    ///
    /// Raises:
    ///     InputError: it is not a valid reference, or of a later schema version.
    #[staticmethod]
    fn from_dict(py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let dumped = py.import("json")?.call_method1("dumps", (value,)).map_err(|_| {
            input(py, "a reference is not valid: it is no JSON object with a version 'legato_ref'")
        })?;
        Self::parse(py, dumped.cast::<PyString>()?.to_cow()?.as_bytes())
    }

    /// Read a reference from JSON text.
    ///
    /// Raises:
    ///     InputError: it is not a valid reference, or of a later schema version.
    #[staticmethod]
    fn from_json(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            return Self::parse(py, bytes.as_bytes());
        }
        match data.cast::<PyString>().ok().and_then(|text| text.to_cow().ok()) {
            Some(text) => Self::parse(py, text.as_bytes()),
            None => Err(input(py, "a reference must be JSON text, a str or bytes")),
        }
    }

    /// The reference as a JSON object, for an event.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let value = py.import("json")?.call_method1("loads", (self.to_json(py)?,))?;
        Ok(value.cast_into()?)
    }

    /// The reference as JSON text.
    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        self.inner.to_json().map_err(|e| to_python(py, e))
    }

    /// Where the object lies: URL of its store, a slash, and its key.
    #[getter]
    fn uri(&self) -> &str {
        &self.inner.uri
    }

    /// Version id or etag, where the store has them.
    #[getter]
    fn version(&self) -> Option<&str> {
        self.inner.version.as_deref()
    }

    /// Size of the object in bytes.
    #[getter]
    fn bytes(&self) -> u64 {
        self.inner.bytes
    }

    /// sha256 of the object, lower-case hex.
    #[getter]
    fn sha256(&self) -> &str {
        &self.inner.sha256
    }

    /// CRC-64/NVME of the object, 16 lower-case hex digits.
    #[getter]
    fn crc64nvme(&self) -> &str {
        &self.inner.crc64nvme
    }

    /// Media type of the object.
    #[getter]
    fn media_type(&self) -> &str {
        &self.inner.media_type
    }

    /// Number of records, where the object has them.
    #[getter]
    fn records(&self) -> Option<u64> {
        self.inner.records
    }

    /// Element type, for an array.
    #[getter]
    fn dtype(&self) -> Option<&str> {
        self.inner.dtype.as_deref()
    }

    /// Shape, for an array.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.inner.shape.as_ref().map(|shape| PyTuple::new(py, shape)).transpose()
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.inner.hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((py.get_type::<Self>().getattr("from_json")?, (self.to_json(py)?,)))
    }

    fn __repr__(&self) -> String {
        format!(
            "Ref({:?}, bytes={}, sha256={}..)",
            self.inner.uri,
            self.inner.bytes,
            &self.inner.sha256[..12]
        )
    }
}

impl Ref {
    fn parse(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        Ok(Self { inner: enter::quick(py, || reference::Ref::from_json(data))? })
    }
}
