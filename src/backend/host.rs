use super::seam::Dense;
use crate::error::Result;
use crate::kernels::cpu::{Norm, RowsMut, norm_in_place};
use crate::kernels::plain::{self, Epilogue, Packed};

/// `x W + b` of constants, computed while a model is loaded.
#[must_use]
pub fn projected(x: &[f32], layer: &Dense<'_>) -> Vec<f32> {
    let packed = Packed::pack(&layer.weight, layer.output, layer.input);
    let mut out = vec![0.0; x.len() / layer.input.max(1) * layer.output];
    let epilogue = layer.bias.as_deref().map_or(Epilogue::None, Epilogue::Bias);
    plain::matmul(x, &packed, epilogue, &mut out);
    out
}

/// Layer norm of constants, in place.
pub fn normalized(x: &mut [f32], gain: &[f32], bias: &[f32], eps: f32) -> Result<()> {
    let count = x.len() / gain.len().max(1);
    let rows = RowsMut::dense(x, count, gain.len())?;
    norm_in_place(Norm::Layer { gain, bias: Some(bias), eps }, rows)
}
