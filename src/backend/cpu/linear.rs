use std::fmt;
use std::sync::PoisonError;

use super::pass::{Pass, Rows};
use super::share;
use crate::backend::seam::Dense;
use crate::error::Result;
use crate::kernels::cpu::{self, Epilogue, Isa, PANEL, PackedF32, PackedI8};

/// A linear layer.
pub struct Linear {
    weight: Weight,
    /// Zeros where the checkpoint has none.
    pub(super) bias: Vec<f32>,
    pub(super) has_bias: bool,
    output: usize,
}

/// A linear layer's numbers.
enum Weight {
    F32(PackedF32),
    Int8(PackedI8),
}

/// Its shape: a model's numbers are nothing to print.
impl fmt::Debug for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (inputs, kept) = match &self.weight {
            Weight::F32(weight) => (weight.inputs(), "float32"),
            Weight::Int8(weight) => (weight.inputs(), "int8"),
        };
        write!(f, "Linear({inputs} to {}, {kept}, bias: {})", self.output, self.has_bias)
    }
}

impl Linear {
    /// Packs a layer, in eight bits or in float32.
    pub(super) fn pack(layer: &Dense<'_>, int8: bool) -> Result<Self> {
        let has_bias = layer.bias.is_some();
        let bias =
            layer.bias.as_ref().map_or_else(|| vec![0.0; layer.output], |bias| bias.to_vec());
        let &Dense { input, output, .. } = layer;
        let weight = if int8 {
            let mut weight = PackedI8::zeros(output, input)?;
            layer
                .weight
                .int8(input, &mut |first, rows, scales| weight.fill(first, rows, scales))?;
            Weight::Int8(weight)
        } else {
            let mut weight = PackedF32::zeros(output, input)?;
            layer.weight.floats(&mut |first, rows| weight.fill(first, rows))?;
            Weight::F32(weight)
        };
        Ok(Self { weight, bias, has_bias, output: layer.output })
    }

    pub(super) fn product(
        &self,
        pass: &Pass<'_>,
        x: &Rows,
        epilogue: &Epilogue<'_>,
    ) -> Result<Rows> {
        let mut out = pass.rows(x.count(), self.output);
        let work = x.count() * x.width * self.output;
        let mut parts = vec![(); share::parts(pass.batch.threads, work)];
        let (isa, input, target) = (Isa::best(), x.view()?, out.view_mut()?);
        match &self.weight {
            Weight::F32(weight) => {
                share::by_columns(target, PANEL, &mut parts, |first, target, ()| {
                    cpu::matmul_columns(isa, input, weight, epilogue, first, target)
                })?;
            }
            Weight::Int8(weight) => {
                let quantized = &pass.workspace.quantized;
                let mut quantized = quantized.lock().unwrap_or_else(PoisonError::into_inner);
                quantized.fill(input)?;
                let input = &*quantized;
                share::by_columns(target, PANEL, &mut parts, |first, target, ()| {
                    cpu::matmul_i8_columns(isa, input, 0, weight, epilogue, first, target)
                })?;
            }
        }
        Ok(out)
    }
}
