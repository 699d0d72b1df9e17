use std::fmt;

use crate::backend::tensor::{Half, Tensor, reserved};
use crate::error::Result;
use crate::kernels::plain;

/// Numbers from which on a table that is looked up is worth keeping in eight bits, where layers are.
const WORTH: usize = 1 << 16;

/// Rows of constants.
pub struct Table {
    /// Empty where rows are kept in fewer bits: then they can be looked up, and nothing else.
    pub(super) values: Vec<f32>,
    pub(super) width: usize,
    short: Option<Short>,
}

/// Rows in fewer bits.
enum Short {
    /// As the checkpoint stores them, little-endian.
    Half { kind: Half, numbers: Vec<u8> },
    /// With a scale for each row.
    Int8 { numbers: Vec<i8>, scales: Vec<f32> },
}

/// Its shape: a model's numbers are nothing to print.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, kept) = match &self.short {
            None => (self.values.len(), "float32"),
            Some(Short::Half { kind: Half::F16, numbers }) => (numbers.len() / 2, "float16"),
            Some(Short::Half { kind: Half::BF16, numbers }) => (numbers.len() / 2, "bfloat16"),
            Some(Short::Int8 { numbers, .. }) => (numbers.len(), "int8"),
        };
        write!(f, "Table({} x {}, {kept})", count / self.width.max(1), self.width)
    }
}

impl Table {
    pub(super) fn floats(values: Vec<f32>, width: usize) -> Self {
        Self { values, width, short: None }
    }

    /// Takes rows to look up: as they are stored, or where that is worth it and wanted in eight bits.
    pub(super) fn load(rows: &Tensor<'_>, width: usize, int8: bool) -> Result<Self> {
        let count = rows.len();
        let room = |reason| rows.bad(reason);
        let short = if int8 && count >= WORTH {
            let mut numbers = reserved(count).map_err(room)?;
            let mut scales = reserved(count / width.max(1)).map_err(room)?;
            rows.int8(&mut |_, rows, of_rows| {
                numbers.extend_from_slice(rows);
                scales.extend_from_slice(of_rows);
                Ok(())
            })?;
            Short::Int8 { numbers, scales }
        } else if let Some(kind) = rows.half() {
            let mut numbers = reserved(2 * count).map_err(room)?;
            rows.halves(&mut |rows| {
                numbers.extend_from_slice(rows);
                Ok(())
            })?;
            Short::Half { kind, numbers }
        } else {
            return Ok(Self::floats(rows.whole()?, width));
        };
        Ok(Self { values: Vec::new(), width, short: Some(short) })
    }

    /// `out += table[rows + offset]`, row by row; with `fresh`, `out =`.
    pub(super) fn gather_add(&self, rows: &[u32], offset: usize, fresh: bool, out: &mut [f32]) {
        let Some(short) = &self.short else {
            return plain::gather_add(&self.values, self.width, rows, offset, fresh, out);
        };
        let mut wide = vec![0.0; self.width];
        for (out, &row) in out.chunks_exact_mut(self.width.max(1)).zip(rows) {
            short.row(row as usize + offset, &mut wide);
            if fresh {
                out.copy_from_slice(&wide);
            } else {
                for (out, x) in out.iter_mut().zip(&wide) {
                    *out += x;
                }
            }
        }
    }
}

impl Short {
    /// One row in float32.
    #[allow(clippy::cast_precision_loss)] // of eight bits
    fn row(&self, row: usize, out: &mut [f32]) {
        let width = out.len();
        match self {
            Self::Half { kind, numbers } => {
                kind.widen(&numbers[2 * row * width..][..2 * width], out);
            }
            Self::Int8 { numbers, scales } => {
                for (out, &number) in out.iter_mut().zip(&numbers[row * width..][..width]) {
                    *out = f32::from(number) * scales[row];
                }
            }
        }
    }
}
