//! The forms that values are stored in: bytes, and what is said of them.

use std::collections::HashMap;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyMemoryView, PyString, PyTuple};

use super::errors::{input, to_python};
use super::memory::Array;
use super::reference::Ref;
use super::tokens::Tokens;
use super::{enter, json};
use crate::format::{self, ARRAY_NAME, Form, Layout};
use crate::reference::Description;

/// Bytes that follow each other, and what is said of them.
pub(super) struct Stored {
    pub(super) pieces: Vec<Bytes>,
    pub(super) about: Description,
}

/// What the caller says of a value; the rest its type says.
#[derive(Default)]
pub(super) struct Said {
    pub(super) media_type: Option<String>,
    pub(super) records: Option<u64>,
    pub(super) dtype: Option<String>,
    pub(super) shape: Option<Vec<u64>>,
}

/// Chooses the form of a value. Arrays and bytes are not copied.
pub(super) fn form(value: &Bound<'_, PyAny>, said: Said) -> PyResult<Stored> {
    let py = value.py();
    if let Some(data) = raw(value)? {
        return Ok(given(vec![data], Form::Bytes, said));
    }
    if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_cow().map_err(|_| {
            input(
                py,
                "a text with half of a surrogate pair cannot be stored; check where it is from",
            )
        })?;
        return Ok(given(vec![text.into_owned().into()], Form::Text, said));
    }
    if value.cast::<Ref>().is_ok() {
        return Err(input(py, "a Ref cannot be stored; store what it points to, or hand it on"));
    }
    let asked = said.media_type.as_deref().map(Form::of);
    if asked == Some(Form::Bytes) {
        let reason = "only bytes and text can have a media type that legato does not write itself";
        return Err(input(py, reason));
    }
    let made = match natural(value)? {
        Natural::Tokens(tokens) => tokens_form(&tokens)?,
        Natural::Table => table_form(value)?,
        Natural::Array => arrays_form(Form::Array, &[(ARRAY_NAME.to_owned(), value.clone())])?,
        Natural::Arrays(named) => arrays_form(Form::Tensors, &named)?,
        Natural::Json(records) => json_form(value, records, asked)?,
    };
    let is = Form::of(&made.about.media_type);
    if asked.is_some_and(|asked| asked != is) {
        let reason = format!(
            "such a value is stored as {}; leave media_type out, or give bytes",
            is.media_type()
        );
        return Err(input(py, reason));
    }
    Ok(Stored {
        about: Description { records: said.records.or(made.about.records), ..made.about },
        ..made
    })
}

/// Bytes-like objects; the memory of `bytes` is borrowed.
pub(super) fn raw(value: &Bound<'_, PyAny>) -> PyResult<Option<Bytes>> {
    if value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>() {
        return Ok(Some(Bytes::from_owner(value.extract::<PyBackedBytes>()?)));
    }
    if value.is_instance_of::<PyMemoryView>() {
        let data = value.call_method0("tobytes")?.extract::<PyBackedBytes>()?;
        return Ok(Some(Bytes::from_owner(data)));
    }
    Ok(None)
}

fn given(pieces: Vec<Bytes>, form: Form, said: Said) -> Stored {
    let media_type = said.media_type.unwrap_or_else(|| form.media_type().to_owned());
    let Said { records, dtype, shape, .. } = said;
    Stored { pieces, about: Description { media_type, records, dtype, shape } }
}

fn made(pieces: Vec<Bytes>, form: Form, records: Option<usize>) -> Stored {
    let media_type = form.media_type().to_owned();
    let records = records.map(|count| count as u64);
    Stored { pieces, about: Description { media_type, records, ..Description::default() } }
}

/// Arrays and their names.
type Named<'py> = Vec<(String, Bound<'py, PyAny>)>;

/// What a value is by its type.
enum Natural<'py> {
    Tokens(Bound<'py, Tokens>),
    Table,
    Array,
    Arrays(Named<'py>),
    /// Whether it is a list of JSON objects.
    Json(bool),
}

fn natural<'py>(value: &Bound<'py, PyAny>) -> PyResult<Natural<'py>> {
    if let Ok(tokens) = value.cast::<Tokens>() {
        return Ok(Natural::Tokens(tokens.clone()));
    }
    if is_table(value) {
        return Ok(Natural::Table);
    }
    if is_array(value)? {
        if value.hasattr("columns")? {
            // Its names would be lost.
            let reason = "a data frame is stored as a pyarrow.Table; convert it first";
            return Err(input(value.py(), reason));
        }
        return Ok(Natural::Array);
    }
    if let Ok(named) = value.cast::<PyDict>() {
        return Ok(arrays(named)?.map_or(Natural::Json(false), Natural::Arrays));
    }
    let all_objects = match (value.cast::<PyList>(), value.cast::<PyTuple>()) {
        (Ok(list), _) => !list.is_empty() && list.iter().all(|one| one.is_instance_of::<PyDict>()),
        (_, Ok(tuple)) => {
            !tuple.is_empty() && tuple.iter().all(|one| one.is_instance_of::<PyDict>())
        }
        _ => false,
    };
    Ok(Natural::Json(all_objects))
}

