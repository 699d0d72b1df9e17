use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::error::{Error, Result};

/// One named array of a safetensors file: row-major, little-endian.
#[derive(Debug, Clone)]
pub struct Tensor<'data> {
    /// numpy's name of the element type.
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    /// As many bytes as the shape has.
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

/// How a file begins, and in which order its arrays follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The length of the header, and the header.
    pub head: Vec<u8>,
    /// Indices of the arrays: those of wide elements first, so that all lie aligned.
    pub order: Vec<usize>,
}

impl Layout {
    /// Of arrays with name, numpy's name of the element type, and shape; the same input gives the same bytes.
    pub fn new(
        arrays: &[(&str, &str, &[usize])],
        metadata: Option<HashMap<String, String>>,
    ) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| {
            Error::input(format!("arrays cannot be written as safetensors ({e})"))
        };
        let mut sorted = Vec::with_capacity(arrays.len());
        for (index, &(name, dtype, shape)) in arrays.iter().enumerate() {
            if name == METADATA {
                return Err(Error::input(format!(
                    "no array can be called {METADATA}, which safetensors reserves; rename it"
                )));
            }
            sorted.push((dtype_of(dtype)?, name, shape, index));
        }
        sorted.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let (mut infos, mut offset) = (Vec::with_capacity(sorted.len()), 0usize);
        for &(dtype, name, shape, _) in &sorted {
            let bytes = shape.iter().try_fold(dtype.bitsize() / 8, |n, &size| n.checked_mul(size));
            let end = bytes.and_then(|bytes| offset.checked_add(bytes));
            let end = end.ok_or_else(|| failed(&"they are too large"))?;
            let info = TensorInfo { dtype, shape: shape.to_vec(), data_offsets: (offset, end) };
            infos.push((name.to_owned(), info));
            offset = end;
        }
        let metadata = Metadata::new(metadata, infos).map_err(|e| failed(&e))?;
        let text = serde_json::to_vec(&metadata).map_err(|e| failed(&e))?;
        // The crate writes metadata in the order of a hash map, another one each time.
        let sorted_text: Sorted = serde_json::from_slice(&text).map_err(|e| failed(&e))?;
        let mut text = serde_json::to_vec(&sorted_text).map_err(|e| failed(&e))?;
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut head = (text.len() as u64).to_le_bytes().to_vec();
        head.append(&mut text);
        Ok(Self { head, order: sorted.into_iter().map(|entry| entry.3).collect() })
    }
}

fn dtype_of(name: &str) -> Result<Dtype> {
    DTYPES.iter().find(|entry| entry.1 == name).map(|entry| entry.0).ok_or_else(|| {
        Error::input(format!("arrays of dtype {name} cannot be stored; convert them first"))
    })
}

