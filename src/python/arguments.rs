//! Arguments that have an `InputError` for values that Python's own types let through.

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::errors::input;

/// A str without lone surrogates: JSON may have them, and Python makes them of undecodable bytes of the environment.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Text(pub(super) String);

/// A whole number, 0 or more.
#[derive(Clone, Copy)]
pub(super) struct Count(pub(super) usize);

impl FromPyObject<'_, '_> for Text {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let text = value.cast::<PyString>()?;
        text.to_cow().map(|text| Self(text.into_owned())).map_err(|_| {
            let reason = "a name or URL has a lone surrogate, which no UTF-8 text can have; \
                          check the encoding of where it comes from";
            input(value.py(), reason)
        })
    }
}

impl FromPyObject<'_, '_> for Count {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let py = value.py();
        value.extract().map(Self).map_err(|e: PyErr| {
            if e.is_instance_of::<PyOverflowError>(py) {
                input(py, "a number is negative or too great; it must be 0 or more")
            } else {
                e
            }
        })
    }
}
