use std::borrow::Cow;

use super::tensor::{TakeFloats, TakeInt8, Tensor};
use crate::error::Result;
use crate::kernels::cpu::quantize_rows;

/// Rows that a layer is made of.
#[derive(Debug)]
pub enum Matrix<'a> {
    /// Computed from a checkpoint's.
    Values(Cow<'a, [f32]>),
    /// The tensors' rows, those of one behind those of the other. All are equally wide.
    Tensors(Vec<Tensor<'a>>),
}

impl From<Vec<f32>> for Matrix<'_> {
    fn from(values: Vec<f32>) -> Self {
        Self::Values(values.into())
    }
}

impl Matrix<'_> {
    /// What the checkpoint calls this, where it is one tensor.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Tensors(tensors) if tensors.len() == 1 => Some(tensors[0].name()),
            _ => None,
        }
    }

    /// All numbers, in float32.
    pub fn whole(&self) -> Result<Cow<'_, [f32]>> {
        match self {
            Self::Values(values) => Ok(Cow::Borrowed(values)),
            Self::Tensors(tensors) => match &tensors[..] {
                [one] => one.whole().map(Cow::Owned),
                several => {
                    let parts = several.iter().map(Tensor::whole).collect::<Result<Vec<_>>>()?;
                    Ok(Cow::Owned(parts.concat()))
                }
            },
        }
    }

    /// Hands over all rows in float32.
    pub(super) fn floats(&self, take: TakeFloats<'_>) -> Result<()> {
        match self {
            Self::Values(values) => take(0, values),
            Self::Tensors(tensors) => {
                let mut start = 0;
                for tensor in tensors {
                    tensor.floats(&mut |first, rows| take(start + first, rows))?;
                    start += tensor.rows();
                }
                Ok(())
            }
        }
    }

    /// Hands over all rows, `width` numbers each, in eight bits.
    pub(super) fn int8(&self, width: usize, take: TakeInt8<'_>) -> Result<()> {
        match self {
            Self::Values(values) => {
                let rows = values.len() / width.max(1);
                let (mut numbers, mut scales) = (vec![0; values.len()], vec![0.0; rows]);
                quantize_rows(values, &mut numbers, &mut scales)?;
                take(0, &numbers, &scales)
            }
            Self::Tensors(tensors) => {
                let mut start = 0;
                for tensor in tensors {
                    tensor.int8(&mut |first, rows, scales| take(start + first, rows, scales))?;
                    start += tensor.rows();
                }
                Ok(())
            }
        }
    }
}
