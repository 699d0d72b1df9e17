//! Rows of activations in eight bits.

use super::aligned::Aligned;
use super::isa::{Isa, Work};
use super::lanes::Lanes;
use super::view::Rows;
use crate::error::Result;

/// Rows of numbers from 0 to 255, each row with a scale and a zero point of its own: `x = (number - zero) * scale`.
/// Quantized once, it can be multiplied with several weights. The same on each instruction set.
///
/// Keep it: after its first use at the largest size it takes no more memory.
#[derive(Debug, Default)]
pub struct Quantized {
    numbers: Aligned<u8, 64>,
    scales: Vec<(f32, i32)>,
    rows: usize,
    width: usize,
}

impl Quantized {
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds `x` from now on. A row with a number that is not finite becomes NaN as a whole.
    pub fn fill(&mut self, x: Rows) -> Result<()> {
        self.fill_on(Isa::best(), x)
    }

    /// [`Quantized::fill`] on that instruction set.
    pub fn fill_on(&mut self, isa: Isa, x: Rows) -> Result<()> {
        // Empty until there is room: a failure leaves nothing half filled.
        (self.rows, self.width) = (0, x.width());
        self.scales.clear();
        self.numbers.grow(x.rows() * self.stride())?;
        self.rows = x.rows();
        isa.run(Fill { x, to: self });
        Ok(())
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes from row to row. Rows start at a cache line, but not all at the same place of a page.
    pub(super) fn stride(&self) -> usize {
        let stride = self.width.next_multiple_of(64);
        if stride.is_multiple_of(512) { stride + 64 } else { stride }
    }

    pub(super) fn numbers(&self) -> &[u8] {
        &self.numbers
    }

    /// Scale and zero point of a row.
    #[inline(always)]
    pub(super) fn scale(&self, row: usize) -> (f32, i32) {
        self.scales[row]
    }
}

struct Fill<'a> {
    x: Rows<'a>,
    to: &'a mut Quantized,
}

impl Work for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (stride, width) = (self.to.stride(), self.x.width());
        for row in 0..self.x.rows() {
            // What is beyond the width is multiplied with weights that are zero.
            let numbers = &mut self.to.numbers[row * stride..][..width];
            self.to.scales.push(quantize_row(self.x.row(row), numbers));
        }
    }
}

/// Zero is among the values that are exact: the range is made to hold it.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn quantize_row(x: &[f32], numbers: &mut [u8]) -> (f32, i32) {
    let (low, high, finite) = range(x);
    if !finite {
        numbers.fill(0);
        return (f32::NAN, 0);
    }
    // Half of each end: their difference may not be finite.
    let scale = ((high / 255.0) - (low / 255.0)).max(f32::MIN_POSITIVE);
    let inverse = 1.0 / scale;
    let zero = (-low * inverse).round_ties_even().clamp(0.0, 255.0);
    for (number, x) in numbers.iter_mut().zip(x) {
        *number = rounded(x.mul_add(inverse, zero).clamp(0.0, 255.0)) as u8;
    }
    (scale, zero as i32)
}

/// The nearest integer, in the low bits: what adding 1.5 * 2^23 leaves there, for less than 2^22.
#[inline(always)]
pub(super) fn rounded(x: f32) -> u32 {
    (x + 12_582_912.0).to_bits()
}

/// The smallest and the largest of the numbers and zero, and whether all are finite.
#[inline(always)]
pub(super) fn range(x: &[f32]) -> (f32, f32, bool) {
    const LANES: usize = 32;
    let (mut low, mut high, mut sum) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
    let mut take = |chunk: &[f32]| {
        for (((l, h), s), &x) in low.iter_mut().zip(&mut high).zip(&mut sum).zip(chunk) {
            *l = if x < *l { x } else { *l };
            *h = if x > *h { x } else { *h };
            *s += x * 0.0; // NaN from NaN and infinity
        }
    };
    let chunks = x.chunks_exact(LANES);
    take(chunks.remainder());
    chunks.for_each(take);
    let (low, high) = (low.into_iter().fold(0.0, f32::min), high.into_iter().fold(0.0, f32::max));
    (low, high, sum.into_iter().sum::<f32>() == 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::f32::tests::wave;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn within_half_a_step(
            rows in 1usize..5, width in 1usize..200, seed in -8.0f32..8.0,
            shift in -3.0f32..3.0, size in 1e-20f32..1e20,
        ) {
            let data: Vec<f32> = wave(rows * width, seed).iter().map(|x| (x + shift) * size).collect();
            let x = Rows::dense(&data, rows, width).unwrap();
            let mut q = Quantized::new();
            for isa in Isa::all() {
                q.fill_on(isa, x).unwrap();
                for row in 0..rows {
                    let (scale, zero) = q.scale(row);
                    for (&n, x) in q.numbers()[row * q.stride()..].iter().zip(x.row(row)) {
                        let found = (i32::from(n) - zero) as f32 * scale;
                        prop_assert!((found - x).abs() <= scale * 1.01, "{found} {x} {scale}");
                    }
                }
            }
        }
    }

    #[test]
    fn ends() {
        let mut q = Quantized::new();
        let numbers = |q: &Quantized, row: usize| q.numbers()[row * q.stride()..][..3].to_vec();
        let data =
            [0.0, 0.0, 0.0, 1.0, f32::NAN, 2.0, f32::INFINITY, 0.0, 1.0, -f32::MAX, 0.0, f32::MAX];
        for isa in Isa::all() {
            q.fill_on(isa, Rows::dense(&data, 4, 3).unwrap()).unwrap();
            assert_eq!(numbers(&q, 0), [0, 0, 0]);
            assert!(q.scale(1).0.is_nan() && q.scale(2).0.is_nan());
            assert_eq!((numbers(&q, 3)[0], numbers(&q, 3)[2]), (0, 255));
        }
    }
}
