use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use super::arguments::Count;
use super::errors::{input, to_python};
use super::{enter, load, slice};
use crate::reference;
use crate::store::Store;

/// A typed, verifiable reference to an object: what a state hands to the next one instead of data.
///
/// Read a reference from an event with Ref.from_dict(), and what it points to with load().
#[pyclass(frozen, eq, module = "legato._native")]
pub(super) struct Ref {
    pub(super) inner: reference::Ref,
    /// The store that load() reads from. No part of what the reference is: not compared, and it does not travel.
    pub(super) home: Option<Arc<dyn Store>>,
}

impl PartialEq for Ref {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

/// What finds the store of a reference that is bound to none.
static UNBOUND: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

/// Set the function that opens the store of a reference which is bound to none.
///
/// Args:
///     function: takes the reference's URI and returns a Store, or raises.
#[pyfunction]
pub(super) fn on_unbound(function: Py<PyAny>) {
    let former = UNBOUND.lock().unwrap_or_else(PoisonError::into_inner).replace(function);
    drop(former); // not under the lock: it may run Python
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

    /// Read what the reference points to, verified, as its media type says.
    ///
    /// Args:
    ///     store: the store that holds it. None takes the one that made or bound the reference; for one that came
    ///         in an event, the store of the settings (LEGATO_STORE, LEGATO_ALLOWED_STORES), or, without
    ///         these, of its URI.
    ///     arrow: whether Parquet and JSON lines become a pyarrow.Table (pip install legato[arrow]).
    ///
    /// Returns:
    ///     A numpy array, a dict of arrays, Tokens, a list of records, a JSON value, a str, a dict of columns, or
    ///     bytes where the media type is none of legato's. Arrays are read-only, and share one memory.
    ///
    /// Raises:
    ///     CorruptObjectError: the bytes are not those of the reference.
    ///     InputError: they are not what the media type says.
    ///     ObjectNotFoundError, AccessDeniedError, StoreUnavailableError.
    ///
    /// Example:
    ///     >>> store = legato.Store.open("memory://docs")
    ///     >>> store.put({"a": [1, 2]}).load()
    ///     {'a': [1, 2]}
    #[pyo3(signature = (store = None, *, arrow = false))]
    fn load<'py>(
        &self,
        py: Python<'py>,
        store: Option<&super::store::Store>,
        arrow: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        load::load(py, &self.store(py, store)?, &self.inner, arrow)
    }

    /// Read rows of an array, of arrays with as many rows as each other, or of Parquet columns.
    ///
    /// Only the chunks (8 MiB) that hold the header and the rows are read, each verified; of Parquet, those of the
    /// row groups that hold the rows.
    ///
    /// Args:
    ///     start: first row, 0 or more.
    ///     stop: row to stop before; rows past the end are left out.
    ///     store: as in load().
    ///
    /// Returns:
    ///     What load() gives, with these rows alone.
    ///
    /// Raises:
    ///     InputError: the object has no rows that can be read alone; load it.
    ///     CorruptObjectError: a chunk is not what the reference says.
    ///
    /// Example:
    ///     >>> store = legato.Store.open("memory://docs")
    ///     >>> store.put(numpy.arange(10)).slice(2, 5)
    ///     array([2, 3, 4])
    #[pyo3(signature = (start, stop, store = None))]
    fn slice<'py>(
        &self,
        py: Python<'py>,
        start: Count,
        stop: Count,
        store: Option<&super::store::Store>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let rows = start.0 as u64..stop.0 as u64;
        slice::slice(py, &self.store(py, store)?, &self.inner, rows)
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
        Ok(Self { inner: enter::quick(py, || reference::Ref::from_json(data))?, home: None })
    }

    fn store(
        &self,
        py: Python<'_>,
        given: Option<&super::store::Store>,
    ) -> PyResult<Arc<dyn Store>> {
        if let Some(store) = given {
            return Ok(store.inner.clone());
        }
        if let Some(home) = &self.home {
            return Ok(home.clone());
        }
        let guard = UNBOUND.lock().unwrap_or_else(PoisonError::into_inner);
        let function = guard.as_ref().map(|function| function.clone_ref(py));
        drop(guard);
        let Some(function) = function else {
            return Err(input(py, "the reference is bound to no store; give one: ref.load(store)"));
        };
        let store = function.call1(py, (&self.inner.uri,))?.into_bound(py);
        Ok(store.cast_into::<super::store::Store>()?.get().inner.clone())
    }
}
