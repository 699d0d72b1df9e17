use super::reduce::{largest, sum};
use super::vector::{Loop, exp, vectorized};

/// `softmax(x * scale)` of rows of `width`, in place.
pub(super) fn scale_softmax_rows(x: &mut [f32], width: usize, scale: f32) {
    vectorized(Rows { x, width, scale });
}

struct Rows<'a> {
    x: &'a mut [f32],
    width: usize,
    scale: f32,
}

impl Loop for Rows<'_> {
    #[inline(always)]
    fn run(self) {
        for row in self.x.chunks_exact_mut(self.width) {
            let most = largest(row);
            for x in row.iter_mut() {
                *x = exp((*x - most) * self.scale);
            }
            let total = 1.0 / sum(row, |x| x);
            for x in row {
                *x *= total;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_defined(rows in 1usize..5, width in 1usize..130, seed in -8.0f32..8.0, scale in 0.05f32..2.0) {
            let data: Vec<f32> = (0..rows * width).map(|i| (seed + i as f32 * 0.61).sin() * 30.0).collect();
            let mut found = data.clone();
            scale_softmax_rows(&mut found, width, scale);
            for (row, found) in data.chunks_exact(width).zip(found.chunks_exact(width)) {
                let powers: Vec<f64> = row.iter().map(|x| f64::from(x * scale).exp()).collect();
                let total: f64 = powers.iter().sum();
                for (power, found) in powers.iter().zip(found) {
                    // A product of 60 in float32 is off by up to 4e-6.
                    prop_assert!((power / total - f64::from(*found)).abs() < 1e-5);
                }
            }
        }
    }
}
