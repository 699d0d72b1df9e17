//! Kernels over plain slices, in float32 and in eight bits, for the best instruction set that the processor has.
//!
//! Matrices are [`Rows`] and [`RowsMut`]: slices with a row stride of the caller's. Weights are packed once
//! ([`PackedF32`], [`PackedI8`]); an input in eight bits is [`Quantized`] once and used by several products.
//! All run on the calling thread and take no memory but what [`Quantized`] and [`Workspace`] keep: threads share
//! work by panels of columns (`matmul_columns`), by rows ([`Rows::range`], [`RowsMut::split_rows`]) or by heads
//! ([`Rows::columns`], [`RowsMut::split_columns`]). A row's result depends neither on the rows beside it nor on how
//! work is shared. Functions whose names end in `_on`, and those that take an [`Isa`], run on a chosen set.
//!
//! Shapes that do not fit are defects of the caller: typed errors, found before anything is written.

mod aligned;
mod arena;
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

pub use arena::Arena;
pub use attention::{Attention, Relative, Workspace};
pub use elementwise::{gated, gated_on, rotate, rotate_on};
pub use epilogue::Epilogue;
pub use f32::{PANEL, PackedF32, matmul, matmul_columns};
pub use i8::{PackedI8, matmul_i8, matmul_i8_columns, quantize_rows};
pub use isa::Isa;
pub use norm::{
    Norm, add_norm, embed_norm, embed_norm_on, norm, norm_in_place, norm_in_place_on, norm_on,
};
pub use quantize::Quantized;
pub use view::{Rows, RowsMut, padded};
