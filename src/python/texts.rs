//! Texts from Python, borrowed, never copied.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyIterator, PyList, PySequence, PyString, PyTuple};

use super::errors::input;
use crate::tokenize::{Inputs, Text};

/// A text that Python holds.
pub(super) type Borrowed = Text<PyBackedStr>;

/// The texts of one call, or pairs of them.
pub(super) struct Batch {
    pub(super) first: Vec<Borrowed>,
    pub(super) second: Option<Vec<Borrowed>>,
    /// Whether the caller gave one text, not a list.
    pub(super) single: bool,
}

impl Batch {
    pub(super) fn inputs(&self) -> Inputs<'_, Borrowed> {
        Inputs { first: &self.first, second: self.second.as_deref() }
    }

    /// Takes a text or a sequence of texts, or of pairs; or words, if they are already split.
    pub(super) fn extract(
        text: &Bound<'_, PyAny>,
        pair: Option<&Bound<'_, PyAny>>,
        words: bool,
    ) -> PyResult<Self> {
        let single = if words { !holds_lists(text)? } else { text.is_instance_of::<PyString>() };
        if single {
            // As in transformers, an empty second text is none.
            let pair = pair.filter(|pair| pair.is_truthy().unwrap_or(true));
            let first = vec![one(text, 0, words)?];
            let second = pair.map(|pair| Ok::<_, PyErr>(vec![one(pair, 0, words)?])).transpose()?;
            return Ok(Self { first, second, single });
        }
        let py = text.py();
        let Some(pair) = pair else { return Self::extract_pairs(text, words) };
        if pair.is_instance_of::<PyString>() {
            return Err(input(py, "text_pair must be a sequence as long as text, not one str"));
        }
        let each = |texts| each(texts, |item, index| one(item, index, words));
        let (first, second) = (each(text)?, each(pair)?);
        if first.len() != second.len() {
            let reason = format!("text has {} texts, text_pair has {}", first.len(), second.len());
            return Err(input(py, format!("{reason}; there must be as many")));
        }
        Ok(Self { first, second: Some(second), single })
    }

    /// A sequence of texts, or of tuples of two.
    fn extract_pairs(texts: &Bound<'_, PyAny>, words: bool) -> PyResult<Self> {
        let mut second = Vec::new();
        let first = each(texts, |item, index| {
            let pair = if words { None } else { two(item) };
            // All or none: a pair among texts is more likely a mistake.
            if second.len() != if pair.is_some() { index } else { 0 } {
                let reason = format!("text {index} is a pair and others are not, or the reverse");
                return Err(input(item.py(), format!("{reason}; give them in two calls")));
            }
            let Some((text, pair)) = pair else { return one(item, index, words) };
            second.push(one(&pair, index, false)?);
            one(&text, index, false)
        })?;
        let second = (!second.is_empty()).then_some(second);
        Ok(Self { first, second, single: false })
    }
}

/// Takes a `str`, or a sequence, an array or a series of one dimension, or an iterator of them.
pub(super) fn extract(texts: &Bound<'_, PyAny>) -> PyResult<Vec<PyBackedStr>> {
    if let Ok(text) = texts.cast::<PyString>() {
        return Ok(vec![borrow(text, 0)?]);
    }
    let of_one_dimension = || texts.getattr("ndim").is_ok_and(|n| n.eq(1).unwrap_or(false));
    if texts.cast::<PySequence>().is_ok() || !(of_one_dimension() || is_iterator(texts)) {
        return each(texts, whole);
    }
    let mut taken = Vec::new();
    for (index, item) in texts.try_iter()?.enumerate() {
        taken.push(whole(&item?, index)?);
    }
    Ok(taken)
}

/// Whether it gives its items once, in their order. A set or a dict does not.
fn is_iterator(value: &Bound<'_, PyAny>) -> bool {
    value.cast::<PyIterator>().is_ok()
}

fn one(item: &Bound<'_, PyAny>, index: usize, words: bool) -> PyResult<Borrowed> {
    if !words {
        return whole(item, index).map(Text::Whole);
    }
    if !is_list(item) {
        let reason = format!(
            "text {index} must be a list of words with is_split_into_words, not {}",
            kind(item)
        );
        return Err(input(item.py(), reason));
    }
    each(item, |word, _| whole(word, index)).map(Text::Words)
}

/// Calls `take` with every item of a sequence and its index.
fn each<T>(
    sequence: &Bound<'_, PyAny>,
    mut take: impl FnMut(&Bound<'_, PyAny>, usize) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    let reason = || format!("texts must be a str or a sequence of str, not {}", kind(sequence));
    // bytes are a sequence too, an empty one of no texts.
    let items = sequence.cast::<PySequence>().ok().filter(|s| !s.is_instance_of::<PyBytes>());
    let items = items.ok_or_else(|| input(sequence.py(), reason()))?;
    // A length is a claim (`range(10**12)` has one): memory is taken as texts come.
    let mut taken = Vec::with_capacity(items.len()?.min(1 << 12));
    for (index, item) in items.try_iter()?.enumerate() {
        taken.push(take(&item?, index)?);
    }
    Ok(taken)
}

fn whole(item: &Bound<'_, PyAny>, index: usize) -> PyResult<PyBackedStr> {
    let text = item
        .cast::<PyString>()
        .map_err(|_| input(item.py(), format!("text {index} must be a str, not {}", kind(item))))?;
    borrow(text, index)
}

/// The items of a tuple or list of two.
fn two<'py>(item: &Bound<'py, PyAny>) -> Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    if !is_list(item) || item.len().ok()? != 2 {
        return None;
    }
    Some((item.get_item(0).ok()?, item.get_item(1).ok()?))
}

fn is_list(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>()
}

fn holds_lists(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(is_list(value) && value.len()? > 0 && is_list(&value.get_item(0)?))
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
