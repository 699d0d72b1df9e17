//! The arguments of a tokenizer's call, as transformers takes them, made sense of.

use std::borrow::Cow;

use numpy::PyArrayDescr;
use numpy::PyArrayDescrMethods as _;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};

use super::arguments::Count;
use super::errors::input;
use crate::tokenize::{Side, Strategy};

/// How rows become as wide as each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    No,
    Longest,
    MaxLength,
}

/// What results are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Lists,
    Int64,
    Int32,
}

/// The `truncation` of a call. `None` is no answer, `False` is one.
pub(super) enum Truncation {
    Unsaid,
    Is(Option<Strategy>),
}

impl FromPyObject<'_, '_> for Truncation {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(Self::Unsaid);
        }
        let names =
            "True, False, 'longest_first', 'only_first', 'only_second' or 'do_not_truncate'";
        Ok(Self::Is(match &*word(&value, "truncation", names)? {
            "True" | "longest_first" => Some(Strategy::LongestFirst),
            "False" | "do_not_truncate" => None,
            "only_first" => Some(Strategy::OnlyFirst),
            "only_second" => Some(Strategy::OnlySecond),
            _ => return Err(unknown(&value, "truncation", names)),
        }))
    }
}

impl FromPyObject<'_, '_> for Fit {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let names = "True, False, 'longest', 'max_length' or 'do_not_pad'";
        match &*word(&value, "padding", names)? {
            "True" | "longest" => Ok(Self::Longest),
            "False" | "do_not_pad" => Ok(Self::No),
            "max_length" => Ok(Self::MaxLength),
            _ => Err(unknown(&value, "padding", names)),
        }
    }
}

impl FromPyObject<'_, '_> for Side {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let names = "'left' or 'right'";
        match &*word(&value, "a side", names)? {
            "left" => Ok(Self::Left),
            "right" => Ok(Self::Right),
            _ => Err(unknown(&value, "a side", names)),
        }
    }
}

impl Kind {
    /// Takes `return_tensors` and `dtype`.
    pub(super) fn new(
        py: Python<'_>,
        tensors: Option<&Bound<'_, PyAny>>,
        dtype: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let Some(tensors) = tensors else {
            return match dtype {
                None => Ok(Self::Lists),
                Some(_) => Err(input(py, "dtype is for arrays; set return_tensors='np'")),
            };
        };
        let names = "'np' or None";
        if word(tensors, "return_tensors", names)? != "np" {
            let reason = "return_tensors must be 'np' or None; torch.from_numpy() and others take the \
                          arrays without a copy";
            return Err(input(py, reason));
        }
        let Some(dtype) = dtype else { return Ok(Self::Int64) };
        let dtype = PyArrayDescr::new(py, dtype)?;
        if dtype.is_equiv_to(&numpy::dtype::<i64>(py)) {
            Ok(Self::Int64)
        } else if dtype.is_equiv_to(&numpy::dtype::<i32>(py)) {
            Ok(Self::Int32)
        } else {
            Err(input(py, "dtype must be int64 or int32"))
        }
    }
}

/// A positive multiple, or none.
pub(super) fn multiple(py: Python<'_>, of: Option<Count>) -> PyResult<usize> {
    match of {
        None => Ok(1),
        Some(Count(0)) => Err(input(py, "pad_to_multiple_of must be 1 or more")),
        Some(Count(of)) => Ok(of),
    }
}

/// A bool as its name, or a str.
fn word<'a>(value: &'a Bound<'_, PyAny>, what: &str, names: &str) -> PyResult<Cow<'a, str>> {
    if let Ok(value) = value.cast::<PyBool>() {
        return Ok(if value.is_true() { "True" } else { "False" }.into());
    }
    let text = value.cast::<PyString>().ok().and_then(|text| text.to_cow().ok());
    text.ok_or_else(|| unknown(value, what, names))
}

fn unknown(value: &Bound<'_, PyAny>, what: &str, names: &str) -> PyErr {
    input(value.py(), format!("{what} must be {names}"))
}
