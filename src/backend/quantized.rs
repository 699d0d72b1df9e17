//! Checkpoints whose weights were quantized once and stored: a safetensors file in which a matrix `name` of
//! eight bits, (rows, width) from -127 to 127, stands beside `name.scale`, (rows,) in float32. A number is what
//! stands there times its row's scale. Everything else is as in the checkpoint that it was made from.

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use crate::hub::Checkpoint;

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
