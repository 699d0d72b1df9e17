use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::linear::Linear;
use super::pass::{Pass, Rows};
use super::table::Table;
use super::workspace::Workspace;
use crate::backend::seam::{Attention, Backend, Dense, Lookup, NormWeights, Relative};
use crate::backend::tensor::Tensor;
use crate::batch::Batch;
use crate::error::Result;
use crate::kernels::cpu::{self, Epilogue};
use crate::kernels::{Activation, NormKind, plain};

/// A CPU: plain buffers that are used again, weights packed at load. Activations are in float32.
#[derive(Default)]
pub struct Cpu {
    int8: bool,
    /// One for each batch that was computed at a time.
    pub(super) workspaces: Mutex<Vec<Arc<Workspace>>>,
}

/// A norm.
pub struct Norm {
    kind: NormKind,
    gain: Vec<f32>,
    bias: Option<Vec<f32>>,
    eps: f32,
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cpu").field("int8", &self.int8).finish_non_exhaustive()
    }
}

impl Cpu {
    /// Linear layers in eight bits: weights quantized here, inputs token by token as they come. Layers that read
    /// the same input are stacked by the models, so that it is quantized once.
    #[must_use]
    pub fn int8() -> Self {
        Self { int8: true, ..Self::default() }
    }
}

/// Its shape: a model's numbers are nothing to print.
impl fmt::Debug for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Norm({:?}, {}, bias: {})", self.kind, self.gain.len(), self.bias.is_some())
    }
}

impl Norm {
    fn view(&self) -> cpu::Norm<'_> {
        let (gain, eps) = (&self.gain[..], self.eps);
        match self.kind {
            NormKind::Layer => cpu::Norm::Layer { gain, bias: self.bias.as_deref(), eps },
            NormKind::Rms => cpu::Norm::Rms { gain, eps },
        }
    }
}

impl Backend for Cpu {
    type Pass<'a> = Pass<'a>;
    type Rows = Rows;
    type Linear = Linear;
    type Table = Table;
    type Norm = Norm;

    fn pack(&self, layer: &Dense<'_>) -> Result<Linear> {
        Linear::pack(layer, self.int8)
    }

    fn pack_exact(&self, layer: &Dense<'_>) -> Result<Linear> {
        Linear::pack(layer, false)
    }

    fn table(&self, values: Cow<'_, [f32]>, width: usize) -> Result<Table> {
        Ok(Table::floats(values.into_owned(), width))
    }

    fn lookup_table(&self, rows: &Tensor<'_>, width: usize) -> Result<Table> {
        Table::load(rows, width, self.int8)
    }

    fn norm_of(&self, weights: NormWeights<'_>) -> Result<Norm> {
        let NormWeights { kind, gain, bias, eps } = weights;
        Ok(Norm { kind, gain: gain.to_vec(), bias: bias.map(<[f32]>::to_vec), eps })
    }

    fn pass<'a>(&'a self, batch: &'a Batch) -> Result<Pass<'a>> {
        let workspace = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Pass { batch, cpu: self, workspace: workspace.unwrap_or_default() })
    }

    fn embed(pass: &Pass<'_>, lookups: &[Lookup<'_, Self>], norm: Option<&Norm>) -> Result<Rows> {
        let width = lookups.first().map_or(0, |lookup| lookup.table.width);
        let mut x = pass.rows(pass.batch.ids.len(), width);
        for (i, Lookup { table, ids, offset }) in lookups.iter().enumerate() {
            table.gather_add(ids, *offset as usize, i == 0, &mut x.data);
        }
        if let Some(norm) = norm {
            cpu::norm_in_place(norm.view(), x.view_mut()?)?;
        }
        Ok(x)
    }

    fn linear(pass: &Pass<'_>, x: &Rows, layer: &Linear, activation: Activation) -> Result<Rows> {
        let epilogue = match (layer.has_bias, activation) {
            (false, Activation::Identity) => Epilogue::None,
            (true, Activation::Identity) => Epilogue::Bias(&layer.bias),
            (_, activation) => Epilogue::Activation(&layer.bias, activation),
        };
        layer.product(pass, x, &epilogue)
    }

    fn linear_add(pass: &Pass<'_>, x: &Rows, layer: &Linear, residual: Rows) -> Result<Rows> {
        layer.product(pass, x, &Epilogue::Residual(&layer.bias, residual.view()?))
    }

    fn norm(pass: &Pass<'_>, x: &Rows, norm: &Norm) -> Result<Rows> {
        let mut out = pass.rows(x.count(), x.width);
        cpu::norm(norm.view(), x.view()?, out.view_mut()?)?;
        Ok(out)
    }

    fn linear_add_norm(
        pass: &Pass<'_>,
        x: &Rows,
        layer: &Linear,
        residual: Rows,
        norm: &Norm,
    ) -> Result<Rows> {
        let mut x = Self::linear_add(pass, x, layer, residual)?;
        cpu::norm_in_place(norm.view(), x.view_mut()?)?;
        Ok(x)
    }

    fn attention(pass: &Pass<'_>, mut qkv: Rows, options: &Attention<'_, Self>) -> Result<Rows> {
        if let Some(angles) = options.rotary {
            pass.rotate(&mut qkv, angles)?;
        }
        let mut out = pass.rows(qkv.count(), qkv.width / 3);
        match options.relative {
            Relative::None => pass.attend(&qkv, options, &mut out)?,
            _ => pass.attend_relative(&qkv, options, &mut out),
        }
        Ok(out)
    }

    fn gate(pass: &Pass<'_>, x: &Rows, activation: Activation) -> Result<Rows> {
        let width = x.width / 2;
        let mut out = pass.rows(x.count(), width);
        let (left, right) = (x.view()?.columns(0..width)?, x.view()?.columns(width..2 * width)?);
        cpu::gated(activation, left, right, out.view_mut()?)?;
        Ok(out)
    }

    fn add(_: &Pass<'_>, mut x: Rows, y: &Rows) -> Result<Rows> {
        for (x, y) in x.data.iter_mut().zip(y.data.iter()) {
            *x += y;
        }
        Ok(x)
    }

    fn unfold(pass: &Pass<'_>, x: &Rows, kernel: usize) -> Result<Rows> {
        let mut out = pass.rows(x.count(), kernel * x.width);
        plain::unfold(&x.data, x.width, kernel, &pass.batch.lengths, &mut out.data);
        Ok(out)
    }

    fn select(pass: &Pass<'_>, x: &Rows, rows: &[u32]) -> Result<Rows> {
        let mut out = pass.rows(rows.len(), x.width);
        plain::gather_add(&x.data, x.width, rows, 0, true, &mut out.data);
        Ok(out)
    }

    fn mean(pass: &Pass<'_>, x: &Rows) -> Result<Rows> {
        let mut out = pass.rows(pass.batch.lengths.len(), x.width);
        plain::mean(&x.data, x.width, &pass.batch.lengths, &mut out.data);
        Ok(out)
    }

    fn read(_: &Pass<'_>, x: &Rows, read: &mut dyn FnMut(&[f32])) -> Result<()> {
        read(&x.data);
        Ok(())
    }
}
