use std::fmt;
use std::sync::{Arc, PoisonError};

use super::pass::{Pass, Rows};
use super::share;
use crate::backend::matrix::Matrix;
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
#[derive(Clone)]
pub(super) enum Weight {
    F32(Arc<PackedF32>),
    Int8(Arc<PackedI8>),
}

impl Weight {
    /// Packs `rows` (outputs, inputs), in eight bits or in float32.
    pub(super) fn pack(
        rows: &Matrix<'_>,
        outputs: usize,
        inputs: usize,
        int8: bool,
    ) -> Result<Self> {
        if int8 {
            let mut weight = PackedI8::zeros(outputs, inputs)?;
            rows.int8(inputs, &mut |first, rows, scales| weight.fill(first, rows, scales))?;
            return Ok(Self::Int8(Arc::new(weight)));
        }
        let mut weight = PackedF32::zeros(outputs, inputs)?;
        rows.floats(&mut |first, rows| weight.fill(first, rows))?;
        Ok(Self::F32(Arc::new(weight)))
    }

    /// The weights of one output.
    pub(super) fn output(&self, output: usize, to: &mut [f32]) {
        match self {
            Self::F32(weight) => weight.output(output, to),
            Self::Int8(weight) => weight.output(output, to),
        }
    }

    /// Outputs, inputs, and what they are kept in.
    pub(super) fn about(&self) -> (usize, usize, &'static str) {
        match self {
            Self::F32(weight) => (weight.outputs(), weight.inputs(), "float32"),
            Self::Int8(weight) => (weight.outputs(), weight.inputs(), "int8"),
        }
    }
}

/// Its shape: a model's numbers are nothing to print.
impl fmt::Debug for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, inputs, kept) = self.weight.about();
        write!(f, "Linear({inputs} to {}, {kept}, bias: {})", self.output, self.has_bias)
    }
}

impl Linear {
    /// A layer whose weight is packed.
    pub(super) fn new(layer: &Dense<'_>, weight: Weight) -> Self {
        let has_bias = layer.bias.is_some();
        let bias =
            layer.bias.as_ref().map_or_else(|| vec![0.0; layer.output], |bias| bias.to_vec());
        Self { weight, bias, has_bias, output: layer.output }
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
