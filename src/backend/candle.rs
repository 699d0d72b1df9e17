use std::borrow::Cow;

use candle_core::{D, DType, Device, IndexOp, Tensor};

use super::composed::{self, scale_softmax};
use super::seam::{Attention, Backend, Dense, Lookup, NormWeights, Relative};
use crate::batch::{Batch, Run};
use crate::error::{Error, Result};
use crate::kernels::{Activation, NormKind};

/// Candle's tensors: any device, any dtype.
#[derive(Debug)]
pub struct Candle {
    device: Device,
    dtype: DType,
}

impl Candle {
    /// Computes in `dtype` on `device`.
    #[must_use]
    pub fn new(device: &Device, dtype: DType) -> Self {
        Self { device: device.clone(), dtype }
    }

    fn tensor(&self, values: &[f32], shape: &[usize]) -> candle_core::Result<Tensor> {
        Tensor::from_slice(values, shape, &Device::Cpu)?
            .to_dtype(self.dtype)?
            .to_device(&self.device)
    }
}

/// A run over one batch.
#[derive(Debug)]
pub struct Pass<'a> {
    candle: &'a Candle,
    batch: &'a Batch,
    runs: Vec<Run>,
}

/// A linear layer: `(in, out)` as the product reads it, and `(out,)`.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

/// A norm's gain and bias, each `(H,)`.
#[derive(Debug)]
pub struct Norm {
    kind: NormKind,
    gain: Tensor,
    bias: Option<Tensor>,
    eps: f32,
}

impl Backend for Candle {
    type Pass<'a> = Pass<'a>;
    type Rows = Tensor;
    type Linear = Linear;
    type Table = Tensor;
    type Norm = Norm;

    fn pack(&self, layer: &Dense<'_>) -> Result<Linear> {
        let weight = layer.weight.whole()?;
        laid_out(|| {
            Ok(Linear {
                weight: self.tensor(&weight, &[layer.output, layer.input])?.t()?.contiguous()?,
                bias: layer.bias.as_ref().map(|b| self.tensor(b, &[layer.output])).transpose()?,
            })
        })
    }

    fn table(&self, values: Cow<'_, [f32]>, width: usize) -> Result<Tensor> {
        laid_out(|| self.tensor(&values, &[values.len() / width.max(1), width]))
    }

    fn norm_of(&self, NormWeights { kind, gain, bias, eps }: NormWeights<'_>) -> Result<Norm> {
        laid_out(|| {
            let part = |values: &[f32]| self.tensor(values, &[values.len()]);
            Ok(Norm { kind, gain: part(gain)?, bias: bias.map(part).transpose()?, eps })
        })
    }

    fn pass<'a>(&'a self, batch: &'a Batch) -> Result<Pass<'a>> {
        Ok(Pass { candle: self, batch, runs: batch.runs() })
    }

