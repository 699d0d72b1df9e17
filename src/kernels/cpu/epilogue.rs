//! What is done to a product while it is still in the first-level cache.

use std::ops::Range;

use super::super::function::{Activation, Function, WithFunction};
use super::f32::PANEL;
use super::view::{Rows, RowsMut};
use crate::error::{Error, Result};

/// What becomes of `x w` before it is stored. A bias is (outputs,) and a residual (rows, outputs) of the whole
/// product, also where only some of its columns are computed.
#[derive(Debug, Clone, Copy, Default)]
pub enum Epilogue<'a> {
    /// `x w`
    #[default]
    None,
    /// `x w + bias`
    Bias(&'a [f32]),
    /// `activation(x w + bias)`
    Activation(&'a [f32], Activation),
    /// `x w + bias + residual`
    Residual(&'a [f32], Rows<'a>),
}

impl Epilogue<'_> {
    /// What it is for those rows of a product alone.
    pub fn range(&self, rows: Range<usize>) -> Result<Self> {
        Ok(match *self {
            Self::Residual(bias, residual) => Self::Residual(bias, residual.range(rows)?),
            other => other,
        })
    }

    /// Whether it fits `rows` rows of `outputs` numbers.
    pub(super) fn check(&self, rows: usize, outputs: usize) -> Result<()> {
        let (bias, residual) = match self {
            Self::None => return Ok(()),
            Self::Bias(bias) | Self::Activation(bias, _) => (bias.len(), None),
            Self::Residual(bias, residual) => (bias.len(), Some(residual)),
        };
        if bias != outputs {
            return Err(Error::internal(format!("a bias of {bias} numbers for {outputs} outputs")));
        }
        match residual {
            Some(r) if r.rows() != rows || r.width() != outputs => Err(Error::internal(format!(
                "a residual of {} rows of {} numbers for {rows} rows of {outputs}",
                r.rows(),
                r.width()
            ))),
            _ => Ok(()),
        }
    }

    /// Applies it to columns from `at` on of some rows of `out`, at most [`PANEL`], which are the whole product's
    /// columns from `column` on.
    #[inline(always)]
    pub(super) fn apply(
        &self,
        rows: Range<usize>,
        at: Range<usize>,
        column: usize,
        out: &mut RowsMut,
    ) {
        let columns = column..column + at.len();
        match *self {
            Self::None => {}
            Self::Bias(bias) => {
                for row in rows {
                    for (x, b) in out.row(row)[at.clone()].iter_mut().zip(&bias[columns.clone()]) {
                        *x += b;
                    }
                }
            }
            Self::Activation(bias, activation) => {
                activation.with(Activate { bias: &bias[columns], rows, at, out });
            }
            Self::Residual(bias, residual) => {
                for row in rows {
                    let others =
                        bias[columns.clone()].iter().zip(&residual.row(row)[columns.clone()]);
                    for (x, (b, r)) in out.row(row)[at.clone()].iter_mut().zip(others) {
                        *x += b + r;
                    }
                }
            }
        }
    }

    /// Its bias for columns from `column` on, as many as `to` has but for those beyond the last.
    pub(super) fn bias(&self, column: usize, to: &mut [f32; PANEL]) {
        let (Self::Bias(bias) | Self::Activation(bias, _) | Self::Residual(bias, _)) = self else {
            return;
        };
        let count = (bias.len() - column).min(PANEL);
        to[..count].copy_from_slice(&bias[column..column + count]);
    }
}

/// Lanes of the widest vector: a loop over as many becomes one of its instructions.
pub(super) const LANES: usize = 16;

struct Activate<'a, 'b> {
    bias: &'a [f32],
    rows: Range<usize>,
    at: Range<usize>,
    out: &'a mut RowsMut<'b>,
}

impl WithFunction for Activate<'_, '_> {
    #[inline(always)]
    fn call(self, function: impl Function) {
        let Self { bias, rows, at, out } = self;
        let (biases, last_biases) = bias.as_chunks::<LANES>();
        for row in rows {
            let (whole, last) = out.row(row)[at.clone()].as_chunks_mut::<LANES>();
            for (x, b) in whole.iter_mut().zip(biases) {
                for (x, b) in x.iter_mut().zip(b) {
                    *x = function.of(*x + b);
                }
            }
            for (x, b) in last.iter_mut().zip(last_biases) {
                *x = function.of(*x + b);
            }
        }
    }
}

#[cfg(test)]
impl Epilogue<'_> {
    /// The plain reference of [`Epilogue::apply`]: one row, one number at a time.
    pub(super) fn reference(&self, row: usize, out: &mut [f32]) {
        for (i, x) in out.iter_mut().enumerate() {
            match self {
                Self::None => {}
                Self::Bias(bias) => *x += bias[i],
                Self::Activation(bias, activation) => {
                    *x += bias[i];
                    activation.with(Each(std::slice::from_mut(x)));
                }
                Self::Residual(bias, residual) => *x += bias[i] + residual.row(row)[i],
            }
        }
    }
}

#[cfg(test)]
struct Each<'a>(&'a mut [f32]);

#[cfg(test)]
impl WithFunction for Each<'_> {
    fn call(self, function: impl Function) {
        for x in self.0 {
            *x = function.of(*x);
        }
    }
}
