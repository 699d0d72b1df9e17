//! `auto | cpu | cuda[:N] | metal` and a dtype name to candle's types. All `cfg` on accelerators is here.

use candle_core::{DType, Device};

use crate::error::{Error, Result};

/// Opens a device by name; `auto` takes an accelerator where this build and machine have one.
pub fn open(name: &str) -> Result<Device> {
    match name.split_once(':').unwrap_or((name, "0")) {
        ("auto", "0") => Ok(accelerator(0).unwrap_or(Device::Cpu)),
        ("cpu", "0") => Ok(Device::Cpu),
        ("cuda", index) => {
            let index = index.parse().map_err(|_| Error::Device {
                device: name.to_owned(),
                reason: "the number after 'cuda:' is not a device index; write for example cuda:0"
                    .to_owned(),
            })?;
            cuda(index)
        }
        ("metal", "0") => metal(),
        _ => Err(Error::Device {
            device: name.to_owned(),
            reason: "it is not known; use auto, cpu, cuda, cuda:N or metal".to_owned(),
        }),
    }
}

/// What a model's products are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Float(DType),
    /// Eight bits: a scale for each output of a weight, and for each token of what it is multiplied with.
    Int8,
}

impl Precision {
    /// The name that [`dtype`] takes for this.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Float(DType::F16) => "float16",
            Self::Float(DType::BF16) => "bfloat16",
            Self::Float(_) => "float32",
        }
    }
}

/// Reads a dtype name; `device` must compute in it.
pub fn dtype(name: &str, device: &Device) -> Result<Precision> {
    match (name, device) {
        ("float32", _) => Ok(Precision::Float(DType::F32)),
        ("int8", Device::Cpu) => Ok(Precision::Int8),
        ("int8", _) => Err(no_int8(device)),
        ("float16" | "bfloat16", Device::Cpu) => Err(Error::Device {
            device: "cpu".to_owned(),
            reason: format!("it does not compute in {name}; use float32 or int8"),
        }),
        ("float16", _) => Ok(Precision::Float(DType::F16)),
        ("bfloat16", _) => Ok(Precision::Float(DType::BF16)),
        _ => Err(Error::Device {
            device: label(device),
            reason: format!("dtype '{name}' is not known; use float32, float16, bfloat16 or int8"),
        }),
    }
}

/// What to answer where int8 is asked of a device that has no kernels for it.
#[must_use]
pub fn no_int8(device: &Device) -> Error {
    Error::Device {
        device: label(device),
        reason: "it does not compute in int8; use device cpu, or float32".to_owned(),
    }
}

/// The name that [`open`] takes for this device.
#[must_use]
pub fn label(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { .. } => "metal".to_owned(),
    }
}

#[cfg(any(feature = "cuda", feature = "metal"))]
fn accelerator(index: usize) -> Option<Device> {
    cuda(index).or_else(|_| metal()).ok()
}

#[cfg(not(any(feature = "cuda", feature = "metal")))]
fn accelerator(_index: usize) -> Option<Device> {
    None
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device> {
    Device::new_cuda(index).map_err(|e| Error::Device {
        device: format!("cuda:{index}"),
        reason: format!("it cannot be opened ({e}); check the driver with nvidia-smi"),
    })
}

#[cfg(not(feature = "cuda"))]
fn cuda(index: usize) -> Result<Device> {
    Err(Error::Device {
        device: format!("cuda:{index}"),
        reason: "this build has no CUDA; use cpu, or build with --features cuda".to_owned(),
    })
}

#[cfg(feature = "metal")]
fn metal() -> Result<Device> {
    Device::new_metal(0).map_err(|e| Error::Device {
        device: "metal".to_owned(),
        reason: format!("it cannot be opened ({e})"),
    })
}

#[cfg(not(feature = "metal"))]
fn metal() -> Result<Device> {
    Err(Error::Device {
        device: "metal".to_owned(),
        reason: "this build has no Metal; use cpu, or build with --features metal".to_owned(),
    })
}
