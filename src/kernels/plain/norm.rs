use crate::kernels::norm::{layer_norm_rows, rms_norm_rows};

/// What a norm divides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Mean and standard deviation.
    Layer,
    /// Root of the mean square; the mean stays.
    Rms,
}

/// A norm as a checkpoint has it.
#[derive(Debug, Clone, Copy)]
pub struct NormWeights<'a> {
    pub kind: NormKind,
    pub gain: &'a [f32],
    /// Zeros where the checkpoint has none.
    pub bias: &'a [f32],
    pub eps: f32,
}

/// Normalises the rows of `x` in place.
pub fn normalize(x: &mut [f32], norm: NormWeights<'_>) {
    match norm.kind {
        NormKind::Layer => layer_norm_rows(x, norm.gain, norm.bias, norm.eps),
        NormKind::Rms => rms_norm_rows(x, norm.gain, norm.bias, norm.eps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_defined(width in 1usize..90, seed in -8.0f32..8.0) {
            let wave = |step: f32| -> Vec<f32> {
                (0..width).map(|i| (seed + i as f32 * step).sin() * 3.0).collect()
            };
            let (x, gain, bias, eps) = (wave(0.6), wave(0.4), wave(0.2), 1e-5);
            let count = width as f64;
            for kind in [NormKind::Layer, NormKind::Rms] {
                let mean = match kind {
                    NormKind::Layer => x.iter().map(|&x| f64::from(x)).sum::<f64>() / count,
                    NormKind::Rms => 0.0,
                };
                let square = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
                let mut found = x.clone();
                normalize(&mut found, NormWeights { kind, gain: &gain, bias: &bias, eps });
                for i in 0..width {
                    let unit = (f64::from(x[i]) - mean) / (square + f64::from(eps)).sqrt();
                    let expected = unit * f64::from(gain[i]) + f64::from(bias[i]);
                    prop_assert!((f64::from(found[i]) - expected).abs() < 1e-3 * (1.0 + expected.abs()));
                }
            }
        }
    }
}
