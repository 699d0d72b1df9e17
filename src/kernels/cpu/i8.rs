//! Products with a matrix in eight bits.

use std::ops::Range;

use super::super::function::{Activation, Function, WithFunction};
use super::aligned::Aligned;
use super::arena::Arena;
use super::epilogue::{Epilogue, LANES};
use super::f32::{PANEL, check_columns};
use super::isa::{Isa, Work};
use super::lanes::Lanes;
use super::quantize::{Quantized, range, rounded};
use super::tile_i8::{GROUP, ProductI8, TILE_ROWS};
use super::view::RowsMut;
use crate::error::{Error, Result};

/// 255 * 127 * this is below 2^31: sums of so many products cannot overflow.
const MOST_INPUTS: usize = 65_536;

/// A weight (outputs, inputs) in eight bits, symmetric with a scale for each output, in panels of [`PANEL`]
/// columns (the last one narrower, its width a multiple of 16), each (inputs / 4, columns, 4): what one
/// dot-product instruction takes lies together.
#[derive(Debug)]
pub struct PackedI8 {
    panels: Aligned<i8, 64>,
    /// (outputs,): a weight is its number here times this.
    scales: Vec<f32>,
    /// (outputs,): the sum of an output's numbers, which an input's zero point is multiplied by.
    sums: Vec<i32>,
    outputs: usize,
    inputs: usize,
}

impl PackedI8 {
    /// Quantizes a weight (outputs, inputs), row-major, as checkpoints store it.
    pub fn quantize(weight: &[f32], outputs: usize, inputs: usize) -> Result<Self> {
        check(weight.len(), outputs, inputs)?;
        let mut numbers = vec![0i8; weight.len()];
        let mut scales = vec![0.0f32; outputs];
        quantize_rows(weight, &mut numbers, &mut scales)?;
        Self::pack(&numbers, &scales, outputs, inputs)
    }

    /// Packs numbers (outputs, inputs) and scales (outputs,) as [`PackedI8::numbers`] and
    /// [`PackedI8::scales`] give them.
    pub fn pack(numbers: &[i8], scales: &[f32], outputs: usize, inputs: usize) -> Result<Self> {
        check(numbers.len(), outputs, inputs)?;
        if scales.len() != outputs {
            return Err(Error::input(format!("{} scales for {outputs} outputs", scales.len())));
        }
        let mut this = Self::zeros(&Arena::default(), outputs, inputs)?;
        this.fill(0, numbers, scales)?;
        Ok(this)
    }

    /// A weight (outputs, inputs) of zeros in the arena of its model, for [`PackedI8::fill`].
    pub fn zeros(arena: &Arena, outputs: usize, inputs: usize) -> Result<Self> {
        check(outputs.saturating_mul(inputs), outputs, inputs)?;
        let columns = outputs.checked_next_multiple_of(16);
        let len = columns.and_then(|columns| columns.checked_mul(inputs.next_multiple_of(GROUP)));
        let len = len.ok_or_else(|| Error::input("a weight is too large for this machine"))?;
        let panels = Aligned::zeros_in(arena, len)?;
        Ok(Self { panels, scales: vec![0.0; outputs], sums: vec![0; outputs], outputs, inputs })
    }

    /// Takes the numbers of some outputs, (outputs, inputs), and their scales, from output `first` on.
    pub fn fill(&mut self, first: usize, numbers: &[i8], scales: &[f32]) -> Result<()> {
        let end = first.checked_add(scales.len());
        if end.is_none_or(|end| end > self.outputs) || numbers.len() != scales.len() * self.inputs {
            return Err(Error::internal(format!(
                "{} numbers and {} scales from output {first} on of a weight of {} x {}",
                numbers.len(),
                scales.len(),
                self.outputs,
                self.inputs
            )));
        }
        if scales.iter().any(|scale| !scale.is_finite()) {
            return Err(Error::input("a scale is not finite"));
        }
        let outputs = numbers.chunks_exact(self.inputs).zip(scales);
        for (output, (numbers, &scale)) in (first..).zip(outputs) {
            self.scales[output] = scale;
            self.sums[output] = numbers.iter().map(|&n| i32::from(n)).sum();
            let step = self.panel_width(output - output % PANEL) * GROUP;
            let start = self.at(output, 0);
            let groups = self.panels[start..].chunks_mut(step).zip(numbers.chunks(GROUP));
            for (group, numbers) in groups {
                group[..numbers.len()].copy_from_slice(numbers);
            }
        }
        Ok(())
    }

    /// The quantized weight, (outputs, inputs).
    pub fn numbers(&self) -> Vec<i8> {
        let all = 0..self.outputs * self.inputs;
        all.map(|i| self.panels[self.at(i / self.inputs, i % self.inputs)]).collect()
    }

