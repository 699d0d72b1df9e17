use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use super::seam::{Attention, Backend, Dense, Lookup, Relative};
use super::workspace::{Buffer, Workspace};
use crate::batch::Batch;
use crate::error::Result;
use crate::kernels::Activation;
use crate::kernels::plain::{self, Epilogue, NormKind, NormWeights, Packed};

/// Float32 on a CPU: plain buffers that are used again, weights packed at load.
#[derive(Debug, Default)]
pub struct Cpu {
    /// One for each batch that was computed at a time.
    workspaces: Mutex<Vec<Arc<Workspace>>>,
}

/// A run over one batch.
#[derive(Debug)]
pub struct Pass<'a> {
    batch: &'a Batch,
    cpu: &'a Cpu,
    workspace: Arc<Workspace>,
}

/// Rows of `width` numbers.
#[derive(Debug)]
pub struct Rows {
    data: Buffer,
    width: usize,
}

/// A linear layer.
#[derive(Debug)]
pub struct Linear {
    weight: Weight,
    bias: Option<Vec<f32>>,
    /// What stands in for a bias where only an activation is to be applied.
    zeros: Vec<f32>,
    output: usize,
}

/// A linear layer's numbers; the place for quantized ones.
#[derive(Debug)]
enum Weight {
    F32(Packed),
}

/// Rows of constants.
#[derive(Debug)]
pub struct Table {
    values: Vec<f32>,
    width: usize,
}

/// A norm.
#[derive(Debug)]
pub struct Norm {
    kind: NormKind,
    gain: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl Pass<'_> {
    fn rows(&self, count: usize, width: usize) -> Rows {
        Rows { data: self.workspace.take(count * width), width }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.workspace.trim();
        let mut workspaces = self.cpu.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        workspaces.push(Arc::clone(&self.workspace));
    }
}

impl Rows {
    fn count(&self) -> usize {
        self.data.len() / self.width.max(1)
    }
}

impl Linear {
    fn product(&self, x: &[f32], epilogue: Epilogue<'_>, out: &mut [f32]) {
        match &self.weight {
            Weight::F32(packed) => plain::matmul(x, packed, epilogue, out),
        }
    }
}

impl Norm {
    fn apply(&self, x: &mut [f32]) {
        let Self { kind, gain, bias, eps } = self;
        plain::normalize(x, NormWeights { kind: *kind, gain, bias, eps: *eps });
    }
}

impl Backend for Cpu {
    type Pass<'a> = Pass<'a>;
    type Rows = Rows;
    type Linear = Linear;
    type Table = Table;
    type Norm = Norm;

    fn pack(&self, layer: &Dense<'_>) -> Result<Linear> {
        let bias = layer.bias.as_ref().map(|bias| bias.to_vec());
        let zeros = if bias.is_some() { Vec::new() } else { vec![0.0; layer.output] };
        let weight = Weight::F32(Packed::pack(&layer.weight, layer.output, layer.input));
        Ok(Linear { weight, bias, zeros, output: layer.output })
    }

    fn table(&self, values: Cow<'_, [f32]>, width: usize) -> Result<Table> {
        Ok(Table { values: values.into_owned(), width })
    }

    fn norm_of(&self, weights: NormWeights<'_>) -> Result<Norm> {
        let NormWeights { kind, gain, bias, eps } = weights;
        Ok(Norm { kind, gain: gain.to_vec(), bias: bias.to_vec(), eps })
    }

    fn pass<'a>(&'a self, batch: &'a Batch) -> Result<Pass<'a>> {
        let workspace = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Pass { batch, cpu: self, workspace: workspace.unwrap_or_default() })
    }

    fn embed(pass: &Pass<'_>, lookups: &[Lookup<'_, Self>], norm: Option<&Norm>) -> Result<Rows> {
        let width = lookups.first().map_or(0, |lookup| lookup.table.width);
        let mut x = pass.rows(pass.batch.ids.len(), width);
        for (i, Lookup { table, ids, offset }) in lookups.iter().enumerate() {
            plain::gather_add(&table.values, width, ids, *offset as usize, i == 0, &mut x.data);
        }
        if let Some(norm) = norm {
            norm.apply(&mut x.data);
        }
        Ok(x)
    }

    fn linear(pass: &Pass<'_>, x: &Rows, layer: &Linear, activation: Activation) -> Result<Rows> {
        let mut out = pass.rows(x.count(), layer.output);
        let epilogue = match (&layer.bias, activation) {
            (None, Activation::Identity) => Epilogue::None,
            (Some(bias), Activation::Identity) => Epilogue::Bias(bias),
            (bias, activation) => {
                Epilogue::BiasActivation(bias.as_ref().unwrap_or(&layer.zeros), activation)
            }
        };
        layer.product(&x.data, epilogue, &mut out.data);
        Ok(out)
    }

    fn linear_add(_: &Pass<'_>, x: &Rows, layer: &Linear, mut residual: Rows) -> Result<Rows> {
        layer.product(&x.data, Epilogue::Accumulate(layer.bias.as_deref()), &mut residual.data);
        Ok(residual)
    }

    fn norm(pass: &Pass<'_>, x: &Rows, norm: &Norm) -> Result<Rows> {
        let mut out = pass.rows(x.count(), x.width);
        out.data.copy_from_slice(&x.data);
        norm.apply(&mut out.data);
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
        norm.apply(&mut x.data);
        Ok(x)
    }

    fn attention(pass: &Pass<'_>, mut qkv: Rows, options: &Attention<'_, Self>) -> Result<Rows> {
        let (hidden, wide) = (qkv.width / 3, qkv.width);
        if let Some(angles) = options.rotary {
            let columns = 0..2 * hidden;
            let positions = &pass.batch.positions;
            plain::rotate(&mut qkv.data, wide, columns, angles.width, &angles.values, positions);
        }
        let attention = plain::Attention {
            heads: options.heads,
            scale: options.scale,
            window: options.window,
            relative: relative(&options.relative),
        };
        let mut out = pass.rows(qkv.count(), hidden);
        let longest = pass.batch.lengths.iter().max().copied().unwrap_or(0);
        let mut scratch = pass.workspace.take(plain::scores_len(&attention, longest));
        let mut start = 0;
        for &length in &pass.batch.lengths {
            let text = &qkv.data[start * wide..][..length * wide];
            let target = &mut out.data[start * hidden..][..length * hidden];
            plain::attend(text, length, &attention, target, &mut scratch);
            start += length;
        }
        Ok(out)
    }

    fn gate(pass: &Pass<'_>, x: &Rows, activation: Activation) -> Result<Rows> {
        let width = x.width / 2;
        let mut out = pass.rows(x.count(), width);
        plain::gate(&x.data, width, activation, &mut out.data);
        Ok(out)
    }

    fn add(_: &Pass<'_>, mut x: Rows, y: &Rows) -> Result<Rows> {
        plain::add(&mut x.data, &y.data);
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

fn relative<'a>(relative: &Relative<'a, Cpu>) -> plain::Relative<'a> {
    match relative {
        Relative::None => plain::Relative::None,
        Relative::Bias(table) => {
            plain::Relative::Bias { table: &table.values, reach: table.width.div_ceil(2) }
        }
        Relative::Disentangled { keys, queries, buckets } => plain::Relative::Disentangled {
            keys: keys.map(|table| &table.values[..]),
            queries: queries.map(|table| &table.values[..]),
            buckets,
        },
    }
}
