//! `legato.encoding.BatchEncoding`, made without running Python code: as soon as the dict that it is.

use std::ffi::c_void;
use std::mem::transmute;
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use super::encoding::Encodings;
use crate::tokenize::Column;

static CLASS: PyOnceLock<Class> = PyOnceLock::new();

struct Class {
    object: Py<PyType>,
    /// Its `__new__`, which is dict's.
    new: ffi::newfunc,
    no_arguments: Py<PyTuple>,
}

/// A `BatchEncoding` that has nothing in it, not even rows: [`finished`] gives it those.
pub(super) fn empty(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let Class { object, new, no_arguments } = CLASS.get_or_try_init(py, || Class::find(py))?;
    // SAFETY: `new` is the slot of that class; it takes the class, a tuple and a dict or null, and returns a new
    // reference, or null with an error set.
    let batch = unsafe {
        let made = new(object.as_ptr().cast(), no_arguments.as_ptr(), ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, made)?
    };
    Ok(batch.cast_into::<PyDict>()?)
}

/// What `BatchEncoding.__init__` leaves.
pub(super) fn finished(batch: Bound<'_, PyDict>, encodings: Encodings) -> PyResult<Py<PyAny>> {
    let py = batch.py();
    batch.setattr(intern!(py, "encodings"), Py::new(py, encodings)?)?;
    Ok(batch.into_any().unbind())
}

/// What a column is called.
pub(super) fn name(py: Python<'_>, column: Column) -> &Bound<'_, PyString> {
    match column {
        Column::Ids => intern!(py, "input_ids"),
        Column::TypeIds => intern!(py, "token_type_ids"),
        Column::Attention => intern!(py, "attention_mask"),
        Column::Special => intern!(py, "special_tokens_mask"),
        Column::Offsets => intern!(py, "offset_mapping"),
    }
}

impl Class {
    fn find(py: Python<'_>) -> PyResult<Self> {
        let class = py.import("legato.encoding")?.getattr("BatchEncoding")?;
        let class = class.cast_into::<PyType>()?;
        // SAFETY: the class is a type.
        let slot = unsafe { ffi::PyType_GetSlot(class.as_type_ptr(), ffi::Py_tp_new) };
        if slot.is_null() {
            return Err(PyRuntimeError::new_err("legato.encoding is not intact"));
        }
        // SAFETY: what is in that slot of a type is such a function, if there is any.
        let new = unsafe { transmute::<*mut c_void, ffi::newfunc>(slot) };
        Ok(Self { object: class.unbind(), new, no_arguments: PyTuple::empty(py).unbind() })
    }
}
