//! What is done to a product while it is still in the first-level cache.

use super::super::function::{Activation, Function, WithFunction};
use super::view::Rows;
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

    /// Applies it to one row's numbers from `column` on.
    #[inline(always)]
    pub(super) fn apply(&self, row: usize, column: usize, out: &mut [f32]) {
        let columns = column..column + out.len();
        match *self {
            Self::None => {}
            Self::Bias(bias) => {
                for (x, b) in out.iter_mut().zip(&bias[columns]) {
                    *x += b;
                }
            }
            Self::Activation(bias, activation) => {
                activation.with(Each { out, bias: &bias[columns] });
            }
            Self::Residual(bias, residual) => {
                let residual = &residual.row(row)[columns.clone()];
                for ((x, b), r) in out.iter_mut().zip(&bias[columns]).zip(residual) {
                    *x += b + r;
                }
            }
        }
    }
}

struct Each<'a> {
    out: &'a mut [f32],
    bias: &'a [f32],
}

impl WithFunction for Each<'_> {
    #[inline(always)]
    fn call(self, function: impl Function) {
        for (x, b) in self.out.iter_mut().zip(self.bias) {
            *x = function.of(*x + b);
        }
    }
}
