/// `out += table[rows + offset]`, row by row; with `fresh`, `out =`.
pub fn gather_add(
    table: &[f32],
    width: usize,
    rows: &[u32],
    offset: usize,
    fresh: bool,
    out: &mut [f32],
) {
    for (out, &row) in out.chunks_exact_mut(width).zip(rows) {
        let from = &table[(row as usize + offset) * width..][..width];
        if fresh {
            out.copy_from_slice(from);
        } else {
            for (o, x) in out.iter_mut().zip(from) {
                *o += x;
            }
        }
    }
}

/// The mean of each text's rows: `x` (N, W), `out` (B, W).
#[allow(clippy::cast_precision_loss)] // exact to 2^24 tokens
pub fn mean(x: &[f32], width: usize, lengths: &[usize], out: &mut [f32]) {
    let mut rest = x;
    for (out, &length) in out.chunks_exact_mut(width).zip(lengths) {
        let (text, after) = rest.split_at(length * width);
        rest = after;
        out.fill(0.0);
        for row in text.chunks_exact(width) {
            for (o, x) in out.iter_mut().zip(row) {
                *o += x;
            }
        }
        for o in out {
            *o /= length as f32;
        }
    }
}

/// Each row with its neighbours in the same text, zeros beyond its ends: `x` (N, W), `out` (N, kernel W).
///
/// A convolution over tokens is a linear layer of that.
pub fn unfold(x: &[f32], width: usize, kernel: usize, lengths: &[usize], out: &mut [f32]) {
    let before = kernel / 2;
    let mut start = 0;
    for &length in lengths {
        for t in 0..length {
            let row = &mut out[(start + t) * kernel * width..][..kernel * width];
            for (k, part) in row.chunks_exact_mut(width).enumerate() {
                match (t + k).checked_sub(before).filter(|&from| from < length) {
                    Some(from) => part.copy_from_slice(&x[(start + from) * width..][..width]),
                    None => part.fill(0.0),
                }
            }
        }
        start += length;
    }
}
