//! Texts from Python: one string or a sequence of them, borrowed, never copied.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PySequence, PyString};

use super::errors::input;

/// Takes a `str` or a sequence of them.
pub(super) fn extract(texts: &Bound<'_, PyAny>) -> PyResult<Vec<PyBackedStr>> {
    let py = texts.py();
    if let Ok(text) = texts.cast::<PyString>() {
        return Ok(vec![borrow(text, 0)?]);
    }
    // bytes are a sequence too, an empty one of no texts.
    let sequence = texts.cast::<PySequence>().ok().filter(|s| !s.is_instance_of::<PyBytes>());
    let Some(sequence) = sequence else {
        return Err(input(
            py,
            format!("texts must be a str or a sequence of str, not {}", kind(texts)),
        ));
    };
    // A length is a claim (`range(10**12)` has one): memory is taken as texts come.
    let mut borrowed = Vec::with_capacity(sequence.len()?.min(1 << 12));
    for (index, item) in sequence.try_iter()?.enumerate() {
        let item = item?;
        let text = item
            .cast::<PyString>()
            .map_err(|_| input(py, format!("text {index} must be a str, not {}", kind(&item))))?;
        borrowed.push(borrow(text, index)?);
    }
    Ok(borrowed)
}

fn borrow(text: &Bound<'_, PyString>, index: usize) -> PyResult<PyBackedStr> {
    PyBackedStr::try_from(text.clone()).map_err(|_| {
        let reason = format!(
            "text {index} has a lone surrogate, which no UTF-8 text can have; \
             decode the file with errors='replace' or leave the record out"
        );
        input(text.py(), reason)
    })
}

fn kind(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "that".to_owned(), |name| name.to_string())
}
