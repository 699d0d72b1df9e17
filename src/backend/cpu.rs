use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use super::seam::{Attention, Backend, Dense, Lookup, NormWeights, Relative};
use super::share;
use super::workspace::{Buffer, Workspace};
use crate::batch::Batch;
use crate::error::Result;
use crate::kernels::cpu::{self, Epilogue, Isa, PANEL, PackedF32, PackedI8, RowsMut};
use crate::kernels::{Activation, NormKind, plain};

/// A CPU: plain buffers that are used again, weights packed at load. Activations are in float32.
#[derive(Debug, Default)]
pub struct Cpu {
    int8: bool,
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
    /// Zeros where the checkpoint has none.
    bias: Vec<f32>,
    has_bias: bool,
    output: usize,
}

/// A linear layer's numbers.
#[derive(Debug)]
enum Weight {
    F32(PackedF32),
    Int8(PackedI8),
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
    bias: Option<Vec<f32>>,
    eps: f32,
}

impl Cpu {
    /// Linear layers in eight bits: weights quantized here, inputs token by token as they come. Layers that read
    /// the same input are stacked by the models, so that it is quantized once.
    #[must_use]
    pub fn int8() -> Self {
        Self { int8: true, ..Self::default() }
    }
}

impl Pass<'_> {
    fn rows(&self, count: usize, width: usize) -> Rows {
        Rows { data: self.workspace.take(count * width), width }
    }

    /// Turns queries and keys by the angles of their positions.
    fn rotate(&self, qkv: &mut Rows, angles: &Table) -> Result<()> {
        let (head, wide) = (angles.width, qkv.width);
        let (count, mut start) = (angles.values.len() / head.max(1), 0);
        let all = cpu::Rows::dense(&angles.values, count, head)?;
        for &length in &self.batch.lengths {
            let here = all.range(0..length)?;
            let (cos, sin) = (here.columns(0..head / 2)?, here.columns(head / 2..head)?);
            let text = &mut qkv.data[start * wide..][..length * wide];
            let both = RowsMut::new(text, length, wide / 3 * 2, wide)?;
            cpu::rotate(cos, sin, head, both)?;
            start += length;
        }
        Ok(())
    }

    fn attend(&self, qkv: &Rows, options: &Attention<'_, Cpu>, out: &mut Rows) -> Result<()> {
        let (hidden, all, mut start) = (out.width, qkv.view()?, 0);
        let mut workspace = self.workspace.attention.lock().unwrap_or_else(PoisonError::into_inner);
        for &length in &self.batch.lengths {
            let text = all.range(start..start + length)?;
            let part = |which: usize| text.columns(which * hidden..(which + 1) * hidden);
            let (q, k, v) = (part(0)?, part(1)?, part(2)?);
            let Attention { heads, scale, window, .. } = *options;
            let target = &mut out.data[start * hidden..][..length * hidden];
            let target = RowsMut::dense(target, length, hidden)?;
            let head = hidden / heads;
            let parts = share::parts(self.batch.threads.min(heads), 2 * length * length * hidden);
            let kept = workspace.len().max(parts);
            workspace.resize_with(kept, cpu::Workspace::new);
            let scratch = &mut workspace[..parts];
            share::by_columns(target, head, scratch, |first, target, scratch| {
                let columns = first..first + target.width();
                let [q, k, v] = [&q, &k, &v].map(|m| m.columns(columns.clone()));
                let (q, k, v, heads) = (q?, k?, v?, columns.len() / head);
                cpu::Attention { q, k, v, heads, scale, bias: None, window }.run(scratch, target)
            })?;
            start += length;
        }
        Ok(())
    }

    fn attend_relative(&self, qkv: &Rows, options: &Attention<'_, Cpu>, out: &mut Rows) {
        let attention = plain::Attention {
            heads: options.heads,
            scale: options.scale,
            window: options.window,
            relative: relative(&options.relative),
        };
        let (hidden, wide, mut start) = (out.width, qkv.width, 0);
        let longest = self.batch.lengths.iter().max().copied().unwrap_or(0);
        let mut scratch = self.workspace.take(plain::scores_len(&attention, longest));
        for &length in &self.batch.lengths {
            let text = &qkv.data[start * wide..][..length * wide];
            let target = &mut out.data[start * hidden..][..length * hidden];
            plain::attend(text, length, &attention, target, &mut scratch);
            start += length;
        }
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

    fn view(&self) -> Result<cpu::Rows<'_>> {
        cpu::Rows::dense(&self.data, self.count(), self.width)
    }

    fn view_mut(&mut self) -> Result<RowsMut<'_>> {
        let (count, width) = (self.count(), self.width);
        RowsMut::dense(&mut self.data, count, width)
    }
}

