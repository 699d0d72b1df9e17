use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};
use candle_nn::ops::{layer_norm, rms_norm};

use super::place::{is_cpu_f32, values, values_mut};
use super::plain::NormKind;
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

/// A norm of the last dimension, composed of candle's operations. `gain` and `bias` are (H,).
pub fn norm(x: &Tensor, kind: NormKind, gain: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let x = x.contiguous()?;
    match kind {
        NormKind::Layer => layer_norm(&x, gain, bias, eps),
        NormKind::Rms => rms_norm(&x, gain, eps)?.broadcast_add(bias),
    }
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

/// Layer norm of the rows of `x`, in place.
pub(super) fn layer_norm_rows(x: &mut [f32], gain: &[f32], bias: &[f32], eps: f32) {
    vectorized(Rows { x, gain, bias, eps, centered: true });
}

/// RMS norm of the rows of `x`, in place.
pub(super) fn rms_norm_rows(x: &mut [f32], gain: &[f32], bias: &[f32], eps: f32) {
    vectorized(Rows { x, gain, bias, eps, centered: false });
}

struct Rows<'a> {
    x: &'a mut [f32],
    gain: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    centered: bool,
}

impl Loop for Rows<'_> {
    #[inline(always)]
    fn run(self) {
        for x in self.x.chunks_exact_mut(self.gain.len()) {
            if self.centered {
                normalize(x, self.gain, self.bias, self.eps);
            } else {
                let scale = 1.0 / (sum(x, |x| x * x) / x.len() as f32 + self.eps).sqrt();
                for ((x, g), b) in x.iter_mut().zip(self.gain).zip(self.bias) {
                    *x = (*x * scale).mul_add(*g, *b);
                }
            }
        }
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

/// Sums in lanes: float addition in one chain would neither vectorize nor be as exact.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 32;
    let mut lanes = [0.0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|&x| f(x)).sum();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    lanes.iter().sum::<f32>() + rest
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
