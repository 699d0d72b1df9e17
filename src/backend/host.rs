use super::seam::Dense;
use crate::error::Result;
use crate::kernels::cpu::{Epilogue, Norm, PackedF32, Rows, RowsMut, matmul, norm_in_place};

/// `x W + b` of constants, computed while a model is loaded.
pub fn projected(x: &[f32], layer: &Dense<'_>) -> Result<Vec<f32>> {
    let rows = x.len() / layer.input.max(1);
    let packed = PackedF32::pack(&layer.weight.whole()?, layer.output, layer.input)?;
    let mut out = vec![0.0; rows * layer.output];
    let epilogue = layer.bias.as_deref().map_or(Epilogue::None, Epilogue::Bias);
    let target = RowsMut::dense(&mut out, rows, layer.output)?;
    matmul(Rows::dense(x, rows, layer.input)?, &packed, &epilogue, target)?;
    Ok(out)
}

/// Layer norm of constants, in place.
pub fn normalized(x: &mut [f32], gain: &[f32], bias: &[f32], eps: f32) -> Result<()> {
    let count = x.len() / gain.len().max(1);
    let rows = RowsMut::dense(x, count, gain.len())?;
    norm_in_place(Norm::Layer { gain, bias: Some(bias), eps }, rows)
}
