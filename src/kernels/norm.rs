use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};
use candle_nn::ops::layer_norm;

use super::place::{is_cpu_f32, values, values_mut};
use super::reduce::sum;
use super::vector::{Loop, vectorized};

/// A layer norm, with the bias of the projection before it.
#[derive(Debug, Clone)]
pub struct Norm {
    packed: Tensor, // (3, H): the projection's bias, gain, bias
    eps: f32,
}

impl Norm {
    /// Packs the three vectors, each (H,).
    pub fn new(before: &Tensor, gain: &Tensor, bias: &Tensor, eps: f32) -> Result<Self> {
        Ok(Self { packed: Tensor::stack(&[before, gain, bias], 0)?, eps })
    }
}

/// `layer_norm(x + norm's projection bias + residual)`, all (N, H). Uses up `x`.
pub fn add_norm(x: Tensor, residual: &Tensor, norm: &Norm) -> Result<Tensor> {
    if !is_cpu_f32(&x) || !is_cpu_f32(residual) {
        return composed(&x, residual, norm);
    }
    x.inplace_op3(residual, &norm.packed, norm)?;
    Ok(x)
}

fn composed(x: &Tensor, residual: &Tensor, norm: &Norm) -> Result<Tensor> {
    let x = (x.broadcast_add(&norm.packed.get(0)?)? + residual)?;
    layer_norm(&x.contiguous()?, &norm.packed.get(1)?, &norm.packed.get(2)?, norm.eps)
}

impl InplaceOp3 for Norm {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
        packed: &CpuStorage,
        packed_layout: &Layout,
    ) -> Result<()> {
        let (x, residual) = (values_mut(x, layout)?, values(residual, residual_layout)?);
        let packed = values(packed, packed_layout)?;
        let width = packed.len() / 3;
        let [before, gain, bias] = [0, 1, 2].map(|i| &packed[i * width..][..width]);
        if x.len() != residual.len() || !x.len().is_multiple_of(width.max(1)) {
            bail!("add-norm: {} and {} numbers in rows of {width}", x.len(), residual.len());
        }
        vectorized(AddNorm { x, residual, before, gain, bias, eps: self.eps });
        Ok(())
    }
}

struct AddNorm<'a> {
    x: &'a mut [f32],
    residual: &'a [f32],
    before: &'a [f32],
    gain: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl Loop for AddNorm<'_> {
    #[inline(always)]
    fn run(self) {
        let width = self.gain.len();
        for (x, residual) in self.x.chunks_exact_mut(width).zip(self.residual.chunks_exact(width)) {
            for ((x, r), b) in x.iter_mut().zip(residual).zip(self.before) {
                *x += r + b;
            }
            normalize(x, self.gain, self.bias, self.eps);
        }
    }
}

#[inline(always)]
fn normalize(x: &mut [f32], gain: &[f32], bias: &[f32], eps: f32) {
    let width = x.len() as f32;
    let mean = sum(x, |x| x) / width;
    let variance = sum(x, |x| (x - mean) * (x - mean)) / width;
    let scale = 1.0 / (variance + eps).sqrt();
    for ((x, g), b) in x.iter_mut().zip(gain).zip(bias) {
        *x = ((*x - mean) * scale).mul_add(*g, *b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    fn tensor(rows: usize, width: usize, seed: f32) -> Tensor {
        let data: Vec<f32> =
            (0..rows * width).map(|i| (seed + i as f32 * 0.61).sin() * 3.0).collect();
        Tensor::from_vec(data, (rows, width), &Device::Cpu).unwrap()
    }

    proptest! {
        #[test]
        fn as_composed(rows in 1usize..5, width in 8usize..130, seed in -8.0f32..8.0) {
            let params = tensor(3, width, seed + 1.0);
            let part = |i| params.get(i).unwrap();
            let norm = Norm::new(&part(0), &part(1), &part(2), 1e-5).unwrap();
            let (x, residual) = (tensor(rows, width, seed), tensor(rows, width, -seed));
            let expected = composed(&x, &residual, &norm).unwrap();
            let found = add_norm(x, &residual, &norm).unwrap();
            let difference = (expected - found).unwrap().abs().unwrap().max_all().unwrap();
            prop_assert!(difference.to_scalar::<f32>().unwrap() < 1e-4);
        }
    }
}
