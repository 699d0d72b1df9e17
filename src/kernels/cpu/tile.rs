//! The product of some rows and one panel of columns, in tiles that stay in registers.

use super::lanes::Lanes;

/// `c = a b` or `c += a b`, for `a` (rows, depth), `b` (depth, columns) and `c` (rows, columns), row-major with
/// strides counted in numbers. `columns` is a multiple of the vector's width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) a: *const f32,
    pub(super) a_stride: usize,
    pub(super) b: *const f32,
    pub(super) b_stride: usize,
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    /// Add to what `c` holds.
    pub(super) add: bool,
    /// What will be read next, `prefetch_lines` cache lines from here: asked for meanwhile.
    pub(super) prefetch: *const f32,
    pub(super) prefetch_lines: usize,
}

/// # Safety
/// The processor has the instruction set, and the three matrices lie in memory that is valid for it (`c` for
/// writing, by nobody else).
#[inline(always)]
pub(super) unsafe fn product<L: Lanes>(of: &Product) {
    let tiles = of.rows.div_ceil(L::TILE_ROWS);
    let lines = if tiles == 0 { 0 } else { of.prefetch_lines.div_ceil(tiles) };
    let mut row = 0;
    for tile in 0..tiles {
        // Even tiles: one row alone would wait for its own sums.
        let rows = (of.rows - row).div_ceil(tiles - tile);
        // SAFETY: `row + rows <= of.rows`; the prefetched address is not read.
        unsafe {
            let part = Product {
                rows,
                a: of.a.add(row * of.a_stride),
                c: of.c.add(row * of.c_stride),
                prefetch: of.prefetch.wrapping_add(tile * lines * 16),
                prefetch_lines: lines,
                ..*of
            };
            row_of_tiles::<L>(&part);
        }
        row += rows;
    }
}

#[inline(always)]
unsafe fn row_of_tiles<L: Lanes>(of: &Product) {
    let mut part = *of;
    let mut column = 0;
    while column < of.columns {
        let vectors = ((of.columns - column) / L::WIDTH).clamp(1, L::TILE_VECTORS);
        // SAFETY: `column` is below `of.columns`, which is a multiple of the width.
        unsafe {
            part.b = of.b.add(column);
            part.c = of.c.add(column);
            match vectors {
                1 => by_rows::<L, 1>(&part),
                2 => by_rows::<L, 2>(&part),
                _ if L::TILE_VECTORS >= 3 => by_rows::<L, 3>(&part),
                _ => {}
            }
        }
        part.prefetch_lines = 0;
        column += vectors * L::WIDTH;
    }
}

#[inline(always)]
unsafe fn by_rows<L: Lanes, const VECTORS: usize>(of: &Product) {
    // SAFETY: the caller's. A tile has at most `L::TILE_ROWS` rows, so the arms above that are never compiled.
    unsafe {
        match of.rows {
            1 => tile::<L, 1, VECTORS>(of),
            2 => tile::<L, 2, VECTORS>(of),
            3 => tile::<L, 3, VECTORS>(of),
            4 => tile::<L, 4, VECTORS>(of),
            5 if L::TILE_ROWS >= 5 => tile::<L, 5, VECTORS>(of),
            6 if L::TILE_ROWS >= 6 => tile::<L, 6, VECTORS>(of),
            7 if L::TILE_ROWS >= 7 => tile::<L, 7, VECTORS>(of),
            _ if L::TILE_ROWS >= 8 => tile::<L, 8, VECTORS>(of),
            _ => {}
        }
    }
}

/// Every sum is one chain over the depth, whatever the tile's shape: a row's result never depends on the
/// rows beside it.
#[inline(always)]
unsafe fn tile<L: Lanes, const ROWS: usize, const VECTORS: usize>(of: &Product) {
    // SAFETY: `of.rows` is ROWS, and VECTORS vectors of columns are valid.
    unsafe {
        let mut sums = [[L::zero(); VECTORS]; ROWS];
        if of.add {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(of.c.add(row * of.c_stride + v * L::WIDTH));
                }
            }
        }
        let (mut b, mut line) = (of.b, of.prefetch);
        let spread = of.prefetch_lines.div_ceil(of.depth.max(1));
        let mut lines = of.prefetch_lines;
        for k in 0..of.depth {
            let mut vectors = [L::zero(); VECTORS];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = L::load(b.add(v * L::WIDTH));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = L::splat(of.a.add(row * of.a_stride + k));
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = L::mul_add(a, vector, *sum);
                }
            }
            b = b.wrapping_add(of.b_stride);
            for _ in 0..spread.min(lines) {
                L::prefetch(line);
                line = line.wrapping_add(16);
                lines -= 1;
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                L::store(sum, of.c.add(row * of.c_stride + v * L::WIDTH));
            }
        }
    }
}
