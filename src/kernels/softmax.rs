use candle_core::{CpuStorage, D, InplaceOp1, Layout, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::place::{is_cpu_f32, values_mut};
use super::reduce::{largest, sum};
use super::vector::{Loop, exp, vectorized};

/// `softmax(x * scale)` over the last dimension. Uses up `x`.
pub fn scale_softmax(x: Tensor, scale: f32) -> Result<Tensor> {
    if !is_cpu_f32(&x) {
        return composed(&x, scale);
    }
    let width = x.dim(D::Minus1)?;
    x.inplace_op1(&ScaleSoftmax { scale, width })?;
    Ok(x)
}

fn composed(x: &Tensor, scale: f32) -> Result<Tensor> {
    softmax_last_dim(&(x * f64::from(scale))?)
}

/// `softmax(x * scale)` of rows of `width`, in place.
pub(super) fn scale_softmax_rows(x: &mut [f32], width: usize, scale: f32) {
    vectorized(Rows { x, width, scale });
}

struct ScaleSoftmax {
    scale: f32,
    width: usize,
}

impl InplaceOp1 for ScaleSoftmax {
    fn name(&self) -> &'static str {
        "scale-softmax"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let x = values_mut(x, layout)?;
        scale_softmax_rows(x, self.width, self.scale);
        Ok(())
    }
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
    use candle_core::Device;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_composed(rows in 1usize..5, width in 1usize..130, seed in -8.0f32..8.0, scale in 0.05f32..2.0) {
            let data: Vec<f32> = (0..rows * width).map(|i| (seed + i as f32 * 0.61).sin() * 30.0).collect();
            let x = Tensor::from_vec(data, (rows, width), &Device::Cpu).unwrap();
            let expected = composed(&x, scale).unwrap();
            let found = scale_softmax(x, scale).unwrap();
            let difference = (expected - found).unwrap().abs().unwrap().max_all().unwrap();
            prop_assert!(difference.to_scalar::<f32>().unwrap() < 1e-6);
        }
    }
}
