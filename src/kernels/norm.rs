use candle_core::{Result, Tensor};
use candle_nn::ops::{layer_norm, rms_norm};

/// What a norm divides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Mean and standard deviation.
    Layer,
    /// Root of the mean square; the mean stays.
    Rms,
}

/// A norm of the last dimension, composed of candle's operations. `gain` and `bias` are (H,).
pub fn norm(
    x: &Tensor,
    kind: NormKind,
    gain: &Tensor,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    match (kind, bias) {
        (NormKind::Layer, Some(bias)) => layer_norm(&x, gain, bias, eps),
        (NormKind::Layer, None) => layer_norm(&x, gain, &gain.zeros_like()?, eps),
        (NormKind::Rms, Some(bias)) => rms_norm(&x, gain, eps)?.broadcast_add(bias),
        (NormKind::Rms, None) => rms_norm(&x, gain, eps),
    }
}
