use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::linear::{Linear, Weight};
use super::pass::{Pass, Rows};
use super::share;
use super::table::{self, Table};
use super::team::Team;
use super::workspace::Workspace;
use crate::backend::matrix::Matrix;
use crate::backend::seam::{Attention, Backend, Dense, Lookup, NormWeights};
use crate::backend::tensor::Tensor;
use crate::batch::Batch;
use crate::error::Result;
use crate::kernels::cpu::{self, Epilogue, RowsMut};
use crate::kernels::{Activation, NormKind, plain};

/// What a number of an operation that is no product takes, in multiplications of a product.
pub(super) const BESIDES: usize = 8;

/// A CPU: plain buffers that are used again, weights packed at load. Activations are in float32.
#[derive(Default)]
pub struct Cpu {
    int8: bool,
    /// Where weights lie.
    arena: cpu::Arena,
    /// One for each batch that was computed at a time.
    pub(super) workspaces: Mutex<Vec<Arc<Workspace>>>,
    /// A tensor that is looked up and multiplied with, and once it is packed, its numbers.
    shared: Mutex<Option<Shared>>,
}

struct Shared {
    name: String,
    weight: Option<Weight>,
}

/// A norm.
pub struct Norm {
    kind: NormKind,
    gain: Vec<f32>,
    bias: Option<Vec<f32>>,
    eps: f32,
}

