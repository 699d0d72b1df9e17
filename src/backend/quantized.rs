//! Checkpoints whose weights were quantized once and stored: a safetensors file in which a matrix `name` of
//! eight bits, (rows, width) from -127 to 127, stands beside `name.scale`, (rows,) in float32. A number is what
//! stands there times its row's scale. Everything else is as in the checkpoint that it was made from.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

use super::weights::Weights;
use crate::error::Result;
use crate::hub::Checkpoint;

/// Bytes of a tensor that are copied at a time.
const PIECE: usize = 256 << 10;

/// The member of a header that is no tensor.
const METADATA: &str = "__metadata__";

/// In the header, under these names: what the file is, the version of this description, and the digest of the
/// model that it was made from.
pub const FORMAT: (&str, &str) = ("legato.format", "int8");
pub const VERSION: (&str, &str) = ("legato.version", "1");
pub const SOURCE: &str = "legato.source";

/// Why such a matrix has no numbers in float32.
pub(super) const NO_FLOATS: &str = "is stored in eight bits by `legato quantize`; load the model with dtype int8, or its source for another one";

/// The name of the scales of a matrix.
#[must_use]
pub fn scale_name(name: &str) -> String {
    format!("{name}.scale")
}

/// Whether a file is of this format, in a version that is read.
#[must_use]
pub fn is_written(checkpoint: &Checkpoint) -> bool {
    let says = |(key, value): (&str, &str)| {
        checkpoint.metadata().is_some_and(|all| all.get(key).is_some_and(|found| found == value))
    };
    says(FORMAT) && says(VERSION)
}

/// The scales of a matrix.
pub(super) fn scales<'c>(
    checkpoint: &'c Checkpoint,
    name: &str,
    matrix: &TensorInfo,
) -> Result<&'c TensorInfo, String> {
    let &[rows, _] = &matrix.shape[..] else {
        return Err("is stored in eight bits and no matrix; quantize the model again".to_owned());
    };
    let scales = checkpoint.tensor(&scale_name(name));
    let scales = scales.ok_or("has no scales; quantize the model again")?;
    if scales.dtype != Dtype::F32 || scales.shape != [rows] {
        return Err(format!("has scales that are not {rows} of float32; quantize the model again"));
    }
    Ok(scales)
}

/// What one tensor of the new file is made of.
enum Part<'n> {
    Copy(&'n str),
    Numbers(&'n str),
    Scales(&'n str),
}

/// Writes the checkpoint `weights` with these `matrices` in eight bits, and the digest of the model that it is of.
/// The same checkpoint gives the same bytes. `failed` says what a failure to write means.
pub fn write(
    weights: &Weights<'_>,
    matrices: &BTreeSet<String>,
    source: &str,
    to: &mut dyn Write,
    failed: impl Fn(&io::Error) -> crate::error::Error,
) -> Result<()> {
    let names = weights.checkpoint().names();
    let parts = parts(weights, &names, matrices)?;
    let header = header(weights.checkpoint(), &parts, source);
    let length = (header.len() as u64).to_le_bytes();
    to.write_all(&length).and_then(|()| to.write_all(&header)).map_err(|e| failed(&e))?;
    for (_, part, _) in &parts {
        let mut put = |bytes: &[u8]| to.write_all(bytes).map_err(|e| failed(&e));
        match part {
            Part::Copy(name) => copy(weights, name, &mut put)?,
            Part::Numbers(name) => matrix(weights, name, &mut |numbers, _| {
                let bytes: Vec<u8> = numbers.iter().map(|number| number.cast_unsigned()).collect();
                put(&bytes)
            })?,
            Part::Scales(name) => matrix(weights, name, &mut |_, scales| {
                let bytes: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
                put(&bytes)
            })?,
        }
    }
    Ok(())
}

/// The tensors of the new file, with what they are, the widest types first: so all of them are aligned.
fn parts<'n>(
    weights: &Weights<'_>,
    names: &'n [String],
    matrices: &BTreeSet<String>,
) -> Result<Vec<(String, Part<'n>, TensorInfo)>> {
    let checkpoint = weights.checkpoint();
    let mut parts = Vec::with_capacity(names.len() + matrices.len());
    for name in names {
        let Some(info) = checkpoint.tensor(name) else { continue };
        let part = |dtype: Dtype, shape: &[usize]| TensorInfo {
            dtype,
            shape: shape.to_vec(),
            data_offsets: (0, 0),
        };
        if !matrices.contains(name) {
            parts.push((name.clone(), Part::Copy(name), part(info.dtype, &info.shape)));
            continue;
        }
        let scales = scale_name(name);
        if checkpoint.tensor(&scales).is_some() {
            return Err(weights.bad(format!("tensor {scales} stands where a scale would")));
        }
        let rows = &info.shape[..info.shape.len().min(1)];
        parts.push((name.clone(), Part::Numbers(name), part(Dtype::I8, &info.shape)));
        parts.push((scales, Part::Scales(name), part(Dtype::F32, rows)));
    }
    parts.sort_by_key(|(_, _, info)| Reverse(info.dtype.bitsize()));
    let mut end = 0;
    for (_, _, info) in &mut parts {
        let start = end;
        end += info.shape.iter().product::<usize>() * info.dtype.bitsize() / 8;
        info.data_offsets = (start, end);
    }
    Ok(parts)
}

fn header(
    checkpoint: &Checkpoint,
    parts: &[(String, Part<'_>, TensorInfo)],
    source: &str,
) -> Vec<u8> {
    // Sorted: a hash map's order would differ from run to run, and the digest with it.
    let mut said: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, value) in checkpoint.metadata().into_iter().flatten() {
        said.insert(key, value);
    }
    said.extend([FORMAT, VERSION, (SOURCE, source)]);
    let said: Map<String, Value> =
        said.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let mut all = Map::from_iter([(METADATA.to_owned(), Value::Object(said))]);
    for (name, _, info) in parts {
        let (start, end) = info.data_offsets;
        let tensor = serde_json::json!({
            "dtype": info.dtype, "shape": info.shape, "data_offsets": [start, end],
        });
        all.insert(name.clone(), tensor);
    }
    let mut header = Value::Object(all).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}

fn copy(weights: &Weights<'_>, name: &str, put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let checkpoint = weights.checkpoint();
    let Some(info) = checkpoint.tensor(name) else { return Ok(()) };
    let (len, mut scratch) = (info.data_offsets.1 - info.data_offsets.0, Vec::new());
    for start in (0..len).step_by(PIECE) {
        let bytes = checkpoint.read(info, start..(start + PIECE).min(len), &mut scratch);
        put(bytes.map_err(|reason| weights.bad(format!("model.safetensors {reason}")))?)?;
    }
    Ok(())
}

fn matrix(
    weights: &Weights<'_>,
    name: &str,
    put: &mut impl FnMut(&[i8], &[f32]) -> Result<()>,
) -> Result<()> {
    let Some(info) = weights.checkpoint().tensor(name) else { return Ok(()) };
    let tensor = weights.tensor(&[name], &info.shape)?;
    tensor.int8(&mut |_, numbers, scales| put(numbers, scales))
}
