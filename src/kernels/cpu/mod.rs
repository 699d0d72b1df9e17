//! Kernels over plain slices.

mod aligned;
mod attention;
mod elementwise;
mod epilogue;
mod f32;
mod i8;
mod isa;
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_i8;
mod norm;
mod quantize;
mod tile;
mod tile_i8;
mod view;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_i8;

pub use attention::{Attention, Workspace};
pub use elementwise::{gated, gated_on, rotate, rotate_on};
pub use epilogue::Epilogue;
pub use f32::{PANEL, PackedF32, matmul, matmul_columns};
pub use i8::{PackedI8, matmul_i8, matmul_i8_columns};
pub use isa::Isa;
pub use norm::{
    Norm, add_norm, embed_norm, embed_norm_on, norm, norm_in_place, norm_in_place_on, norm_on,
};
pub use quantize::Quantized;
pub use view::{Rows, RowsMut, padded};
