//! What a call returns: a dict of lists or arrays, written once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use numpy::Element;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::call::{Fit, Kind};
use super::encoding::Encodings;
use super::errors::input;
use super::texts::Batch;
use super::{arrays, enter};
use crate::error::{Error, Result};
use crate::tokenize::{Cell, Column, EncodeOptions, Padding, Rows, Side, Tokenizer};

/// What texts cost, in bytes, for which the GIL is kept.
const BRIEF_BYTES: usize = 2 << 10;

static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// A call, its arguments understood.
pub(super) struct Call {
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) batch: Batch,
    pub(super) options: EncodeOptions,
    pub(super) fit: Fit,
    pub(super) side: Side,
    pub(super) multiple_of: usize,
    /// The token of padding, where there is any.
    pub(super) pad: (u32, u32),
    pub(super) kind: Kind,
    /// What is returned of each token, in order.
    pub(super) columns: Vec<Column>,
    pub(super) length: bool,
}

impl Call {
    /// Encodes the texts and builds the result.
    pub(super) fn run(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let data = PyDict::new(py);
        let (rows, width) = match self.kind {
            Kind::Lists => {
                let (rows, width) = self.compute(py, |call, stop| {
                    let rows = call.rows(stop)?;
                    let width = call.width(&rows)?;
                    Ok((rows, width))
                })?;
                self.lists(py, &data, &rows, width)?;
                (rows, width)
            }
            Kind::Int64 => self.arrays::<i64>(py, &data)?,
            Kind::Int32 => self.arrays::<i32>(py, &data)?,
        };
        let texts: Vec<usize> = rows.texts().collect();
        if self.options.overflow {
            let name = "overflow_to_sample_mapping";
            if self.kind == Kind::Lists {
                data.set_item(name, &texts)?;
            } else {
                let texts = texts.iter().map(|&text| i64::try_from(text).unwrap_or(i64::MAX));
                data.set_item(name, arrays::vector(py, texts.collect()))?;
            }
        }
        let padding = width.map(|width| self.padding(width));
        let Self { tokenizer, batch, options, .. } = self;
        let encodings = Encodings { tokenizer, batch, options, texts, padding };
        let class = CLASS.get_or_try_init(py, || {
            Ok::<_, PyErr>(py.import("legato.encoding")?.getattr("BatchEncoding")?.unbind())
        })?;
        class.call1(py, (data, encodings))
    }