impl Cpu {
    fn shared(&self) -> MutexGuard<'_, Option<Shared>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers of a tensor that is kept once, where it is packed.
    fn packed(&self, name: Option<&str>) -> Option<Weight> {
        self.shared().as_ref().filter(|shared| Some(&*shared.name) == name)?.weight.clone()
    }
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
    /// `x = norm(x)`
    pub(super) fn apply(&self, x: RowsMut) -> Result<()> {
        cpu::norm_in_place(self.view(), x)
    }

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
        let weight = match self.packed(layer.weight.name()) {
            Some(weight) => weight,
            None => Weight::pack(&self.arena, &layer.weight, layer.output, layer.input, self.int8)?,
        };
        Ok(Linear::new(layer, weight))
    }

    fn share(&self, name: &str) {
        *self.shared() = Some(Shared { name: name.to_owned(), weight: None });
    }

    fn pack_exact(&self, layer: &Dense<'_>) -> Result<Linear> {
        let weight = Weight::pack(&self.arena, &layer.weight, layer.output, layer.input, false)?;
        Ok(Linear::new(layer, weight))
    }

    fn table(&self, values: Cow<'_, [f32]>, width: usize) -> Result<Table> {
        Ok(Table::floats(values.into_owned(), width))
    }

    fn lookup_table(&self, rows: &Tensor<'_>, width: usize) -> Result<Table> {
        let is_shared = self.shared().as_ref().is_some_and(|shared| shared.name == rows.name());
        // A small table stays in float32 beside a layer in eight bits.
        if !is_shared || (self.int8 && !table::is_worth(rows.len())) {
            return Table::load(rows, width, self.int8);
        }
        let matrix = Matrix::Tensors(vec![rows.clone()]);
        let weight =
            Weight::pack(&self.arena, &matrix, rows.len() / width.max(1), width, self.int8)?;
        *self.shared() =
            Some(Shared { name: rows.name().to_owned(), weight: Some(weight.clone()) });
        Ok(Table::packed(weight, width))
    }

    fn norm_of(&self, weights: NormWeights<'_>) -> Result<Norm> {
        let NormWeights { kind, gain, bias, eps } = weights;
        Ok(Norm { kind, gain: gain.to_vec(), bias: bias.map(<[f32]>::to_vec), eps })
    }

    fn pass<'a>(&'a self, batch: &'a Batch) -> Result<Pass<'a>> {
        let workspace = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let team = (batch.threads > 1).then(|| Team::new(batch.threads));
        Ok(Pass { batch, cpu: self, workspace: workspace.unwrap_or_default(), team })
    }

    fn embed(pass: &Pass<'_>, lookups: &[Lookup<'_, Self>], norm: Option<&Norm>) -> Result<Rows> {
        let width = lookups.first().map_or(0, |lookup| lookup.table.width);
        let mut x = pass.rows(pass.batch.ids.len(), width);
        let (work, step) = (x.data.len() * BESIDES, share::step(x.count()));
        pass.tiles(work, &mut x.view_mut()?, (step, width), |rows, _, mut part| {
            for (i, Lookup { table, ids, offset }) in lookups.iter().enumerate() {
                let (offset, ids) = (*offset as usize, &ids[rows.clone()]);
                table.gather_add(ids, offset, i == 0, part.dense_slice()?);
            }
            norm.map_or(Ok(()), |norm| norm.apply(part))
        })?;
        Ok(x)
    }

    fn linear(pass: &Pass<'_>, x: &Rows, layer: &Linear, activation: Activation) -> Result<Rows> {
        let epilogue = match (layer.has_bias, activation) {
            (false, Activation::Identity) => Epilogue::None,
            (true, Activation::Identity) => Epilogue::Bias(&layer.bias),
            (_, activation) => Epilogue::Activation(&layer.bias, activation),
        };
        layer.product(pass, x, &epilogue, None)
    }

    fn linear_add(pass: &Pass<'_>, x: &Rows, layer: &Linear, residual: Rows) -> Result<Rows> {
        layer.product(pass, x, &Epilogue::Residual(&layer.bias, residual.view()?), None)
    }

    fn norm(pass: &Pass<'_>, x: &Rows, norm: &Norm) -> Result<Rows> {
        let mut out = pass.rows(x.count(), x.width);
        let (x, work) = (x.view()?, x.data.len() * BESIDES);
        pass.tiles(
            work,
            &mut out.view_mut()?,
            (share::step(x.rows()), x.width()),
            |rows, _, part| cpu::norm(norm.view(), x.range(rows)?, part),
        )?;
        Ok(out)
    }

    fn linear_add_norm(
        pass: &Pass<'_>,
        x: &Rows,
        layer: &Linear,
        residual: Rows,
        norm: &Norm,
    ) -> Result<Rows> {
        layer.product(pass, x, &Epilogue::Residual(&layer.bias, residual.view()?), Some(norm))
    }

    fn feed_forward(
        pass: &Pass<'_>,
        x: Rows,
        up: &Linear,
        activation: Activation,
        down: &Linear,
        norm: &Norm,
    ) -> Result<Rows> {
        if !share::by_rows(x.count()) {
            let inner = Self::linear(pass, &x, up, activation)?;
            return Self::linear_add_norm(pass, &inner, down, x, norm);
        }
        let mut out = pass.rows(x.count(), x.width);
        let (x, work) = (x.view()?, up.work(x.count()) + down.work(x.count()));
        pass.tiles(
            work,
            &mut out.view_mut()?,
            (share::step(x.rows()), x.width()),
            |rows, _, mut part| {
                let x = x.range(rows)?;
                let mut inner = pass.rows(x.rows(), up.outputs());
                let (space, first) = (&pass.workspace, Epilogue::Activation(&up.bias, activation));
                up.multiply(space, x, &first, inner.view_mut()?)?;
                let second = Epilogue::Residual(&down.bias, x);
                down.multiply(space, inner.view()?, &second, part.reborrow())?;
                norm.apply(part)
            },
        )?;
        Ok(out)
    }

    fn attention(pass: &Pass<'_>, mut qkv: Rows, options: &Attention<'_, Self>) -> Result<Rows> {
        if let Some(angles) = options.rotary {
            pass.rotate(&mut qkv, angles)?;
        }
        let mut out = pass.rows(qkv.count(), qkv.width / 3);
        pass.attend(&qkv, options, &mut out)?;
        Ok(out)
    }

    fn gate(pass: &Pass<'_>, x: &Rows, activation: Activation) -> Result<Rows> {
        let width = x.width / 2;
        let mut out = pass.rows(x.count(), width);
        let (left, right) = (x.view()?.columns(0..width)?, x.view()?.columns(width..2 * width)?);
        let (work, step) = (out.data.len() * BESIDES, share::step(x.count()));
        pass.tiles(work, &mut out.view_mut()?, (step, width), |rows, _, part| {
            cpu::gated(activation, left.range(rows.clone())?, right.range(rows)?, part)
        })?;
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
