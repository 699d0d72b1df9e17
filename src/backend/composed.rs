//! What candle has no operation of its own for, composed of its operations.

use candle_core::{Result, Tensor};
use candle_nn::ops::{layer_norm, rms_norm, softmax_last_dim};

use crate::kernels::{Activation, NormKind};

/// `activation(x + bias)` for `x` (N, H) and `bias` (H,).
pub(super) fn bias_activation(
    x: Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    match bias {
        Some(bias) => apply(x.broadcast_add(bias)?, activation),
        None => apply(x, activation),
    }
}

/// `activation(x)`.
pub(super) fn apply(x: Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
        Activation::Tanh => x.tanh(),
    }
}

/// `softmax(x * scale)` over the last dimension.
pub(super) fn scale_softmax(x: &Tensor, scale: f32) -> Result<Tensor> {
    softmax_last_dim(&(x * f64::from(scale))?)
}

/// A norm of the last dimension. `gain` and `bias` are (H,).
pub(super) fn norm(
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
