//! How the memory of attention is laid out.

use std::ops::Range;

use super::{Attention, Relative};
use crate::error::{Error, Result};
use crate::kernels::cpu::view::padded;

/// Scores of a block of queries: half of a first-level cache.
const SCORES: usize = 4096;
/// The most queries in a block.
pub(super) const MOST_ROWS: usize = 48;

/// Where the parts of a workspace begin, and their strides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) tokens: usize,
    /// Of a head.
    pub(super) width: usize,
    /// `width` in whole vectors: the stride of values and results.
    pub(super) lanes: usize,
    /// From row to row of the scores.
    pub(super) scores: usize,
    /// Queries in a block.
    pub(super) block: usize,
    /// The first bucket of distances within the text, and how many there are from there on; zero where contents do
    /// not meet positions.
    pub(super) first_bucket: usize,
    pub(super) bucket_count: usize,
}

/// A workspace's parts.
pub(super) struct Parts<'a> {
    /// The keys of a head, in panels.
    pub(super) keys: &'a mut [f32],
    /// (T, lanes)
    pub(super) values: &'a mut [f32],
    /// (block, scores)
    pub(super) scores: &'a mut [f32],
    /// (block, lanes)
    pub(super) results: &'a mut [f32],
    /// Keys of the buckets, in panels.
    pub(super) positions: &'a mut [f32],
    /// (block, met): queries of a block against the buckets' keys.
    pub(super) met_keys: &'a mut [f32],
    /// (buckets, scores): the buckets' queries against the keys.
    pub(super) met_queries: &'a mut [f32],
}

impl Plan {
    pub(super) fn new(of: &Attention) -> Result<Self> {
        let (tokens, width) = (of.q.rows(), of.q.width() / of.heads);
        let scores = padded(tokens);
        let most = MOST_ROWS;
        let block = (SCORES / scores.max(1)).clamp(8, most).next_multiple_of(8);
        let buckets = match &of.relative {
            Relative::Disentangled { buckets, .. } => Relative::range(buckets, tokens),
            _ => 0..0,
        };
        let plan = Self {
            tokens,
            width,
            lanes: width.next_multiple_of(16),
            scores,
            block,
            first_bucket: buckets.start,
            bucket_count: buckets.len(),
        };
        // Far below any limit, for what a model takes.
        let most = [width, scores, buckets.len()].into_iter().max().unwrap_or(0);
        if most.checked_mul(most.max(64)).is_none_or(|most| most > isize::MAX as usize / 64) {
            return Err(Error::input(format!("{tokens} tokens are too many for attention")));
        }
        Ok(plan)
    }

    /// Columns of keys: whole vectors.
    fn keys(&self) -> usize {
        self.tokens.next_multiple_of(16)
    }

    /// From row to row of queries against buckets.
    pub(super) fn met(&self) -> usize {
        padded(self.bucket_count)
    }

    pub(super) fn buckets(&self) -> Range<usize> {
        self.first_bucket..self.first_bucket + self.bucket_count
    }

    fn lengths(&self) -> [usize; 7] {
        [
            self.keys() * self.width,
            self.tokens * self.lanes,
            self.block * self.scores,
            self.block * self.lanes,
            self.bucket_count.next_multiple_of(16) * self.width,
            self.block * self.met(),
            self.bucket_count * self.scores,
        ]
    }

    pub(super) fn len(&self) -> usize {
        self.lengths().iter().sum()
    }

    pub(super) fn split<'a>(&self, numbers: &'a mut [f32]) -> Parts<'a> {
        let mut rest = numbers;
        let [keys, values, scores, results, positions, met_keys, met_queries] =
            self.lengths().map(|length| {
                let (part, after) = std::mem::take(&mut rest).split_at_mut(length);
                rest = after;
                part
            });
        Parts { keys, values, scores, results, positions, met_keys, met_queries }
    }
}
