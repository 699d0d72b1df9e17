use crate::kernels::Activation;
use crate::kernels::activation::activate_gate;
use crate::kernels::add::add_to;

/// `x += y`.
pub fn add(x: &mut [f32], y: &[f32]) {
    add_to(x, y);
}

/// `out = activation(left) * right` where a row of `x` is `[left, right]`: `x` (M, 2W), `out` (M, W).
pub fn gate(x: &[f32], width: usize, activation: Activation, out: &mut [f32]) {
    activate_gate(x, width, activation, out);
}
