use std::borrow::Cow;

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::quantized;
use super::weights::Weights;
use crate::error::Result;
use crate::kernels::cpu::{PANEL, quantize_rows};

/// Bytes that are read at a time, or else one row: they stay in the cache that a core has for itself.
const PIECE: usize = 256 << 10;

/// Takes rows from the given one on, one behind the other.
pub(super) type TakeFloats<'t> = &'t mut dyn FnMut(usize, &[f32]) -> Result<()>;
/// The same in eight bits, with a scale for each row.
pub(super) type TakeInt8<'t> = &'t mut dyn FnMut(usize, &[i8], &[f32]) -> Result<()>;

/// A tensor of a checkpoint as rows: its shape and dtype were checked, its numbers are read when asked for.
#[derive(Debug, Clone)]
pub struct Tensor<'w> {
    weights: &'w Weights<'w>,
    name: String,
    info: &'w TensorInfo,
    /// Scales of the rows, where numbers are stored in eight bits.
    scales: Option<&'w TensorInfo>,
}

/// Buffers for one piece.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    floats: Vec<f32>,
    numbers: Vec<i8>,
    scales: Vec<f32>,
}

impl<'w> Tensor<'w> {
    pub(super) fn new(weights: &'w Weights<'w>, name: &str, info: &'w TensorInfo) -> Result<Self> {
        let checkpoint = weights.checkpoint();
        let scales = match info.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => None,
            Dtype::I8 if quantized::is_written(checkpoint) => {
                let scales = quantized::scales(checkpoint, name, info);
                Some(scales.map_err(|reason| weights.bad(format!("tensor {name} {reason}")))?)
            }
            other => {
                let reason =
                    format!("tensor {name} has dtype {other}; F32, F16 and BF16 are supported");
                return Err(weights.bad(reason));
            }
        };
        Ok(Self { weights, name: name.to_owned(), info, scales })
    }

    fn rows(&self) -> usize {
        self.info.shape.first().copied().unwrap_or(1)
    }

    /// Numbers of a row.
    fn width(&self) -> usize {
        self.info.shape.iter().skip(1).product()
    }

    /// How many numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows() * self.width() // the header's check: it is no larger than the file
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of sixteen bits that numbers are stored in, where it is one.
    pub(super) fn half(&self) -> Option<Half> {
        match self.info.dtype {
            Dtype::F16 => Some(Half::F16),
            Dtype::BF16 => Some(Half::BF16),
            _ => None,
        }
    }

    /// All numbers in float32; all are finite.
    pub fn whole(&self) -> Result<Vec<f32>> {
        let mut all = reserved(self.len()).map_err(|reason| self.bad(reason))?;
        self.floats(&mut |_, numbers| {
            all.extend_from_slice(numbers);
            Ok(())
        })?;
        Ok(all)
    }

    /// Hands over all rows in float32; all numbers are finite.
    pub(super) fn floats(&self, take: TakeFloats<'_>) -> Result<()> {
        if self.scales.is_some() {
            return Err(self.bad(quantized::NO_FLOATS));
        }
        self.weights.note(&self.name, |uses| uses.float = true);
        self.pieces(|first, bytes, scratch| take(first, self.finite(bytes, &mut scratch.floats)?))
    }

    /// Hands over all rows in eight bits: as they are stored, or quantized here.
    pub(super) fn int8(&self, take: TakeInt8<'_>) -> Result<()> {
        self.weights.note(&self.name, |uses| uses.int8 = true);
        self.pieces(|first, bytes, scratch| {
            let Scratch { floats, numbers, scales, .. } = scratch;
            let rows = bytes.len() / (self.width() * self.info.dtype.bitsize() / 8).max(1);
            numbers.resize(numbers.len().max(rows * self.width()), 0);
            let numbers = &mut numbers[..rows * self.width()];
            scales.clear();
            if self.scales.is_some() {
                for (number, byte) in numbers.iter_mut().zip(bytes) {
                    *number = byte.cast_signed();
                }
                self.stored_scales(first..first + rows, scales)?;
                if numbers.contains(&i8::MIN) {
                    return Err(self.bad("holds -128, which quantized weights have none of"));
                }
            } else {
                scales.resize(rows, 0.0);
                quantize_rows(self.finite(bytes, floats)?, numbers, scales)?;
            }
            take(first, numbers, scales)
        })
    }

    /// Hands over all rows in sixteen bits, as they are stored; all numbers are finite.
    pub(super) fn halves(&self, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.weights.note(&self.name, |uses| uses.float = true);
        self.pieces(|_, bytes, scratch| {
            self.finite(bytes, &mut scratch.floats)?;
            take(bytes)
        })
    }

    /// Reads whole rows: as many as fit in a piece, and where they can, panels of a product.
    fn pieces(&self, mut take: impl FnMut(usize, &[u8], &mut Scratch) -> Result<()>) -> Result<()> {
        let row = self.width() * self.info.dtype.bitsize() / 8;
        let rows = match PIECE / row.max(1) {
            0..8 => 1,
            fit @ 8..PANEL => fit / 8 * 8,
            fit => fit / PANEL * PANEL,
        };
        self.weights.with_scratch(|scratch| {
            let mut buffer = std::mem::take(&mut scratch.bytes);
            for first in (0..self.rows()).step_by(rows) {
                let end = (first + rows).min(self.rows());
                let range = first * row..end * row;
                let bytes = self.weights.checkpoint().read(self.info, range, &mut buffer);
                take(first, bytes.map_err(|reason| self.unread(&reason))?, scratch)?;
            }
            scratch.bytes = buffer;
            Ok(())
        })
    }

    fn finite<'s>(&self, bytes: &'s [u8], floats: &'s mut Vec<f32>) -> Result<&'s [f32]> {
        let numbers = in_float32(bytes, self.info.dtype, floats);
        // No early end: the loop becomes vector code.
        if numbers.iter().fold(false, |bad, x| bad | !x.is_finite()) {
            return Err(self.bad("holds values that are not finite"));
        }
        Ok(numbers)
    }

    fn stored_scales(&self, rows: std::ops::Range<usize>, scales: &mut Vec<f32>) -> Result<()> {
        let Some(info) = self.scales else { return Ok(()) };
        let mut bytes = Vec::new();
        let range = rows.start * 4..rows.end * 4;
        let read = self.weights.checkpoint().read(info, range, &mut bytes);
        let (numbers, _) = read.map_err(|reason| self.unread(&reason))?.as_chunks::<4>();
        scales.extend(numbers.iter().map(|b| f32::from_le_bytes(*b)));
        if scales.iter().all(|scale| scale.is_normal() && *scale > 0.0) {
            return Ok(());
        }
        Err(self.bad("has a scale that is no positive number"))
    }

    pub(super) fn bad(&self, reason: impl std::fmt::Display) -> crate::error::Error {
        self.weights.bad(format!("tensor {} {reason}", self.name))
    }

    fn unread(&self, reason: &str) -> crate::error::Error {
        self.weights.bad(format!("model.safetensors {reason}"))
    }
}

