//! What a call returns: a dict of lists or arrays, written once.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use numpy::Element;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::call::{Fit, Kind};
use super::encoding::Encodings;
use super::errors::input;
use super::result::{self, name};
use super::texts::Batch;
use super::{arrays, enter};
use crate::error::{Error, Result};
use crate::runtime;
use crate::tokenize::{
    Cell, Column, EncodeOptions, Inputs, Padding, Rows, Side, Source, Tokenizer,
};

/// What texts cost, in bytes, for which the GIL is kept.
const BRIEF_BYTES: usize = 2 << 10;

/// Cells of a matrix that is written with the GIL kept.
const BRIEF_CELLS: usize = 1 << 12;

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
    pub(super) columns: [Option<Column>; 5],
    pub(super) length: bool,
}

impl Call {
    /// Encodes the texts and builds the result.
    pub(super) fn run(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let data = result::empty(py)?;
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
            let name = intern!(py, "overflow_to_sample_mapping");
            if self.kind == Kind::Lists {
                data.set_item(name, &texts)?;
            } else {
                let texts = texts.iter().map(|&text| i64::try_from(text).unwrap_or(i64::MAX));
                data.set_item(name, arrays::vector(py, texts.collect()))?;
            }
        }
        let padding = width.map(|width| self.padding(width));
        let Self { tokenizer, batch, options, .. } = self;
        let kept = Mutex::default();
        let encodings = Encodings { tokenizer, batch, options, texts, padding, kept };
        result::finished(data, encodings)
    }

    fn compute<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Self, &AtomicBool) -> Result<T> + Send,
    ) -> PyResult<T> {
        compute(py, &self.tokenizer, self.batch.inputs(), self.options, |stop| work(self, stop))
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

    /// Width of arrays, and of what is padded to it.
    fn shape(&self, rows: &Rows) -> Result<(usize, Option<usize>)> {
        let padded = self.width(rows)?;
        let width = padded.unwrap_or(rows.lengths().next().unwrap_or(0) as usize);
        let fits = |length| if padded.is_some() { length <= width } else { length == width };
        if rows.lengths().all(|length| fits(length as usize)) {
            return Ok((width, padded));
        }
        Err(Error::input(
            "the texts have different numbers of tokens, which no array can have; set \
             padding=True, and truncation=True if some are too long",
        ))
    }

    fn columns(&self) -> impl Iterator<Item = Column> {
        self.columns.into_iter().flatten()
    }

    fn arrays<T: Cell + Element>(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyDict>,
    ) -> PyResult<(Rows, Option<usize>)> {
        let (rows, (width, padded), matrices) = self.compute(py, |call, stop| {
            let rows = call.rows(stop)?;
            let shape = call.shape(&rows)?;
            let padding = call.padding(shape.0);
            let small = rows.len().saturating_mul(shape.0) <= BRIEF_CELLS;
            let matrix = |column| rows.matrix::<T>(column, &padding);
            let matrices = if small {
                Vec::new()
            } else {
                call.columns().map(matrix).collect::<Result<_>>()?
            };
            Ok((rows, shape, matrices))
        })?;
        let (count, padding) = (rows.len(), self.padding(width));
        let mut matrices = matrices.into_iter();
        for column in self.columns() {
            let write = |cells: &mut [_]| rows.write::<T>(column, &padding, cells);
            let array = match (column, matrices.next()) {
                (Column::Offsets, Some(cells)) => arrays::cube(py, cells, count, width)?.into_any(),
                (Column::Offsets, None) => {
                    arrays::written(py, [count, width, 2], write)?.into_any()
                }
                (_, Some(cells)) => arrays::matrix(py, cells, count, width)?.into_any(),
                (_, None) => arrays::written(py, [count, width], write)?.into_any(),
            };
            data.set_item(name(py, column), array)?;
        }
        if self.length {
            let width = u32::try_from(width).map_or(T::of(u32::MAX), T::of);
            data.set_item(intern!(py, "length"), arrays::vector(py, vec![width; count]))?;
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
        for column in self.columns() {
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
                Some(only) if squeeze => data.set_item(name(py, column), only)?,
                last => {
                    lists.extend(last);
                    data.set_item(name(py, column), lists)?;
                }
            }
        }
        if self.length {
            let lengths = rows.lengths().map(|length| (length as usize).max(width.unwrap_or(0)));
            data.set_item(intern!(py, "length"), lengths.collect::<Vec<_>>())?;
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

/// Encodes texts where that is soonest done.
pub(super) fn compute<S: Source, T: Send>(
    py: Python<'_>,
    tokenizer: &Tokenizer,
    inputs: Inputs<'_, S>,
    options: EncodeOptions,
    work: impl FnOnce(&AtomicBool) -> Result<T> + Send,
) -> PyResult<T> {
    if inputs.cost() <= BRIEF_BYTES {
        enter::brief(py, || work(&AtomicBool::new(false)))
    } else if tokenizer.encodes_inline(inputs, options, runtime::num_threads) {
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
