//! Products with a matrix that is packed once.

use super::aligned::Aligned;
use super::arena::Arena;
use super::epilogue::Epilogue;
use super::isa::{Isa, Work};
use super::lanes::Lanes;
use super::tile::Product;
use super::view::{Rows, RowsMut};
use crate::error::{Error, Result};

/// Columns in a panel: three vectors of AVX-512, six of AVX2, twelve of NEON.
pub const PANEL: usize = 48;

/// Rows of a panel that are used together: with their columns they fill half of a first-level cache.
const DEPTH: usize = 128;

/// Bytes of `x` that should stay in the second-level cache while panels pass by.
const BLOCK_BYTES: usize = 384 << 10;

/// Fewer rows leave no time between two panels: asking for the next one only competes with reading this one.
const ASKED_ROWS: usize = 4;

/// A weight (outputs, inputs), transposed and laid out in the order in which products read it: panels of
/// [`PANEL`] columns (the last one narrower, its width a multiple of 16), each (inputs, columns), row-major.
#[derive(Debug)]
pub struct PackedF32 {
    panels: Aligned<f32, 16>,
    outputs: usize,
    inputs: usize,
}

impl PackedF32 {
    /// Packs a weight (outputs, inputs), row-major, as checkpoints store it.
    pub fn pack(weight: &[f32], outputs: usize, inputs: usize) -> Result<Self> {
        if outputs.checked_mul(inputs) != Some(weight.len()) {
            return Err(Error::internal(format!(
                "{} numbers for a weight of {outputs} x {inputs}",
                weight.len()
            )));
        }
        let mut this = Self::zeros(&Arena::default(), outputs, inputs)?;
        this.fill(0, weight)?;
        Ok(this)
    }

    /// A weight (outputs, inputs) of zeros in the arena of its model, for [`PackedF32::fill`].
    pub fn zeros(arena: &Arena, outputs: usize, inputs: usize) -> Result<Self> {
        if outputs == 0 || inputs == 0 {
            return Err(Error::internal(format!("a weight of {outputs} x {inputs}")));
        }
        let len = outputs.checked_next_multiple_of(16).and_then(|n| n.checked_mul(inputs));
        let len = len.ok_or_else(|| Error::input("a weight is too large for this machine"))?;
        Ok(Self { panels: Aligned::zeros_in(arena, len)?, outputs, inputs })
    }

    /// Takes the weights of some outputs, (outputs, inputs), from output `first` on.
    pub fn fill(&mut self, first: usize, weight: &[f32]) -> Result<()> {
        let end = first.checked_add(weight.len() / self.inputs);
        if !weight.len().is_multiple_of(self.inputs) || end.is_none_or(|end| end > self.outputs) {
            return Err(Error::internal(format!(
                "{} numbers from output {first} on of a weight of {} x {}",
                weight.len(),
                self.outputs,
                self.inputs
            )));
        }
        Isa::best().run(Pack { first, weight, to: self });
        Ok(())
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&*self.panels)
    }

    fn panel_width(&self, first: usize) -> usize {
        (self.outputs - first).min(PANEL).next_multiple_of(16)
    }

    /// The weights of one output, (inputs,). They lie apart, so that this is slow beside a product.
    pub fn output(&self, output: usize, to: &mut [f32]) {
        let first = output - output % PANEL;
        let width = self.panel_width(first);
        let panel = &self.panels[first * self.inputs + output - first..];
        for (to, from) in to.iter_mut().zip(panel.iter().step_by(width)).take(self.inputs) {
            *to = *from;
        }
    }

    /// The weight as it was, (outputs, inputs).
    pub fn unpack(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.outputs * self.inputs];
        for (output, to) in all.chunks_exact_mut(self.inputs).enumerate() {
            self.output(output, to);
        }
        all
    }
}

struct Pack<'a> {
    first: usize,
    weight: &'a [f32],
    to: &'a mut PackedF32,
}

impl Work for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let inputs = self.to.inputs;
        let (whole, mut output, mut rest) = (inputs - inputs % 8, self.first, self.weight);
        while !rest.is_empty() {
            let left = output % PANEL;
            let first = output - left;
            let width = self.to.panel_width(first);
            let columns = (PANEL - left).min(rest.len() / inputs);
            let squares = columns - columns % 8;
            let (weights, after) = rest.split_at(columns * inputs);
            let panel = &mut self.to.panels[first * inputs..][..width * inputs];
            for column in (0..squares).step_by(8) {
                for input in (0..whole).step_by(8) {
                    let from = weights[column * inputs + input..].as_ptr();
                    let to = panel[input * width + left + column..].as_mut_ptr();
                    // SAFETY: both hold eight rows of eight numbers from here on: `left + columns` is at most
                    // the panel's width.
                    unsafe { L::transpose(from, inputs, to, width) };
                }
            }
            for (column, weights) in weights.chunks_exact(inputs).enumerate() {
                let done = if column < squares { whole } else { 0 };
                for (input, w) in weights.iter().enumerate().skip(done) {
                    panel[input * width + left + column] = *w;
                }
            }
            (output, rest) = (output + columns, after);
        }
    }
}

/// `out = epilogue(x w)` for `x` (M, inputs) and `out` (M, outputs), on the calling thread.
pub fn matmul(x: Rows, weight: &PackedF32, epilogue: &Epilogue, out: RowsMut) -> Result<()> {
    if out.width() != weight.outputs {
        return Err(Error::internal(format!(
            "{} columns for {} outputs",
            out.width(),
            weight.outputs
        )));
    }
    matmul_columns(Isa::best(), x, weight, epilogue, 0, out)
}