/// A type of sixteen bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    F16,
    BF16,
}

impl Half {
    /// Its numbers, little-endian, in float32.
    pub(super) fn widen(self, bytes: &[u8], out: &mut [f32]) {
        let (numbers, _) = bytes.as_chunks::<2>();
        match self {
            Self::BF16 => {
                for (x, b) in out.iter_mut().zip(numbers) {
                    *x = bf16::from_le_bytes(*b).to_f32();
                }
            }
            Self::F16 => {
                // SAFETY: every pattern of sixteen bits is an f16.
                let (before, whole, _) = unsafe { bytes.align_to::<f16>() };
                let len = out.len();
                if cfg!(target_endian = "little") && before.is_empty() && whole.len() == len {
                    whole.convert_to_f32_slice(out);
                    return;
                }
                for (x, b) in out.iter_mut().zip(numbers) {
                    *x = f16::from_le_bytes(*b).to_f32();
                }
            }
        }
    }
}

/// Numbers of a float type, little-endian, in float32: as they lie where they can be, else in `floats`.
fn in_float32<'s>(bytes: &'s [u8], dtype: Dtype, floats: &'s mut Vec<f32>) -> &'s [f32] {
    let half = match dtype {
        Dtype::F16 => Some(Half::F16),
        Dtype::BF16 => Some(Half::BF16),
        _ => None,
    };
    let Some(half) = half else {
        // SAFETY: every pattern of 32 bits is an f32.
        let (before, whole, after) = unsafe { bytes.align_to::<f32>() };
        if cfg!(target_endian = "little") && before.is_empty() && after.is_empty() {
            return whole;
        }
        let (numbers, _) = bytes.as_chunks::<4>();
        floats.clear();
        floats.extend(numbers.iter().map(|b| f32::from_le_bytes(*b)));
        return floats;
    };
    let len = bytes.len() / 2;
    floats.resize(floats.len().max(len), 0.0);
    half.widen(bytes, &mut floats[..len]);
    &floats[..len]
}

/// An empty vector with room for `len` numbers.
pub(super) fn reserved<T>(len: usize) -> Result<Vec<T>, String> {
    let mut all = Vec::new();
    all.try_reserve_exact(len).map_err(|_| format!("has {len} numbers, too many for memory"))?;
    Ok(all)
}

/// Rows that a layer is made of.
#[derive(Debug)]
pub enum Matrix<'a> {
    /// Computed from a checkpoint's.
    Values(Cow<'a, [f32]>),
    /// The tensors' rows, those of one behind those of the other. All are equally wide.
    Tensors(Vec<Tensor<'a>>),
}

impl From<Vec<f32>> for Matrix<'_> {
    fn from(values: Vec<f32>) -> Self {
        Self::Values(values.into())
    }
}

impl Matrix<'_> {
    /// All numbers, in float32.
    pub fn whole(&self) -> Result<Cow<'_, [f32]>> {
        match self {
            Self::Values(values) => Ok(Cow::Borrowed(values)),
            Self::Tensors(tensors) => match &tensors[..] {
                [one] => one.whole().map(Cow::Owned),
                several => {
                    let parts = several.iter().map(Tensor::whole).collect::<Result<Vec<_>>>()?;
                    Ok(Cow::Owned(parts.concat()))
                }
            },
        }
    }

    /// Hands over all rows in float32.
    pub(super) fn floats(&self, take: TakeFloats<'_>) -> Result<()> {
        match self {
            Self::Values(values) => take(0, values),
            Self::Tensors(tensors) => {
                let mut start = 0;
                for tensor in tensors {
                    tensor.floats(&mut |first, rows| take(start + first, rows))?;
                    start += tensor.rows();
                }
                Ok(())
            }
        }
    }

    /// Hands over all rows, `width` numbers each, in eight bits.
    pub(super) fn int8(&self, width: usize, take: TakeInt8<'_>) -> Result<()> {
        match self {
            Self::Values(values) => {
                let rows = values.len() / width.max(1);
                let (mut numbers, mut scales) = (vec![0; values.len()], vec![0.0; rows]);
                quantize_rows(values, &mut numbers, &mut scales)?;
                take(0, &numbers, &scales)
            }
            Self::Tensors(tensors) => {
                let mut start = 0;
                for tensor in tensors {
                    tensor.int8(&mut |first, rows, scales| take(start + first, rows, scales))?;
                    start += tensor.rows();
                }
                Ok(())
            }
        }
    }
}
