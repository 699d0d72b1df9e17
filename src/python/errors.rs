//! The one match from the core's errors to Python's exceptions.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::error::Error;

/// The exception for `error`, of the class in `legato.errors` whose name Step Functions matches.
pub(super) fn to_python(py: Python<'_>, error: Error) -> PyErr {
    let name = match error {
        Error::Input { .. } => "InputError",
        Error::Model { .. } => "ModelError",
        Error::Device { .. } => "DeviceError",
        Error::NotFound { .. } => "ObjectNotFoundError",
        Error::Denied { .. } | Error::Undeclared { .. } => "AccessDeniedError",
        Error::Corrupt { .. } => "CorruptObjectError",
        Error::Full { .. } => "StoreFullError",
        Error::Unavailable { .. } => "StoreUnavailableError",
        Error::Stopped | Error::Internal { .. } => "InternalError",
    };
    match class(py, name) {
        Ok(class) => PyErr::from_type(class, error.to_string()),
        Err(e) => e,
    }
}

/// An `InputError` about an argument.
pub(super) fn input(py: Python<'_>, reason: impl Into<String>) -> PyErr {
    to_python(py, Error::input(reason))
}

/// Looked up when it is needed: importing the native module must not import the package around it.
fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    let found = py.import("legato.errors")?.getattr(name)?;
    found.cast_into::<PyType>().map_err(|_| PyRuntimeError::new_err("legato.errors is not intact"))
}
