use crate::kernels::product::{View, ViewMut, product};
use crate::kernels::softmax::scale_softmax_rows;

/// Query rows that are scored at a time: a block of scores stays within the cache.
const BLOCK: usize = 128;

/// What is added to a head's scores, by the distance between query and key.
#[derive(Debug, Clone, Copy)]
pub enum Relative<'a> {
    None,
    /// `(heads, 2 reach - 1)`, for key - query = 1 - reach .. reach - 1; added to the scaled scores.
    Bias {
        table: &'a [f32],
        reach: usize,
    },
    /// DeBERTa's: contents against positions, added before the scores are scaled.
    Disentangled {
        /// `(buckets, H)`: keys of the positions, which the queries meet.
        keys: Option<&'a [f32]>,
        /// `(buckets, H)`: queries of the positions, which the keys meet.
        queries: Option<&'a [f32]>,
        /// `(2 reach - 1,)`: the bucket of query - key = 1 - reach .. reach - 1, ascending.
        buckets: &'a [u32],
    },
}

/// Attention of one text's tokens among each other.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    pub heads: usize,
    pub scale: f32,
    /// Keys further than this from their query are not seen.
    pub window: Option<usize>,
    pub relative: Relative<'a>,
}

/// One head of one text: where its numbers lie in the text's rows.
#[derive(Clone, Copy)]
struct Head<'a> {
    qkv: &'a [f32], // (T, 3H)
    length: usize,
    hidden: usize,
    width: usize,
    index: usize,
}

impl<'a> Head<'a> {
    /// Rows of the queries (0), keys (1) or values (2).
    fn part(&self, which: usize, rows: std::ops::Range<usize>, transposed: bool) -> View<'a> {
        let stride = 3 * self.hidden;
        View {
            data: &self.qkv[rows.start * stride + which * self.hidden + self.index * self.width..],
            rows: rows.len(),
            columns: self.width,
            stride,
            transposed,
        }
    }
}

/// The distances of a text of `length` tokens among those of a table.
fn distances<T>(of: &[T], length: usize) -> &[T] {
    let zero = of.len() / 2;
    &of[zero + 1 - length..zero + length]
}

/// The first bucket that a text's distances have, and how many.
fn bucket_range(buckets: &[u32], length: usize) -> (usize, usize) {
    match distances(buckets, length) {
        [] => (0, 0),
        [first, .., last] => (*first as usize, (last - first) as usize + 1),
        [only] => (*only as usize, 1),
    }
}

/// Numbers of scratch that [`attend`] needs for a text of `length` tokens.
#[must_use]
pub fn scores_len(attention: &Attention<'_>, length: usize) -> usize {
    let scores = BLOCK.min(length) * length;
    match attention.relative {
        Relative::Disentangled { buckets, .. } => {
            scores + 2 * length * bucket_range(buckets, length).1
        }
        _ => scores,
    }
}

/// `qkv` (T, 3H) of one text to `out` (T, H); `scratch` has [`scores_len`] numbers or more.
///
/// A table of `attention.relative` reaches at least as far as the text is long.
pub fn attend(
    qkv: &[f32],
    length: usize,
    attention: &Attention<'_>,
    out: &mut [f32],
    scratch: &mut [f32],
) {
    let hidden = out.len() / length.max(1);
    let width = hidden / attention.heads;
    let (scores, rest) = scratch.split_at_mut(BLOCK.min(length) * length);
    for index in 0..attention.heads {
        let head = Head { qkv, length, hidden, width, index };
        let met = positions_met(head, &attention.relative, rest);
        for start in (0..length).step_by(BLOCK) {
            let end = length.min(start + BLOCK);
            let (from, to) = match attention.window {
                Some(window) => (start.saturating_sub(window), length.min(end + window)),
                None => (0, length),
            };
            let columns = to - from;
            let scores = &mut scores[..(end - start) * columns];
            product(
                ViewMut { data: scores, rows: end - start, columns, stride: columns },
                head.part(0, start..end, false),
                head.part(1, from..to, true),
                false,
            );
            for (row, query) in scores.chunks_exact_mut(columns).zip(start..) {
                adjust(row, query, from, head, attention, &met);
            }
            // A bias is added to scores that are scaled already.
            let scaled = matches!(attention.relative, Relative::Bias { .. });
            scale_softmax_rows(scores, columns, if scaled { 1.0 } else { attention.scale });
            let target = &mut out[start * hidden + index * width..];
            product(
                ViewMut { data: target, rows: end - start, columns: width, stride: hidden },
                View {
                    data: scores,
                    rows: end - start,
                    columns,
                    stride: columns,
                    transposed: false,
                },
                head.part(2, from..to, false),
                false,
            );
        }
    }
}

/// A head's contents against the buckets of positions: each (T, buckets), empty where there is none.
struct Met<'a> {
    keys: &'a [f32],
    queries: &'a [f32],
    first: usize,
    count: usize,
}

fn positions_met<'s>(head: Head<'_>, relative: &Relative<'_>, scratch: &'s mut [f32]) -> Met<'s> {
    let Relative::Disentangled { keys, queries, buckets } = *relative else {
        return Met { keys: &[], queries: &[], first: 0, count: 0 };
    };
    let (first, count) = bucket_range(buckets, head.length);
    let (left, right) = scratch.split_at_mut(head.length * count);
    let meet = |which: usize, table: Option<&[f32]>, out: &'s mut [f32]| -> &'s [f32] {
        let Some(table) = table else { return &[] };
        let out = &mut out[..head.length * count];
        let data = &table[first * head.hidden + head.index * head.width..];
        let stride = head.hidden;
        product(
            ViewMut { data: out, rows: head.length, columns: count, stride: count },
            head.part(which, 0..head.length, false),
            View { data, rows: count, columns: head.width, stride, transposed: true },
            false,
        );
        out
    };
    Met { keys: meet(0, keys, left), queries: meet(1, queries, right), first, count }
}

/// Adds what distance says to the scores of one query, and hides what is out of its window.
fn adjust(
    row: &mut [f32],
    query: usize,
    from: usize,
    head: Head<'_>,
    attention: &Attention<'_>,
    met: &Met<'_>,
) {
    match attention.relative {
        Relative::None => {}
        Relative::Bias { table, reach } => {
            // Key - query ascends with the key, and so the biases of a row lie side by side.
            let biases = &table[head.index * (2 * reach - 1)..][..2 * reach - 1];
            let biases = &biases[reach - 1 + from - query..][..row.len()];
            for (score, bias) in row.iter_mut().zip(biases) {
                *score = score.mul_add(attention.scale, *bias);
            }
        }
        Relative::Disentangled { buckets, .. } => {
            let zero = buckets.len() / 2;
            for (score, key) in row.iter_mut().zip(from..) {
                let bucket = buckets[zero + query - key] as usize - met.first;
                if !met.keys.is_empty() {
                    *score += met.keys[query * met.count + bucket];
                }
                if !met.queries.is_empty() {
                    *score += met.queries[key * met.count + bucket];
                }
            }
        }
    }
    if let Some(window) = attention.window {
        for (score, key) in row.iter_mut().zip(from..) {
            if key.abs_diff(query) > window {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}
