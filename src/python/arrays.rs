//! numpy arrays out of vectors, without another copy.

use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

/// Ids as numpy users expect them: int32. None is above 2^31.
pub(super) fn int32<'py>(py: Python<'py>, values: &[u32]) -> Bound<'py, PyArray1<i32>> {
    let values: Vec<i32> = values.iter().map(|&value| value.cast_signed()).collect();
    values.into_pyarray(py)
}

/// Rows of `width` numbers as a matrix.
pub(super) fn matrix<T: Element>(
    py: Python<'_>,
    values: Vec<T>,
    rows: usize,
    width: usize,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    values.into_pyarray(py).reshape([rows, width])
}
