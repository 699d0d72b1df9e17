//! Vectors of f32, as the matrix kernels need them.

/// The vectors of one instruction set.
///
/// All methods are unsafe for one reason: the processor must have the instruction set. Pointers must be valid
/// for `WIDTH` numbers; no alignment is asked for.
pub(super) trait Lanes: Copy {
    type F32: Copy;
    /// Numbers in a vector.
    const WIDTH: usize;
    /// Rows of a tile, and vectors in each, at most three: their sums and operands fit the registers.
    const TILE_ROWS: usize;
    const TILE_VECTORS: usize;

    unsafe fn zero() -> Self::F32;
    unsafe fn load(from: *const f32) -> Self::F32;
    unsafe fn store(value: Self::F32, to: *mut f32);
    /// One number in all lanes.
    unsafe fn splat(from: *const f32) -> Self::F32;
    /// `a * b + c`
    unsafe fn mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// Asks for the cache line of `from`, which need not be valid, in the second-level cache.
    unsafe fn prefetch(from: *const f32);
    /// Transposes a square of eight rows of eight numbers; strides count numbers.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        for row in 0..8 {
            for column in 0..8 {
                // SAFETY: the caller's squares are valid.
                unsafe { *to.add(column * to_stride + row) = *from.add(row * stride + column) };
            }
        }
    }
    /// [`super::tile::product`], compiled for this instruction set once, not at each of its callers.
    unsafe fn product(of: &super::tile::Product);
}

/// For any processor: arrays, which the compiler maps to what the target has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Lanes for Portable {
    type F32 = [f32; 4];
    const WIDTH: usize = 4;
    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self::F32 {
        [0.0; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F32 {
        // SAFETY: the caller's pointer is valid for four numbers; an array of f32 needs no more alignment.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(value: Self::F32, to: *mut f32) {
        // SAFETY: as in `load`.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(value) };
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self::F32 {
        // SAFETY: the caller's pointer is valid for one number.
        [unsafe { *from }; 4]
    }

    // Two roundings: the fused form is a call where the target has no instruction for it.
    #[inline(always)]
    unsafe fn mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn prefetch(_from: *const f32) {}

    unsafe fn product(of: &super::tile::Product) {
        // SAFETY: the caller's contract is the same.
        unsafe { super::tile::product::<Self>(of) };
    }
}
