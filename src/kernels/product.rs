//! The only place that names `gemm`.

/// A matrix that lies in rows of `stride` numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) stride: usize,
    /// Read as `(columns, rows)`.
    pub(super) transposed: bool,
}

/// The same, to be written.
#[derive(Debug)]
pub(super) struct ViewMut<'a> {
    pub(super) data: &'a mut [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) stride: usize,
}

fn covered(rows: usize, columns: usize, stride: usize, len: usize) -> bool {
    columns <= stride && (rows == 0 || (rows - 1) * stride + columns <= len)
}

/// `out = a b`, or `out += a b`. On the calling thread: batches are what runs in parallel.
///
/// # Panics
/// Where a view is larger than its slice, or the shapes do not fit: a defect of the caller.
pub(super) fn product(out: ViewMut<'_>, a: View<'_>, b: View<'_>, accumulate: bool) {
    let ViewMut { data, rows, columns, stride } = out;
    let (a_rows, inner, a_row, a_column) = oriented(&a);
    let (b_rows, b_columns, b_row, b_column) = oriented(&b);
    let fit = (a_rows, inner, b_columns) == (rows, b_rows, columns);
    assert!(fit, "shapes of a product");
    assert!(covered(a.rows, a.columns, a.stride, a.data.len()), "left side of a product");
    assert!(covered(b.rows, b.columns, b.stride, b.data.len()), "right side of a product");
    assert!(covered(rows, columns, stride, data.len()), "result of a product");
    if rows == 0 || columns == 0 {
        return;
    }
    // SAFETY: each view was checked to lie within its slice, and `out` is borrowed mutably, so it
    // overlaps neither side; strides are those of the views.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            data.as_mut_ptr(),
            1,
            stride.cast_signed(),
            accumulate,
            a.data.as_ptr(),
            a_column,
            a_row,
            b.data.as_ptr(),
            b_column,
            b_row,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Rows, columns, and the distances between them.
fn oriented(view: &View<'_>) -> (usize, usize, isize, isize) {
    let stride = view.stride.cast_signed();
    if view.transposed {
        (view.columns, view.rows, 1, stride)
    } else {
        (view.rows, view.columns, stride, 1)
    }
}
