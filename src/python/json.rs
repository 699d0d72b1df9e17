//! JSON by Python's own module, with errors that quote nothing of the data.

use pyo3::exceptions::{PyRecursionError, PyTypeError, PyUnicodeEncodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::errors::input;

/// Writes JSON text without spaces, in UTF-8.
pub(super) struct Encoder<'py>(Bound<'py, PyAny>);

impl<'py> Encoder<'py> {
    pub(super) fn new(py: Python<'py>) -> PyResult<Self> {
        let options = PyDict::new(py);
        options.set_item("ensure_ascii", false)?;
        options.set_item("allow_nan", false)?;
        options.set_item("separators", (",", ":"))?;
        let encoder = py.import("json")?.getattr("JSONEncoder")?.call((), Some(&options))?;
        Ok(Self(encoder.getattr("encode")?))
    }

    pub(super) fn encode(&self, value: &Bound<'py, PyAny>) -> PyResult<String> {
        let py = self.0.py();
        let refused = |reason: &str| input(py, format!("a value has no JSON form: {reason}"));
        let text = self.0.call1((value,)).map_err(|e| {
            if e.is_instance_of::<PyTypeError>(py) {
                // It names the type of what is in the way, and quotes nothing.
                refused(&e.value(py).to_string())
            } else if e.is_instance_of::<PyRecursionError>(py)
                || e.is_instance_of::<PyValueError>(py)
            {
                refused("it has NaN or an infinity, or is nested too deeply")
            } else {
                e
            }
        })?;
        let text = text.cast_into::<PyString>()?;
        let text = text.to_cow().map(std::borrow::Cow::into_owned);
        text.map_err(|e| {
            if e.is_instance_of::<PyUnicodeEncodeError>(py) {
                return refused("a text in it has half of a surrogate pair");
            }
            e
        })
    }
}

/// Reads JSON text.
pub(super) struct Decoder<'py>(Bound<'py, PyAny>);

impl<'py> Decoder<'py> {
    pub(super) fn new(py: Python<'py>) -> PyResult<Self> {
        Ok(Self(py.import("json")?.call_method0("JSONDecoder")?.getattr("decode")?))
    }

    /// The value; None where the text is no JSON, or is nested too deeply.
    pub(super) fn decode(&self, text: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = self.0.py();
        match self.0.call1((text,)) {
            Err(e)
                if e.is_instance_of::<PyValueError>(py)
                    || e.is_instance_of::<PyRecursionError>(py) =>
            {
                Ok(None)
            }
            value => value.map(Some),
        }
    }
}
