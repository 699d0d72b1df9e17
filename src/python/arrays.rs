//! numpy arrays out of vectors, without another copy.

use numpy::ndarray::{Array2, Array3, ShapeError};
use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyArray3};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// Ids as numpy users expect them: int32. None is above 2^31.
pub(super) fn int32<'py>(py: Python<'py>, values: &[u32]) -> Bound<'py, PyArray1<i32>> {
    let values: Vec<i32> = values.iter().map(|&value| value.cast_signed()).collect();
    vector(py, values)
}

/// Numbers as an array.
pub(super) fn vector<T: Element>(py: Python<'_>, values: Vec<T>) -> Bound<'_, PyArray1<T>> {
    values.into_pyarray(py)
}

/// Rows of `width` numbers as a matrix.
pub(super) fn matrix<T: Element>(
    py: Python<'_>,
    values: Vec<T>,
    rows: usize,
    width: usize,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    let matrix = Array2::from_shape_vec((rows, width), values).map_err(|e| misshapen(&e))?;
    Ok(matrix.into_pyarray(py))
}

/// Rows of `width` pairs of numbers.
pub(super) fn cube<T: Element>(
    py: Python<'_>,
    values: Vec<T>,
    rows: usize,
    width: usize,
) -> PyResult<Bound<'_, PyArray3<T>>> {
    let cube = Array3::from_shape_vec((rows, width, 2), values).map_err(|e| misshapen(&e))?;
    Ok(cube.into_pyarray(py))
}

fn misshapen(error: &ShapeError) -> PyErr {
    PyRuntimeError::new_err(format!("an array is not of its shape ({error})"))
}
