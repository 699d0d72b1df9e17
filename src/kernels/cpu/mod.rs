//! Kernels over plain slices.

mod aligned;
mod epilogue;
mod f32;
mod isa;
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod tile;
mod view;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use epilogue::Epilogue;
pub use f32::{PANEL, PackedF32, matmul, matmul_columns};
pub use isa::Isa;
pub use view::{Rows, RowsMut, padded};