    fn embed(pass: &Pass<'_>, lookups: &[Lookup<'_, Self>], norm: Option<&Norm>) -> Result<Tensor> {
        computed(|| {
            let mut sum: Option<Tensor> = None;
            for Lookup { table, ids, offset } in lookups {
                let from = table.narrow(0, *offset as usize, table.dim(0)? - *offset as usize)?;
                let rows = from.index_select(&pass.indices(ids)?, 0)?;
                sum = Some(match sum {
                    Some(sum) => (sum + rows)?,
                    None => rows,
                });
            }
            let Some(sum) = sum else { candle_core::bail!("nothing is looked up") };
            norm.map_or(Ok(sum.clone()), |norm| norm.apply(&sum))
        })
    }

    fn linear(_: &Pass<'_>, x: &Tensor, layer: &Linear, activation: Activation) -> Result<Tensor> {
        computed(|| {
            composed::bias_activation(x.matmul(&layer.weight)?, layer.bias.as_ref(), activation)
        })
    }

    fn linear_add(_: &Pass<'_>, x: &Tensor, layer: &Linear, residual: Tensor) -> Result<Tensor> {
        computed(|| {
            let x = x.matmul(&layer.weight)?;
            composed::bias_activation(x, layer.bias.as_ref(), Activation::Identity)? + residual
        })
    }

    fn norm(_: &Pass<'_>, x: &Tensor, norm: &Norm) -> Result<Tensor> {
        computed(|| norm.apply(x))
    }

    // (N, 3H) -> (N, H), one run of equally long texts at a time: no mask, no padding.
    fn attention(pass: &Pass<'_>, qkv: Tensor, options: &Attention<'_, Self>) -> Result<Tensor> {
        computed(|| {
            let contexts = pass
                .runs
                .iter()
                .map(|run| pass.attend(&qkv, run, options))
                .collect::<candle_core::Result<Vec<_>>>()?;
            match &contexts[..] {
                [only] => Ok(only.clone()),
                several => Tensor::cat(several, 0),
            }
        })
    }

    fn gate(_: &Pass<'_>, x: &Tensor, activation: Activation) -> Result<Tensor> {
        computed(|| {
            let width = x.dim(D::Minus1)? / 2;
            let left = x.narrow(1, 0, width)?.contiguous()?;
            composed::apply(left, activation)? * x.narrow(1, width, width)?
        })
    }

    fn add(_: &Pass<'_>, x: Tensor, y: &Tensor) -> Result<Tensor> {
        computed(|| x + y)
    }

    fn unfold(pass: &Pass<'_>, x: &Tensor, kernel: usize) -> Result<Tensor> {
        computed(|| {
            let (count, width) = x.dims2()?;
            let padded = Tensor::cat(&[x, &x.narrow(0, 0, 1)?.zeros_like()?], 0)?;
            let mut from = Vec::with_capacity(count * kernel);
            let mut start = 0;
            for &length in &pass.batch.lengths {
                for t in 0..length {
                    from.extend((0..kernel).map(|k| {
                        let token = (t + k).checked_sub(kernel / 2).filter(|&at| at < length);
                        token.map_or(count, |token| start + token)
                    }));
                }
                start += length;
            }
            #[allow(clippy::cast_possible_truncation)] // a batch has far fewer than 2^32 tokens
            let from: Vec<u32> = from.into_iter().map(|at| at as u32).collect();
            padded.index_select(&pass.indices(&from)?, 0)?.reshape((count, kernel * width))
        })
    }

    fn select(pass: &Pass<'_>, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        computed(|| x.index_select(&pass.indices(rows)?, 0))
    }

    fn mean(pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        computed(|| {
            let mut start = 0;
            let mut means = Vec::with_capacity(pass.batch.lengths.len());
            for &length in &pass.batch.lengths {
                means.push(x.narrow(0, start, length)?.mean_keepdim(0)?);
                start += length;
            }
            Tensor::cat(&means, 0)
        })
    }

    fn read(_: &Pass<'_>, x: &Tensor, read: &mut dyn FnMut(&[f32])) -> Result<()> {
        let values: Vec<f32> = computed(|| x.to_dtype(DType::F32)?.flatten_all()?.to_vec1())?;
        read(&values);
        Ok(())
    }
}

impl Norm {
    fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        composed::norm(x, self.kind, &self.gain, self.bias.as_ref(), self.eps)
    }
}