    /// The weights of one output, (inputs,), as products compute with them.
    pub fn output(&self, output: usize, to: &mut [f32]) {
        let (start, scale) = (self.at(output, 0), self.scales[output]);
        let step = self.panel_width(output - output % PANEL) * GROUP;
        for (to, from) in to.chunks_mut(GROUP).zip(self.panels[start..].chunks(step)) {
            for (to, from) in to.iter_mut().zip(from) {
                *to = f32::from(*from) * scale;
            }
        }
    }

    /// The scale of each output.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn bytes(&self) -> usize {
        self.panels.len() + size_of_val(&*self.scales) + size_of_val(&*self.sums)
    }

    fn depth(&self) -> usize {
        self.inputs.div_ceil(GROUP)
    }

    fn panel_width(&self, first: usize) -> usize {
        (self.outputs - first).min(PANEL).next_multiple_of(16)
    }

    fn at(&self, output: usize, input: usize) -> usize {
        let first = output - output % PANEL;
        let group = input / GROUP * self.panel_width(first) + output - first;
        (first * self.depth() + group) * GROUP + input % GROUP
    }
}

fn check(len: usize, outputs: usize, inputs: usize) -> Result<()> {
    if outputs.checked_mul(inputs) != Some(len) || len == 0 {
        return Err(Error::internal(format!("{len} numbers for a weight of {outputs} x {inputs}")));
    }
    if inputs > MOST_INPUTS {
        return Err(Error::input(format!(
            "a weight with {inputs} inputs cannot be quantized, {MOST_INPUTS} are the most; use float32"
        )));
    }
    Ok(())
}

/// Quantizes rows of `weight`, as many as there are `scales`: each to numbers from -127 to 127 and a scale.
pub fn quantize_rows(weight: &[f32], numbers: &mut [i8], scales: &mut [f32]) -> Result<()> {
    let inputs = weight.len() / scales.len().max(1);
    if weight.len() != numbers.len() || weight.len() != inputs * scales.len() || inputs == 0 {
        return Err(Error::internal(format!(
            "{} weights to {} numbers and {} scales",
            weight.len(),
            numbers.len(),
            scales.len()
        )));
    }
    Isa::best().run(Quantize { weight, inputs, numbers, scales })
}

struct Quantize<'a> {
    weight: &'a [f32],
    inputs: usize,
    numbers: &'a mut [i8],
    scales: &'a mut [f32],
}

impl Work for Quantize<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Result<()> {
        let numbers = self.numbers.chunks_exact_mut(self.inputs);
        let rows = self.weight.chunks_exact(self.inputs).zip(numbers);
        for ((weights, numbers), scale) in rows.zip(self.scales) {
            *scale = quantize_output(weights, numbers)?;
        }
        Ok(())
    }
}

/// One output's numbers from -127 to 127, and their scale.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
fn quantize_output(weights: &[f32], numbers: &mut [i8]) -> Result<f32> {
    let (low, high, finite) = range(weights);
    if !finite {
        return Err(Error::input("a weight that is not finite cannot be quantized; use float32"));
    }
    // The smallest normal number: the inverse of anything below it would not be finite.
    let scale = (high.max(-low) / 127.0).max(f32::MIN_POSITIVE);
    let inverse = 1.0 / scale;
    for (number, w) in numbers.iter_mut().zip(weights) {
        *number = rounded((w * inverse).clamp(-127.0, 127.0)) as i8;
    }
    Ok(scale)
}

/// `out = epilogue(x w)` for `x` (M, inputs) and `out` (M, outputs), on the calling thread.
pub fn matmul_i8(
    x: &Quantized,
    weight: &PackedI8,
    epilogue: &Epilogue,
    out: RowsMut,
) -> Result<()> {
    if out.width() != weight.outputs {
        let (found, outputs) = (out.width(), weight.outputs);
        return Err(Error::internal(format!("{found} columns for {outputs} outputs")));
    }
    matmul_i8_columns(Isa::best(), x, 0, weight, epilogue, 0, out)
}

/// Of [`matmul_i8`], as many rows from `row` of `x` on as `out` has, and as many columns from `first` on as it
/// is wide. Both `first` and the width are multiples of [`PANEL`], unless `out` ends with the last column.
/// The epilogue's residual has the rows of `out`.
pub fn matmul_i8_columns(
    isa: Isa,
    x: &Quantized,
    row: usize,
    weight: &PackedI8,
    epilogue: &Epilogue,
    first: usize,
    out: RowsMut,
) -> Result<()> {
    check_columns(x.width() == weight.inputs, weight.outputs, first, out.width())?;
    if row.checked_add(out.rows()).is_none_or(|end| end > x.rows()) {
        let (found, rows) = (x.rows(), out.rows());
        return Err(Error::internal(format!("{rows} rows from {row} on of {found}")));
    }
    epilogue.check(out.rows(), weight.outputs)?;
    isa.run(Matmul { isa, x, row, weight, epilogue, first, out });
    Ok(())
}

