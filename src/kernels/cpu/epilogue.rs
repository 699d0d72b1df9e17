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
                for start in rows.clone().step_by(TILE_ROWS) {
                    let rows = start..rows.end.min(start + TILE_ROWS);
                    activate(rows, at.clone(), &bias[columns.clone()], activation, out);
                }
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

const TILE_ROWS: usize = 8;

/// The function is applied to some rows at once, one after the other in a tile: a panel's row alone is shorter than
/// one round of the loop that the compiler makes.
#[inline(always)]
fn activate(
    rows: Range<usize>,
    at: Range<usize>,
    bias: &[f32],
    activation: Activation,
    out: &mut RowsMut,
) {
    let mut tile = [0.0f32; TILE_ROWS * PANEL];
    let count = rows.len() * at.len();
    for (row, tile) in rows.clone().zip(tile.chunks_exact_mut(at.len())) {
        for ((t, x), b) in tile.iter_mut().zip(&out.row(row)[at.clone()]).zip(bias) {
            *t = x + b;
        }
    }
    activation.with(Each(&mut tile[..count]));
    for (row, tile) in rows.zip(tile.chunks_exact(at.len())) {
        for (x, t) in out.row(row)[at.clone()].iter_mut().zip(tile) {
            *x = *t;
        }
    }
}

struct Each<'a>(&'a mut [f32]);

impl WithFunction for Each<'_> {
    #[inline(always)]
    fn call(self, function: impl Function) {
        for x in self.0 {
            *x = function.of(*x);
        }
    }
}
