use std::borrow::Cow;

use candle_core::DType;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};

/// The tensors of a checkpoint by their own names, checked against the shapes that the config implies.
#[derive(Debug)]
pub struct Weights<'data> {
    origin: String,
    tensors: SafeTensors<'data>,
}

impl<'data> Weights<'data> {
    /// Reads the header of a safetensors file.
    pub fn parse(origin: &str, data: &'data [u8]) -> Result<Self> {
        let tensors = SafeTensors::deserialize(data)
            .map_err(|e| Error::model(origin, format!("model.safetensors is damaged ({e})")))?;
        Ok(Self { origin: origin.to_owned(), tensors })
    }

    /// Where the model came from, for messages.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// The numbers of the tensor called by one of `names`, all finite, in float32.
    pub fn get(&self, names: &[&str], shape: &[usize]) -> Result<Cow<'data, [f32]>> {
        let (name, view) = self.find(names)?;
        if view.shape() != shape {
            return Err(self.bad(format!(
                "tensor {name} has shape {:?}, config.json implies {shape:?}",
                view.shape()
            )));
        }
        let values = self.floats(name, &view)?;
        // No early end: the loop becomes vector code.
        if values.iter().fold(false, |bad, x| bad | !x.is_finite()) {
            return Err(self.bad(format!("tensor {name} holds values that are not finite")));
        }
        Ok(values)
    }

    /// An [`Error::Model`] about this checkpoint.
    pub fn bad(&self, reason: impl Into<String>) -> Error {
        Error::model(&self.origin, reason)
    }

    fn find<'n>(&self, names: &[&'n str]) -> Result<(&'n str, TensorView<'data>)> {
        names.iter().find_map(|name| Some((*name, self.tensors.tensor(name).ok()?))).ok_or_else(
            || {
                let names = names.join(" or ");
                self.bad(format!("weights have no tensor {names}; copy the whole model"))
            },
        )
    }

    fn floats(&self, name: &str, view: &TensorView<'data>) -> Result<Cow<'data, [f32]>> {
        let data = view.data();
        match view.dtype() {
            Dtype::F32 => {
                // SAFETY: every pattern of 32 bits is an f32.
                let (before, whole, after) = unsafe { data.align_to::<f32>() };
                if cfg!(target_endian = "little") && before.is_empty() && after.is_empty() {
                    return Ok(Cow::Borrowed(whole));
                }
                let (numbers, _) = data.as_chunks::<4>();
                Ok(Cow::Owned(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect()))
            }
            Dtype::F16 => self.converted(name, data, DType::F16),
            Dtype::BF16 => self.converted(name, data, DType::BF16),
            other => Err(self
                .bad(format!("tensor {name} has dtype {other}; F32, F16 and BF16 are supported"))),
        }
    }

    fn converted(&self, name: &str, data: &[u8], dtype: DType) -> Result<Cow<'data, [f32]>> {
        let count = data.len() / dtype.size_in_bytes();
        candle_core::Tensor::from_raw_buffer(data, dtype, &[count], &candle_core::Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(DType::F32)?.to_vec1())
            .map(Cow::Owned)
            .map_err(|e| self.bad(format!("tensor {name}: {e}")))
    }
}
