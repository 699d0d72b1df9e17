//! Token ids from Python: numbers, sequences of them, arrays.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::errors::input;

/// One id.
pub(super) fn one(id: &Bound<'_, PyAny>) -> PyResult<u32> {
    id.extract().map_err(|_| {
        let reason =
            "an id must be a whole number from 0 to 2^32 - 1; decode_batch() takes rows of them";
        input(id.py(), reason)
    })
}

/// A sequence or array of ids, or one.
pub(super) fn row(ids: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    let ids = listed(ids)?;
    if ids.extract::<u32>().is_ok() {
        return Ok(vec![one(&ids)?]);
    }
    each(&ids, one)
}

/// A sequence of rows, or a matrix.
pub(super) fn rows(batch: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<u32>>> {
    each(&listed(batch)?, row)
}

fn each<'py, T>(
    items: &Bound<'py, PyAny>,
    take: impl Fn(&Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    let text = items.is_instance_of::<PyString>() || items.is_instance_of::<PyBytes>();
    match items.try_iter() {
        Ok(items) if !text => items.map(|item| take(&item?)).collect(),
        _ => Err(input(items.py(), "ids must be whole numbers, sequences of them, or arrays")),
    }
}

/// An array as lists, which are read much sooner.
fn listed<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match value.getattr_opt(intern!(value.py(), "tolist"))? {
        Some(tolist) => tolist.call0(),
        None => Ok(value.clone()),
    }
}
