use std::fmt;

use super::linear::Weight;
use crate::backend::tensor::{Half, Tensor, reserved};
use crate::error::Result;
use crate::kernels::{cpu, plain};

/// Numbers from which on a table that is looked up is worth keeping in eight bits, where layers are.
const WORTH: usize = 1 << 16;

pub(super) fn is_worth(count: usize) -> bool {
    count >= WORTH
}

/// Rows of constants.
pub struct Table {
    /// Empty where rows are kept in another way: then they can be looked up, and nothing else.
    pub(super) values: Vec<f32>,
    pub(super) width: usize,
    short: Option<Short>,
}

/// Rows that do not lie one behind the other in float32.
enum Short {
    /// As the checkpoint stores them, little-endian.
    Half { kind: Half, numbers: Vec<u8> },
    /// With a scale for each row.
    Int8 { numbers: Vec<i8>, scales: Vec<f32> },
    /// As the layer that they are the weights of, too.
    Packed(Weight),
}

/// Its shape: a model's numbers are nothing to print.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, kept) = match &self.short {
            None => (self.values.len(), "float32"),
            Some(Short::Half { kind: Half::F16, numbers }) => (numbers.len() / 2, "float16"),
            Some(Short::Half { kind: Half::BF16, numbers }) => (numbers.len() / 2, "bfloat16"),
            Some(Short::Int8 { numbers, .. }) => (numbers.len(), "int8"),
            Some(Short::Packed(weight)) => {
                let (outputs, inputs, kept) = weight.about();
                return write!(f, "Table({outputs} x {inputs}, {kept}, shared)");
            }
        };
        write!(f, "Table({} x {}, {kept})", count / self.width.max(1), self.width)
    }
}

impl Table {
    pub(super) fn floats(values: Vec<f32>, width: usize) -> Self {
        Self { values, width, short: None }
    }

    /// Looks up the weights of a layer's outputs.
    pub(super) fn packed(weight: Weight, width: usize) -> Self {
        Self { values: Vec::new(), width, short: Some(Short::Packed(weight)) }
    }

    /// Takes rows to look up: as they are stored, or where that is worth it and wanted in eight bits.
    pub(super) fn load(rows: &Tensor<'_>, width: usize, int8: bool) -> Result<Self> {
        let count = rows.len();
        let room = |reason| rows.bad(reason);
        let short = if int8 && is_worth(count) {
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

    /// All rows, of a table that is kept in float32.
    pub(super) fn rows(&self) -> Result<cpu::Rows<'_>> {
        cpu::Rows::dense(&self.values, self.values.len() / self.width.max(1), self.width)
    }

    /// `out += table[rows + offset]`, row by row; with `fresh`, `out =`.
    pub(super) fn gather_add(&self, rows: &[u32], offset: usize, fresh: bool, out: &mut [f32]) {
        let Some(short) = &self.short else {
            return plain::gather_add(&self.values, self.width, rows, offset, fresh, out);
        };
        let mut wide = Vec::new();
        for (out, &row) in out.chunks_exact_mut(self.width.max(1)).zip(rows) {
            let row = row as usize + offset;
            if fresh {
                short.row(row, out);
            } else {
                short.add_row(row, out, &mut wide);
            }
        }
    }
}

impl Short {
    /// One row in float32.
    fn row(&self, row: usize, out: &mut [f32]) {
        let width = out.len();
        match self {
            Self::Half { kind, numbers } => {
                kind.widen(&numbers[2 * row * width..][..2 * width], out);
            }
            Self::Packed(weight) => weight.output(row, out),
            Self::Int8 { numbers, scales } => {
                for (out, &number) in out.iter_mut().zip(&numbers[row * width..][..width]) {
                    *out = f32::from(number) * scales[row];
                }
            }
        }
    }

    /// `out +=` one row; `wide` is for those that have to be widened first.
    fn add_row(&self, row: usize, out: &mut [f32], wide: &mut Vec<f32>) {
        if let Self::Int8 { numbers, scales } = self {
            let width = out.len();
            for (out, &number) in out.iter_mut().zip(&numbers[row * width..][..width]) {
                *out += f32::from(number) * scales[row];
            }
            return;
        }
        wide.resize(out.len(), 0.0);
        self.row(row, wide);
        for (out, x) in out.iter_mut().zip(wide) {
            *out += *x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::matrix::Matrix;

    #[test]
    fn rows_kept_in_other_ways_are_looked_up_like_those_in_float32() {
        let (rows, width) = (50usize, 37usize);
        let numbers: Vec<i8> = (0i8..101).cycle().take(rows * width).collect();
        let scales: Vec<f32> = (1u8..).take(rows).map(|n| 1.0 / f32::from(n)).collect();
        let values = numbers.iter().zip(0..).map(|(&n, i)| f32::from(n) * scales[i / width]);
        let plain = Table::floats(values.collect(), width);
        let high = |x: &f32| u16::try_from((x.to_bits() + 0x8000) >> 16).unwrap();
        let bf16 = |x: &f32| high(x).to_le_bytes();
        let halves: Vec<u8> = plain.values.iter().flat_map(bf16).collect();
        let mut widened = vec![0.0; rows * width];
        Half::BF16.widen(&halves, &mut widened);
        let packed = Weight::pack(
            &cpu::Arena::default(),
            &Matrix::from(plain.values.clone()),
            rows,
            width,
            false,
        )
        .unwrap();
        let kept = |short| Table { values: Vec::new(), width, short: Some(short) };
        let half = kept(Short::Half { kind: Half::BF16, numbers: halves });
        let int8 = kept(Short::Int8 { numbers, scales });
        let rounded = Table::floats(widened, width);
        let all = [(&int8, &plain), (&Table::packed(packed, width), &plain), (&half, &rounded)];
        for (kept, reference) in all {
            for fresh in [true, false] {
                let (mut found, mut expected) = (vec![0.5; 3 * width], vec![0.5; 3 * width]);
                kept.gather_add(&[48, 0, 7], 1, fresh, &mut found);
                reference.gather_add(&[48, 0, 7], 1, fresh, &mut expected);
                assert_eq!(found, expected, "{kept:?}, {fresh}");
            }
        }
    }
}