    fn compute<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Self, &AtomicBool) -> Result<T> + Send,
    ) -> PyResult<T> {
        compute(py, self.batch.inputs().cost(), |stop| work(self, stop))
    }

    fn rows(&self, stop: &AtomicBool) -> Result<Rows> {
        self.tokenizer.rows(self.batch.inputs(), self.options, stop)
    }

    /// How wide rows become; `None` if each stays as it is.
    fn width(&self, rows: &Rows) -> Result<Option<usize>> {
        let width = match self.fit {
            Fit::No => return Ok(None),
            Fit::Longest => rows.lengths().max().unwrap_or(0) as usize,
            Fit::MaxLength => self.options.max_length.unwrap_or(0),
        };
        let width = width.checked_next_multiple_of(self.multiple_of);
        let cells = width.and_then(|width| width.checked_mul(rows.len()));
        if cells.is_none_or(|cells| cells > Rows::MOST_CELLS) {
            return Err(Error::input(
                "padded rows would not fit in memory: max_length or pad_to_multiple_of is too great, \
                 or there are too many texts for one call",
            ));
        }
        Ok(width)
    }

    fn padding(&self, width: usize) -> Padding {
        Padding { width, side: self.side, id: self.pad.0, type_id: self.pad.1 }
    }

    fn arrays<T: Cell + Element>(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyDict>,
    ) -> PyResult<(Rows, Option<usize>)> {
        let (rows, padded, width, matrices) = self.compute(py, |call, stop| {
            let rows = call.rows(stop)?;
            let padded = call.width(&rows)?;
            let width = padded.unwrap_or(rows.lengths().next().unwrap_or(0) as usize);
            let fits = |length| if padded.is_some() { length <= width } else { length == width };
            if !rows.lengths().all(|length| fits(length as usize)) {
                return Err(Error::input(
                    "the texts have different numbers of tokens, which no array can have; set \
                     padding=True, and truncation=True if some are too long",
                ));
            }
            let padding = call.padding(width);
            let matrix = |&column| rows.matrix::<T>(column, &padding);
            let matrices = call.columns.iter().map(matrix).collect::<Result<Vec<_>>>()?;
            Ok((rows, padded, width, matrices))
        })?;
        let count = rows.len();
        for (column, cells) in self.columns.iter().zip(matrices) {
            if *column == Column::Offsets {
                data.set_item(name(*column), arrays::cube(py, cells, count, width)?)?;
            } else {
                data.set_item(name(*column), arrays::matrix(py, cells, count, width)?)?;
            }
        }
        if self.length {
            let width = u32::try_from(width).map_or(T::of(u32::MAX), T::of);
            data.set_item("length", arrays::vector(py, vec![width; count]))?;
        }
        Ok((rows, padded))
    }

    fn lists(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyDict>,
        rows: &Rows,
        width: Option<usize>,
    ) -> PyResult<()> {
        let squeeze = self.batch.single && !self.options.overflow;
        for &column in &self.columns {
            let mut lists: Vec<Bound<'_, PyList>> = Vec::with_capacity(rows.len());
            let mut failed = None;
            rows.each(column, |row| match self.list(py, column, row, width) {
                Ok(list) => lists.push(list),
                Err(e) => failed = Some(e),
            });
            if let Some(error) = failed {
                return Err(error);
            }
            match lists.pop() {
                Some(only) if squeeze => data.set_item(name(column), only)?,
                last => {
                    lists.extend(last);
                    data.set_item(name(column), lists)?;
                }
            }
        }
        if self.length {
            let lengths = rows.lengths().map(|length| (length as usize).max(width.unwrap_or(0)));
            data.set_item("length", lengths.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// One row of a column, padded.
    fn list<'py>(
        &self,
        py: Python<'py>,
        column: Column,
        row: &mut dyn Iterator<Item = u32>,
        width: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let numbers: Vec<u32> = row.collect();
        let cells = if column == Column::Offsets { 2 } else { 1 };
        let missing = width.map_or(0, |width| width.saturating_sub(numbers.len() / cells));
        let pad = self.padding(0).value(column);
        let padded = std::iter::repeat_n(pad, missing * cells);
        let numbers: Vec<u32> = match self.side {
            _ if missing == 0 => numbers,
            Side::Right => numbers.into_iter().chain(padded).collect(),
            Side::Left => padded.chain(numbers).collect(),
        };
        match column {
            Column::Offsets => {
                let pairs = numbers.chunks_exact(2).map(|pair| PyTuple::new(py, pair));
                PyList::new(py, pairs.collect::<PyResult<Vec<_>>>()?)
            }
            _ => PyList::new(py, numbers),
        }
    }
}

/// Encodes what costs so much where that is soonest done.
pub(super) fn compute<T: Send>(
    py: Python<'_>,
    cost: usize,
    work: impl FnOnce(&AtomicBool) -> Result<T> + Send,
) -> PyResult<T> {
    if cost <= BRIEF_BYTES {
        enter::brief(py, || work(&AtomicBool::new(false)))
    } else if Tokenizer::encodes_inline(cost) {
        enter::quick(py, || work(&AtomicBool::new(false)))
    } else {
        enter::compute(py, work)
    }
}

/// The token of padding that a call uses.
pub(super) fn pad(py: Python<'_>, tokenizer: &Tokenizer, id: Option<u32>) -> PyResult<(u32, u32)> {
    let own = tokenizer.pad();
    let type_id = own.map_or(0, |pad| pad.type_id);
    match id.or_else(|| own.map(|pad| pad.id)) {
        Some(id) => Ok((id, type_id)),
        None => Err(input(
            py,
            "the tokenizer's files name no padding token; give the id of one as pad_id",
        )),
    }
}

fn name(column: Column) -> &'static str {
    match column {
        Column::Ids => "input_ids",
        Column::TypeIds => "token_type_ids",
        Column::Attention => "attention_mask",
        Column::Special => "special_tokens_mask",
        Column::Offsets => "offset_mapping",
    }
}
