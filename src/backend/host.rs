use super::seam::Dense;
use crate::error::Result;
use crate::kernels::Activation;
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

/// A linear layer of vectors that lie in the host's memory, whatever the device: `activation(x W + b)`.
#[derive(Debug)]
pub struct HostLinear {
    packed: PackedF32,
    /// Zeros where the checkpoint has none.
    bias: Vec<f32>,
    activation: Activation,
}

impl HostLinear {
    /// Packs a layer.
    pub fn new(layer: &Dense<'_>, activation: Activation) -> Result<Self> {
        let packed = PackedF32::pack(&layer.weight.whole()?, layer.output, layer.input)?;
        let bias = layer.bias.as_deref().map_or_else(|| vec![0.0; layer.output], <[f32]>::to_vec);
        Ok(Self { packed, bias, activation })
    }

    /// Numbers that a row has.
    #[must_use]
    pub fn input(&self) -> usize {
        self.packed.inputs()
    }

    /// Numbers that a row becomes.
    #[must_use]
    pub fn output(&self) -> usize {
        self.packed.outputs()
    }

    /// `x` (B, input) to (B, output).
    pub fn forward(&self, x: &[f32]) -> Result<Vec<f32>> {
        let rows = x.len() / self.input().max(1);
        let mut out = vec![0.0; rows * self.output()];
        let epilogue = Epilogue::Activation(&self.bias, self.activation);
        let target = RowsMut::dense(&mut out, rows, self.output())?;
        matmul(Rows::dense(x, rows, self.input())?, &self.packed, &epilogue, target)?;
        Ok(out)
    }
}
