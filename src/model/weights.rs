use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use crate::error::{Error, Result};

/// The tensors of a checkpoint by their own names, checked against the shapes that the config implies.
pub(super) struct Weights<'data> {
    origin: String,
    tensors: SafeTensors<'data>,
    device: Device,
    dtype: DType,
}

impl<'data> Weights<'data> {
    pub(super) fn parse(
        origin: &str,
        data: &'data [u8],
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let tensors = SafeTensors::deserialize(data)
            .map_err(|e| Error::model(origin, format!("model.safetensors is damaged ({e})")))?;
        Ok(Self { origin: origin.to_owned(), tensors, device: device.clone(), dtype })
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// The first of `prefixes` under which there is a tensor `name`.
    pub(super) fn prefix<'p>(&self, prefixes: &[&'p str], name: &str) -> Option<&'p str> {
        prefixes.iter().copied().find(|p| self.tensors.tensor(&format!("{p}{name}")).is_ok())
    }

    /// The tensor called by one of `names`, in the engine's dtype, on its device.
    pub(super) fn get(&self, names: &[&str], shape: &[usize]) -> Result<Tensor> {
        let bad = |reason: String| Error::model(&self.origin, reason);
        let (name, view) = names
            .iter()
            .find_map(|name| Some((*name, self.tensors.tensor(name).ok()?)))
            .ok_or_else(|| {
                bad(format!("weights have no tensor {}; copy the whole model", names.join(" or ")))
            })?;
        if view.shape() != shape {
            return Err(bad(format!(
                "tensor {name} has shape {:?}, config.json implies {shape:?}",
                view.shape()
            )));
        }
        let dtype = match view.dtype() {
            safetensors::Dtype::F32 => DType::F32,
            safetensors::Dtype::F16 => DType::F16,
            safetensors::Dtype::BF16 => DType::BF16,
            other => {
                return Err(bad(format!(
                    "tensor {name} has dtype {other}; F32, F16 and BF16 are supported"
                )));
            }
        };
        let load = || -> candle_core::Result<(Tensor, f32)> {
            let tensor = Tensor::from_raw_buffer(view.data(), dtype, shape, &Device::Cpu)?;
            let total = tensor.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
            Ok((tensor.to_dtype(self.dtype)?.to_device(&self.device)?, total))
        };
        let (tensor, total) = load().map_err(|e| bad(format!("tensor {name}: {e}")))?;
        // One NaN or infinity anywhere makes the sum one.
        if !total.is_finite() {
            return Err(bad(format!("tensor {name} holds values that are not finite")));
        }
        Ok(tensor)
    }
}