/// The columns of [`matmul`] from `first` on, as many as `out` is wide. `first` is a multiple of [`PANEL`], and
/// so is `out`'s width, unless it ends with the last column: threads that share one product take some
/// panels each.
pub fn matmul_columns(
    isa: Isa,
    x: Rows,
    weight: &PackedF32,
    epilogue: &Epilogue,
    first: usize,
    out: RowsMut,
) -> Result<()> {
    check_columns(x.width() == weight.inputs, weight.outputs, first, out.width())?;
    if x.rows() != out.rows() {
        return Err(Error::internal(format!("{} rows into {}", x.rows(), out.rows())));
    }
    epilogue.check(x.rows(), weight.outputs)?;
    isa.run(Matmul { x, weight, epilogue, first, out });
    Ok(())
}

pub(super) fn check_columns(
    inputs: bool,
    outputs: usize,
    first: usize,
    width: usize,
) -> Result<()> {
    let last = first.checked_add(width).filter(|&last| last <= outputs);
    let whole = last.is_some_and(|last| last == outputs || last.is_multiple_of(PANEL));
    if inputs && whole && first.is_multiple_of(PANEL) {
        return Ok(());
    }
    Err(Error::internal(format!(
        "{width} columns from {first} on are not panels of {outputs}, or the input's width differs"
    )))
}

struct Matmul<'a> {
    x: Rows<'a>,
    weight: &'a PackedF32,
    epilogue: &'a Epilogue<'a>,
    first: usize,
    out: RowsMut<'a>,
}

impl Work for Matmul<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let rows = self.x.rows();
        let block = (BLOCK_BYTES / 4 / self.weight.inputs).clamp(16, 512).next_multiple_of(8);
        for start in (0..rows).step_by(block) {
            let count = block.min(rows - start);
            for column in (0..self.out.width()).step_by(PANEL) {
                self.panel::<L>(start, count, column);
            }
        }
    }
}

impl Matmul<'_> {
    /// `count` rows from `start` on, times the panel of `out`'s columns from `column` on.
    #[inline(always)]
    fn panel<L: Lanes>(&mut self, start: usize, count: usize, column: usize) {
        let (inputs, stride) = (self.weight.inputs, self.out.stride());
        let first = self.first + column;
        let width = self.weight.panel_width(first);
        let used = (self.out.width() - column).min(PANEL);
        let panel = &self.weight.panels[first * inputs..][..width * inputs];
        for depth in (0..inputs).step_by(DEPTH) {
            let taken = DEPTH.min(inputs - depth);
            let next = panel.as_ptr().wrapping_add((depth + taken) * width);
            let mut product = Product {
                rows: count,
                depth: taken,
                columns: width,
                a: self.x.pointer().wrapping_add(start * self.x.stride() + depth),
                a_stride: self.x.stride(),
                b: panel[depth * width..].as_ptr(),
                b_stride: width,
                c: self.out.pointer().wrapping_add(start * stride + column),
                c_stride: stride,
                add: depth > 0,
                prefetch: next,
                prefetch_lines: if count < ASKED_ROWS { 0 } else { taken * width / 16 },
            };
            if used == width {
                // SAFETY: `x` has `start + count` rows of `inputs` numbers, the panel `inputs` rows of `width`,
                // and `out` has these rows and columns to itself.
                unsafe { L::product(&product) };
            } else {
                self.narrow::<L>(&mut product, start, column);
            }
        }
        let rows = start..start + count;
        self.epilogue.apply(rows, column..column + used, first, &mut self.out);
    }

    /// Where `out` has no room for a whole panel: tiles are computed beside it.
    #[inline(always)]
    fn narrow<L: Lanes>(&mut self, product: &mut Product, start: usize, column: usize) {
        let mut tile = [0.0f32; 8 * PANEL];
        let rows = product.rows;
        let lines = product.prefetch_lines.div_ceil(rows.div_ceil(8));
        (product.c, product.c_stride, product.prefetch_lines) = (tile.as_mut_ptr(), PANEL, lines);
        for row in (0..rows).step_by(8) {
            product.rows = (rows - row).min(8);
            let outs = start + row..start + row + product.rows;
            if product.add {
                for (row, tile) in outs.clone().zip(tile.chunks_exact_mut(PANEL)) {
                    let out = &self.out.row(row)[column..];
                    tile[..out.len()].copy_from_slice(out);
                }
            }
            // SAFETY: the tile has room for eight rows of a panel; `a` has `rows` rows.
            unsafe { L::product(product) };
            product.a = product.a.wrapping_add(8 * product.a_stride);
            product.prefetch = product.prefetch.wrapping_add(lines * 16);
            for (row, tile) in outs.zip(tile.chunks_exact(PANEL)) {
                let out = &mut self.out.row(row)[column..];
                let width = out.len();
                out.copy_from_slice(&tile[..width]);
            }
        }
    }
}

/// The plain reference of [`matmul`].
#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
pub(super) fn reference(x: Rows, weight: &[f32], epilogue: &Epilogue, out: &mut RowsMut) {
    for row in 0..x.rows() {
        let to = out.row(row);
        for (y, w) in to.iter_mut().zip(weight.chunks_exact(x.width())) {
            let sum: f64 =
                x.row(row).iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            *y = sum as f32;
        }
        epilogue.reference(row, to);
    }
}

#[cfg(test)]
pub(super) mod tests;
