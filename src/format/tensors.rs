use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors, View};

use crate::error::{Error, Result};

/// One named array of a safetensors file: row-major, little-endian.
#[derive(Debug, Clone)]
pub struct Tensor<'data> {
    /// numpy's name of the element type.
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub data: Cow<'data, [u8]>,
}

/// safetensors' type, numpy's name.
const DTYPES: [(Dtype, &str); 12] = [
    (Dtype::BOOL, "bool"),
    (Dtype::U8, "uint8"),
    (Dtype::I8, "int8"),
    (Dtype::U16, "uint16"),
    (Dtype::I16, "int16"),
    (Dtype::U32, "uint32"),
    (Dtype::I32, "int32"),
    (Dtype::U64, "uint64"),
    (Dtype::I64, "int64"),
    (Dtype::F16, "float16"),
    (Dtype::F32, "float32"),
    (Dtype::F64, "float64"),
];

/// The member of a header that is no array.
const METADATA: &str = "__metadata__";
/// Most dimensions that every numpy takes.
const DIMENSIONS: usize = 32;

impl Tensor<'_> {
    /// The static form of a dtype's name, if safetensors has that type.
    pub fn dtype_named(name: &str) -> Result<&'static str> {
        DTYPES.iter().map(|(_, known)| *known).find(|known| *known == name).ok_or_else(|| {
            Error::input(format!("arrays of dtype {name} cannot be stored; convert them first"))
        })
    }
}

impl View for &Tensor<'_> {
    fn dtype(&self) -> Dtype {
        DTYPES.iter().find(|(_, name)| *name == self.dtype).map_or(Dtype::U8, |(dtype, _)| *dtype)
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// Writes named arrays and string metadata; the same input gives the same bytes.
pub fn write_tensors(
    tensors: &[(&str, Tensor<'_>)],
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::input(format!("arrays cannot be written as safetensors ({e})"))
    };
    if tensors.iter().any(|(name, _)| *name == METADATA) {
        return Err(Error::input(format!(
            "no array can be called {METADATA}, which safetensors reserves; rename it"
        )));
    }
    let views = tensors.iter().map(|(name, tensor)| (*name, tensor));
    let mut data = safetensors::serialize(views, metadata).map_err(|e| failed(&e))?;
    sort_header(&mut data).map_err(|e| failed(&e))?;
    Ok(data)
}

/// The members of a header, in order.
type Sorted = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

/// The crate writes metadata in the order of a hash map, another one each time: sorts it in place.
fn sort_header(data: &mut [u8]) -> Result<(), serde_json::Error> {
    let length = data.first_chunk::<8>().map_or(0, |n| u64::from_le_bytes(*n));
    let header = usize::try_from(length).ok().and_then(|length| data.get_mut(8..8 + length));
    let Some(header) = header else { return Ok(()) };
    let sorted = serde_json::to_vec(&serde_json::from_slice::<Sorted>(header)?)?;
    // The same members in another order: as long as before, and the padding after it stays.
    if let Some(place) = header.get_mut(..sorted.len()) {
        place.copy_from_slice(&sorted);
    }
    Ok(())
}

/// Where an array lies in a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// numpy's name of the element type.
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub range: Range<usize>,
}

/// The arrays of a safetensors file, and its metadata.
pub type Header = (Vec<Entry>, HashMap<String, String>);

/// Reads the header of a safetensors file and checks it against the file's length.
pub fn header(data: &[u8]) -> Result<Header> {
    let bad = |e| Error::input(format!("a safetensors object cannot be read ({e}); make it again"));
    SafeTensors::deserialize(data).map_err(bad)?;
    let (length, metadata): (usize, Metadata) = SafeTensors::read_metadata(data).map_err(bad)?;
    let mut tensors = Vec::new();
    for name in metadata.offset_keys() {
        let Some(TensorInfo { dtype, shape, data_offsets: (start, end) }) = metadata.info(&name)
        else {
            continue;
        };
        let known = DTYPES.iter().find(|(known, _)| known == dtype).map(|(_, name)| *name);
        let known = known.ok_or_else(|| {
            Error::input(format!(
                "tensor {} has dtype {dtype}, which numpy lacks",
                name.escape_debug()
            ))
        })?;
        // The crate counts elements; numpy counts dimensions too, and strides also of empty arrays.
        let bytes = shape.iter().try_fold(8usize, |bytes, &n| bytes.checked_mul(n.max(1)));
        if shape.len() > DIMENSIONS || bytes.is_none_or(|n| isize::try_from(n).is_err()) {
            return Err(Error::input(format!(
                "tensor {} has {} dimensions or a size that numpy lacks",
                name.escape_debug(),
                shape.len()
            )));
        }
        let at = 8 + length;
        tensors.push(Entry {
            name,
            dtype: known,
            shape: shape.clone(),
            range: at + start..at + end,
        });
    }
    Ok((tensors, metadata.metadata().clone().unwrap_or_default()))
}