impl Pass<'_> {
    fn indices(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        Tensor::from_slice(ids, ids.len(), &self.candle.device)
    }

    // (N, 3H) -> (B T, H) of a run
    fn attend(
        &self,
        qkv: &Tensor,
        run: &Run,
        options: &Attention<'_, Candle>,
    ) -> candle_core::Result<Tensor> {
        let hidden = qkv.dim(D::Minus1)? / 3;
        let (heads, length) = (options.heads, run.length);
        let part = qkv
            .narrow(0, run.tokens.start, run.tokens.len())?
            .reshape((run.texts, length, 3, heads, hidden / heads))?
            .permute((2, 0, 3, 1, 4))? // (3, B, heads, T, head)
            .contiguous()?;
        let (mut q, mut k, v) = (part.get(0)?, part.get(1)?, part.get(2)?);
        if let Some(angles) = options.rotary {
            (q, k) = (turned(&q, angles)?, turned(&k, angles)?);
        }
        let mut scores = q.matmul(&k.t()?)?; // (B, heads, T, T)
        let mut scale = options.scale;
        match &options.relative {
            Relative::None => {}
            Relative::Bias(table) => {
                let reach = table.dim(1)?.div_ceil(2);
                let at = self.indices(&by_distance(length, |q, k| reach - 1 + k - q))?;
                let bias = table.index_select(&at, 1)?.reshape((1, heads, length, length))?;
                scores = (scores * f64::from(scale))?.broadcast_add(&bias)?;
                scale = 1.0;
            }
            Relative::Disentangled { keys, queries, buckets } => {
                let zero = buckets.len() / 2;
                let at = by_distance(length, |q, k| buckets[zero + q - k] as usize);
                let shape = (run.texts, heads, length, length);
                let at = self.indices(&at)?.reshape((length, length))?;
                if let Some(keys) = keys {
                    let at = at.broadcast_as(shape)?.contiguous()?;
                    scores = (scores + met(&q, keys)?.gather(&at, 3)?)?;
                }
                if let Some(queries) = queries {
                    let at = at.t()?.broadcast_as(shape)?.contiguous()?;
                    scores = (scores + met(&k, queries)?.gather(&at, 3)?.t()?)?;
                }
            }
        }
        if let Some(window) = options.window {
            scores = scores.broadcast_add(&self.hidden_beyond(window, length)?)?;
        }
        let context = scale_softmax(&scores, scale)?.matmul(&v.contiguous()?)?; // (B, heads, T, head)
        context.transpose(1, 2)?.reshape((run.tokens.len(), hidden))
    }

    fn hidden_beyond(&self, window: usize, length: usize) -> candle_core::Result<Tensor> {
        let seen =
            |q: usize, k: usize| if q.abs_diff(k) > window { f32::NEG_INFINITY } else { 0.0 };
        let mask: Vec<f32> =
            (0..length).flat_map(|q| (0..length).map(move |k| seen(q, k))).collect();
        self.candle.tensor(&mask, &[1, 1, length, length])
    }
}

/// A number for each pair of query and key, row after row.
#[allow(clippy::cast_possible_truncation)] // distances and buckets are far below 2^32
fn by_distance(length: usize, number: impl Fn(usize, usize) -> usize) -> Vec<u32> {
    (0..length)
        .flat_map(|q| (0..length).map(move |k| (q, k)))
        .map(|(q, k)| number(q, k) as u32)
        .collect()
}

// (B, heads, T, D) against (buckets, H) -> (B, heads, T, buckets)
fn met(contents: &Tensor, positions: &Tensor) -> candle_core::Result<Tensor> {
    let (texts, heads, _, head) = contents.dims4()?;
    let buckets = positions.dim(0)?;
    let positions = positions
        .reshape((1, buckets, heads, head))?
        .permute((0, 2, 3, 1))? // (1, heads, head, buckets)
        .broadcast_as((texts, heads, head, buckets))?
        .contiguous()?;
    contents.contiguous()?.matmul(&positions)
}

// (B, heads, T, D), and (P, D) of cosines and sines
fn turned(x: &Tensor, angles: &Tensor) -> candle_core::Result<Tensor> {
    let (_, _, length, head) = x.dims4()?;
    let half = head / 2;
    let cos = angles.i((..length, ..half))?;
    let sin = angles.i((..length, half..))?;
    let (low, high) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
    let first = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
    let second = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], 3)
}

fn laid_out<T>(make: impl FnOnce() -> candle_core::Result<T>) -> Result<T> {
    make().map_err(|e| Error::internal(format!("weights cannot be laid out on the device: {e}")))
}

fn computed<T>(compute: impl FnOnce() -> candle_core::Result<T>) -> Result<T> {
    compute().map_err(|e| Error::internal(format!("the forward pass failed: {e}")))
}