/// A dict all of whose values are arrays.
fn arrays<'py>(named: &Bound<'py, PyDict>) -> PyResult<Option<Named<'py>>> {
    let mut found = Vec::with_capacity(named.len());
    for (name, value) in named {
        let Ok(name) = name.cast::<PyString>() else { return Ok(None) };
        if !is_array(&value)? {
            return Ok(None);
        }
        let name = name.to_cow().map_err(|_| {
            input(named.py(), "the name of an array has half of a surrogate pair; rename it")
        })?;
        found.push((name.into_owned(), value));
    }
    Ok(Some(found).filter(|found| !found.is_empty()))
}

/// numpy's arrays and numbers, and what converts itself to them, such as a torch tensor.
fn is_array(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(value.hasattr("__array_interface__")? || value.hasattr("__array__")?)
}

/// Without importing pyarrow, which may not be there.
fn is_table(value: &Bound<'_, PyAny>) -> bool {
    let kind = value.get_type();
    let module = kind.module().ok().and_then(|name| name.extract::<String>().ok());
    module.is_some_and(|name| name.starts_with("pyarrow"))
        && kind.name().is_ok_and(|n| n == "Table")
}

fn arrays_form(form: Form, named: &[(String, Bound<'_, PyAny>)]) -> PyResult<Stored> {
    let Some((_, first)) = named.first() else {
        return Ok(made(Vec::new(), form, None));
    };
    let py = first.py();
    let arrays: Vec<Array<'_>> =
        named.iter().map(|(_, value)| Array::new(value)).collect::<PyResult<_>>()?;
    let shapes: Vec<(&str, &str, &[usize])> = named
        .iter()
        .zip(&arrays)
        .map(|((name, _), array)| (name.as_str(), array.dtype.as_str(), array.shape.as_slice()))
        .collect();
    let Layout { head, order } =
        enter::brief(py, || Layout::new(&shapes, None::<HashMap<String, String>>))?;
    let mut pieces = vec![Bytes::from(head)];
    for index in order {
        pieces.push(arrays[index].bytes()?);
    }
    let mut stored = made(pieces, form, None);
    if form == Form::Array {
        stored.about.dtype = Some(arrays[0].dtype.clone());
        stored.about.shape = Some(arrays[0].shape.iter().map(|&n| n as u64).collect());
    }
    Ok(stored)
}

fn tokens_form(tokens: &Bound<'_, Tokens>) -> PyResult<Stored> {
    let inner = &tokens.get().inner;
    let data = enter::quick(tokens.py(), || format::write_tokens(inner))?;
    Ok(made(vec![data.into()], Form::Tokens, Some(inner.len())))
}

/// Rows of a row group: a slice reads whole ones.
const GROUP_ROWS: usize = 1 << 17;

fn table_form(table: &Bound<'_, PyAny>) -> PyResult<Stored> {
    let py = table.py();
    let sink = py.import("pyarrow")?.getattr("BufferOutputStream")?.call0()?;
    let options = PyDict::new(py);
    options.set_item("compression", "zstd")?;
    options.set_item("row_group_size", GROUP_ROWS)?;
    py.import("pyarrow.parquet")?.call_method("write_table", (table, &sink), Some(&options))?;
    let data = sink.call_method0("getvalue")?.call_method0("to_pybytes")?;
    let data = Bytes::from_owner(data.extract::<PyBackedBytes>()?);
    let rows = table.getattr("num_rows")?.extract()?;
    Ok(made(vec![data], Form::Parquet, Some(rows)))
}

fn json_form(value: &Bound<'_, PyAny>, objects: bool, asked: Option<Form>) -> PyResult<Stored> {
    let py = value.py();
    let form = asked.unwrap_or(if objects { Form::Jsonl } else { Form::Json });
    if !matches!(form, Form::Jsonl | Form::JsonlZstd) {
        let form = if form == Form::Value { Form::Value } else { Form::Json };
        return Ok(made(vec![json::dump(value)?.into()], form, None));
    }
    if !value.is_instance_of::<PyList>() && !value.is_instance_of::<PyTuple>() {
        return Err(input(py, "only a list can be stored as JSON lines"));
    }
    let (mut data, mut records) = (Vec::new(), 0);
    for record in value.try_iter()? {
        data.extend_from_slice(json::dump(&record?)?.as_bytes());
        data.push(b'\n');
        records += 1;
    }
    if form == Form::JsonlZstd {
        data = enter::quick(py, || format::deflate(&data))?;
    }
    Ok(made(vec![data.into()], form, Some(records)))
}

/// An error of a library, in whose message the value may stand.
pub(super) fn unsaid(py: Python<'_>, error: &PyErr, what: &str) -> PyErr {
    let kind = error.get_type(py).name().map_or_else(|_| "error".to_owned(), |n| n.to_string());
    to_python(py, crate::error::Error::input(format!("{what} ({kind})")))
}