/// Writes named arrays and string metadata; the same input gives the same bytes.
pub fn write_tensors(
    tensors: &[(&str, Tensor<'_>)],
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let shapes: Vec<(&str, &str, &[usize])> =
        tensors.iter().map(|(name, t)| (*name, t.dtype, t.shape.as_slice())).collect();
    let Layout { head: mut data, order } = Layout::new(&shapes, metadata)?;
    data.reserve_exact(tensors.iter().map(|(_, tensor)| tensor.data.len()).sum());
    for index in order {
        data.extend_from_slice(&tensors[index].1.data);
    }
    header(&data)?;
    Ok(data)
}

/// The members of a header, in order.
type Sorted = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

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

/// Longest header; the format's own limit.
const HEAD_BYTES: usize = 100_000_000;

/// Length of the header with what says its length, from the first 8 bytes of a file of `total` bytes.
pub fn head_bytes(start: &[u8], total: usize) -> Result<usize> {
    let length = start.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    let length = length.and_then(|length| usize::try_from(length).ok());
    length.filter(|&n| n <= HEAD_BYTES && n + 8 <= total).map(|n| n + 8).ok_or_else(|| {
        Error::input("a safetensors object cannot be read (it has no header); make it again")
    })
}

/// Reads the header of a whole safetensors file.
pub fn header(data: &[u8]) -> Result<Header> {
    header_of(data, data.len())
}

/// Reads the header at the start of `data`, and checks it against the file's length.
pub fn header_of(data: &[u8], total: usize) -> Result<Header> {
    let bad = |e: &dyn std::fmt::Display| {
        Error::input(format!("a safetensors object cannot be read ({e}); make it again"))
    };
    let at = head_bytes(data, total)?;
    let text = data.get(8..at).ok_or_else(|| bad(&"its header is cut"))?;
    let metadata: Metadata = serde_json::from_slice(text).map_err(|e| bad(&e))?;
    if at.checked_add(metadata.data_len()) != Some(total) {
        return Err(bad(&"its length is not that of its arrays"));
    }
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
        tensors.push(Entry {
            name,
            dtype: known,
            shape: shape.clone(),
            range: at + start..at + end,
        });
    }
    Ok((tensors, metadata.metadata().clone().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use safetensors::{SafeTensors, View};

    impl View for &Tensor<'_> {
        fn dtype(&self) -> Dtype {
            dtype_of(self.dtype).unwrap()
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

    fn tensors() -> impl Strategy<Value = Vec<(String, Tensor<'static>)>> {
        let one = (0usize..DTYPES.len(), prop::collection::vec(0usize..5, 0..4), any::<u8>());
        prop::collection::btree_map("[a-zA-Z0-9_.\"é ]{1,9}", one, 0..6).prop_map(|named| {
            let tensor = |(kind, shape, fill): (usize, Vec<usize>, u8)| {
                let bytes = shape.iter().product::<usize>() * DTYPES[kind].0.bitsize() / 8;
                Tensor { dtype: DTYPES[kind].1, shape, data: vec![fill; bytes].into() }
            };
            named.into_iter().map(|(name, one)| (name, tensor(one))).collect()
        })
    }

    proptest! {
        /// The crate's own writer is the reference.
        #[test]
        fn a_file_is_what_the_crate_writes(tensors in tensors()) {
            let views: Vec<(&str, Tensor)> =
                tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
            let data = write_tensors(&views, None).unwrap();
            let crates = safetensors::serialize(views.iter().map(|(n, t)| (*n, t)), None).unwrap();
            // The crate orders the members of a header otherwise, so only what follows it is the same bytes.
            let start = |file: &[u8]| head_bytes(file, file.len()).unwrap();
            prop_assert_eq!(&data[start(&data)..], &crates[start(&crates)..]);
            let (mut read, mut crates) = (header(&data).unwrap().0, header(&crates).unwrap().0);
            for entries in [&mut read, &mut crates] {
                // Of arrays without elements several start at one place.
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                let first = entries.iter().map(|entry| entry.range.start).min().unwrap_or(0);
                for entry in entries {
                    entry.range = entry.range.start - first..entry.range.end - first;
                }
            }
            prop_assert_eq!(&read, &crates);
            let (read, _) = header(&data).unwrap();
            for entry in read {
                let tensor = &tensors.iter().find(|(name, _)| *name == entry.name).unwrap().1;
                prop_assert_eq!(&data[entry.range], tensor.data.as_ref());
                prop_assert_eq!(entry.shape, tensor.shape.clone());
            }
        }

        #[test]
        fn damage_is_what_the_crate_calls_damage(tensors in tensors(), at in 0usize..600, bit in 0u8..8) {
            let views: Vec<(&str, Tensor)> =
                tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
            let mut data = write_tensors(&views, None).unwrap();
            let at = at % data.len();
            data[at] ^= 1 << bit;
            // What the crate refuses is refused.
            prop_assert!(SafeTensors::deserialize(&data).is_ok() || header(&data).is_err());
            data.truncate(at);
            prop_assert!(header(&data).is_err());
        }
    }
}