impl Linear {
    fn product(&self, pass: &Pass<'_>, x: &Rows, epilogue: &Epilogue<'_>) -> Result<Rows> {
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
        let has_bias = layer.bias.is_some();
        let bias =
            layer.bias.as_ref().map_or_else(|| vec![0.0; layer.output], |bias| bias.to_vec());
        let &Dense { input, output, .. } = layer;
        let weight = if self.int8 {
            Weight::Int8(PackedI8::quantize(&layer.weight, output, input)?)
        } else {
            Weight::F32(PackedF32::pack(&layer.weight, output, input)?)
        };
        Ok(Linear { weight, bias, has_bias, output: layer.output })
    }

    fn table(&self, values: Cow<'_, [f32]>, width: usize) -> Result<Table> {
        Ok(Table { values: values.into_owned(), width })
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
            plain::gather_add(&table.values, width, ids, *offset as usize, i == 0, &mut x.data);
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

#[cfg(test)]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // small numbers
mod tests {
    use super::*;

    const HIDDEN: usize = 96;
    const TOKENS: usize = 150;

    fn wave(len: usize, seed: f32) -> Vec<f32> {
        (0..len).map(|i| (seed + i as f32 * 0.37).sin()).collect()
    }

    /// A product and the attention over it, large enough to be shared.
    fn computed(cpu: &Cpu, threads: usize) -> Vec<f32> {
        let batch = Batch {
            ids: (0..TOKENS as u32).collect(),
            type_ids: vec![0; TOKENS],
            positions: (0..TOKENS as u32).collect(),
            lengths: vec![TOKENS],
            order: vec![0],
            threads,
        };
        let (input, output) = (HIDDEN, 3 * HIDDEN);
        assert!(share::parts(4, TOKENS * input * output) > 1);
        assert!(share::parts(4, 2 * TOKENS * TOKENS * HIDDEN) > 1);
        let (weight, bias) = (wave(input * output, 1.0), wave(output, 2.0));
        let dense = Dense { weight: weight.into(), bias: Some(bias.into()), input, output };
        let layer = cpu.pack(&dense).unwrap();
        let table = cpu.table(wave(TOKENS * HIDDEN, 3.0).into(), HIDDEN).unwrap();
        let pass = cpu.pass(&batch).unwrap();
        let x = Cpu::embed(&pass, &[Lookup::new(&table, &batch.ids)], None).unwrap();
        let qkv = Cpu::linear(&pass, &x, &layer, Activation::Gelu).unwrap();
        let mut all = qkv.data.to_vec();
        let context = Cpu::attention(&pass, qkv, &Attention::plain(8, HIDDEN)).unwrap();
        all.extend_from_slice(&context.data);
        all
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for cpu in [Cpu::default(), Cpu::int8()] {
            let alone = computed(&cpu, 1);
            for threads in [2, 3, 100] {
                let shared = pool.install(|| computed(&cpu, threads));
                assert!(shared.iter().zip(&alone).all(|(a, b)| (a - b).abs() <= 1e-5), "{threads}");
            }
        }
    }
}