struct Matmul<'a> {
    isa: Isa,
    x: &'a Quantized,
    row: usize,
    weight: &'a PackedI8,
    epilogue: &'a Epilogue<'a>,
    first: usize,
    out: RowsMut<'a>,
}

/// Bytes of `x` that should stay in the second-level cache while panels pass by.
const BLOCK_BYTES: usize = 384 << 10;

impl Work for Matmul<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let rows = self.out.rows();
        let block = (BLOCK_BYTES / self.weight.inputs).clamp(16, 1024).next_multiple_of(TILE_ROWS);
        for start in (0..rows).step_by(block) {
            let count = block.min(rows - start);
            for column in (0..self.out.width()).step_by(PANEL) {
                self.panel(start, count, column);
            }
        }
    }
}

impl Matmul<'_> {
    #[inline(always)]
    fn panel(&mut self, start: usize, count: usize, column: usize) {
        let depth = self.weight.depth();
        let first = self.first + column;
        let width = self.weight.panel_width(first);
        let panel = &self.weight.panels[first * depth * GROUP..][..width * depth * GROUP];
        let tiles = count.div_ceil(TILE_ROWS);
        let lines = if count < 4 { 0 } else { panel.len() / 64 };
        let lines = lines.div_ceil(tiles);
        let mut sums = [0i32; TILE_ROWS * PANEL];
        let mut row = start;
        for tile in 0..tiles {
            let rows = (start + count - row).div_ceil(tiles - tile);
            let product = ProductI8 {
                rows,
                depth,
                columns: width,
                a: self.x.numbers()[(self.row + row) * self.x.stride()..].as_ptr(),
                a_stride: self.x.stride(),
                b: panel.as_ptr(),
                c: sums.as_mut_ptr(),
                prefetch: panel.as_ptr().wrapping_add(panel.len() + tile * lines * 64),
                prefetch_lines: lines,
            };
            // SAFETY: `x` has these rows, of at least `depth` groups; the panel has `depth` groups of `width`
            // columns; `sums` has room for a tile of them.
            unsafe { super::tile_i8::product(self.isa, &product) };
            self.finish(row, rows, column, &sums);
            row += rows;
        }
    }

    /// From sums of products of numbers to what they stand for, and the epilogue on that:
    /// `sum (a - zero) w * scales = (sum a w - zero * sum w) * scales`
    #[inline(always)]
    fn finish(&mut self, start: usize, rows: usize, column: usize, sums: &[i32]) {
        let first = self.first + column;
        let used = (self.out.width() - column).min(PANEL);
        let (mut scales, mut weights, mut bias) = ([0.0; PANEL], [0; PANEL], [0.0; PANEL]);
        scales[..used].copy_from_slice(&self.weight.scales[first..][..used]);
        weights[..used].copy_from_slice(&self.weight.sums[first..][..used]);
        self.epilogue.bias(first, &mut bias);
        let rows = start..start + rows;
        let finish = Finish { of: self, rows, column, used, sums, scales, weights, bias };
        match *finish.of.epilogue {
            Epilogue::Activation(_, activation) => activation.with_coarse(finish),
            _ => Activation::Identity.with(finish),
        }
    }
}

/// A tile on its way to the output.
struct Finish<'a, 'b> {
    of: &'a mut Matmul<'b>,
    rows: Range<usize>,
    column: usize,
    used: usize,
    sums: &'a [i32],
    scales: [f32; PANEL],
    weights: [i32; PANEL],
    bias: [f32; PANEL],
}

impl WithFunction for Finish<'_, '_> {
    #[inline(always)]
    fn call(self, function: impl Function) {
        let Self { of, rows, column, used, sums, scales, weights, bias } = self;
        let residual = match of.epilogue {
            Epilogue::Residual(_, residual) => Some(residual),
            _ => None,
        };
        let first = of.first + column;
        for (row, sums) in rows.zip(sums.as_chunks::<PANEL>().0) {
            let (scale, zero) = of.x.scale(of.row + row);
            let mut x = [0.0; PANEL];
            for at in (0..PANEL).step_by(LANES) {
                for i in at..at + LANES {
                    let sum = (sums[i] - zero * weights[i]) as f32;
                    x[i] = function.of(sum * (scales[i] * scale) + bias[i]);
                }
            }
            if let Some(residual) = residual {
                let residual = &residual.row(row)[first..][..used];
                for (x, r) in x.iter_mut().zip(residual) {
                    *x += r;
                }
            }
            let out = &mut of.out.row(row)[column..][..used];
            match out.first_chunk_mut::<PANEL>() {
                // Of a width that is known, it is a few stores and no call.
                Some(out) => *out = x,
                None => out.copy_from_slice(&x[..used]),
            }
        }
    }
}

#[cfg(test)]
mod tests;
