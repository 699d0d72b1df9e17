use std::fmt;
use std::sync::Arc;

use super::ops::Norm;
use super::pass::{Pass, Rows};
use super::share;
use super::workspace::Workspace;
use crate::backend::matrix::Matrix;
use crate::backend::seam::Dense;
use crate::error::Result;
use crate::kernels::cpu::{self, Epilogue, Isa, PANEL, PackedF32, PackedI8, RowsMut};

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
        arena: &cpu::Arena,
        rows: &Matrix<'_>,
        outputs: usize,
        inputs: usize,
        int8: bool,
    ) -> Result<Self> {
        if int8 {
            let mut weight = PackedI8::zeros(arena, outputs, inputs)?;
            rows.int8(inputs, &mut |first, rows, scales| weight.fill(first, rows, scales))?;
            return Ok(Self::Int8(Arc::new(weight)));
        }
        let mut weight = PackedF32::zeros(arena, outputs, inputs)?;
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

    pub(super) fn outputs(&self) -> usize {
        self.output
    }

    /// Multiplications of a product with so many rows.
    pub(super) fn work(&self, rows: usize) -> usize {
        match &self.weight {
            Weight::F32(weight) => rows * weight.inputs() * self.output,
            // Of eight bits, some four take the time of one in float32.
            Weight::Int8(weight) => rows * weight.inputs() * self.output / 4,
        }
    }

    /// `norm(epilogue(x w))`, shared by threads.
    ///
    /// Threads take some rows each: so that these are still in their caches when they are normed. Where there are few
    /// rows, reading the weights is what takes the time, and threads take some columns each.
    pub(super) fn product(
        &self,
        pass: &Pass<'_>,
        x: &Rows,
        epilogue: &Epilogue<'_>,
        norm: Option<&Norm>,
    ) -> Result<Rows> {
        let mut out = pass.rows(x.count(), self.output);
        let (input, work) = (x.view()?, self.work(x.count()));
        if share::by_rows(x.count()) {
            let tile = (share::step(x.count()), self.output);
            pass.tiles(work, &mut out.view_mut()?, tile, |rows, _, mut part| {
                let epilogue = epilogue.range(rows.clone())?;
                self.multiply(&pass.workspace, input.range(rows)?, &epilogue, part.reborrow())?;
                norm.map_or(Ok(()), |norm| norm.apply(part))
            })?;
        } else {
            self.by_columns(pass, input, epilogue, &mut out.view_mut()?)?;
            norm.map_or(Ok(()), |norm| norm.apply(out.view_mut()?))?;
        }
        Ok(out)
    }

    /// `epilogue(x w)` on this thread.
    pub(super) fn multiply(
        &self,
        workspace: &Workspace,
        x: cpu::Rows,
        epilogue: &Epilogue<'_>,
        out: RowsMut,
    ) -> Result<()> {
        match &self.weight {
            Weight::F32(weight) => cpu::matmul(x, weight, epilogue, out),
            Weight::Int8(weight) => workspace.quantized.with(|quantized| {
                quantized.fill(x)?;
                cpu::matmul_i8(quantized, weight, epilogue, out)
            }),
        }
    }

    fn by_columns(
        &self,
        pass: &Pass<'_>,
        x: cpu::Rows,
        epilogue: &Epilogue<'_>,
        out: &mut RowsMut,
    ) -> Result<()> {
        let (isa, work) = (Isa::best(), self.work(x.rows()));
        let tile = (x.rows(), share::PANELS * PANEL);
        match &self.weight {
            Weight::F32(weight) => pass.tiles(work, out, tile, |_, columns, part| {
                cpu::matmul_columns(isa, x, weight, epilogue, columns.start, part)
            }),
            Weight::Int8(weight) => pass.workspace.quantized.with(|input| {
                input.fill(x)?;
                let input = &*input;
                pass.tiles(work, out, tile, |_, columns, part| {
                    cpu::matmul_i8_columns(isa, input, 0, weight, epilogue, columns.start, part)
                })
            }),
        }
    }
}
