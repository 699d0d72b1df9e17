//! What is added to scores by the distance between query and key.

use std::ops::Range;

use super::plan::Plan;
use crate::error::{Error, Result};
use crate::kernels::cpu::f32::PANEL;
use crate::kernels::cpu::lanes::Lanes;
use crate::kernels::cpu::tile::Product;
use crate::kernels::cpu::view::Rows;

/// What is added to scores by the distance between query and key.
///
/// Tables reach as far as the longest text, and further: a text uses their middle.
#[derive(Debug, Clone, Copy)]
pub enum Relative<'a> {
    None,
    /// (heads, 2 reach - 1), for key - query = 1 - reach .. reach - 1: added to the scaled scores.
    Bias(Rows<'a>),
    /// DeBERTa's: contents against positions, added before the scores are scaled.
    Disentangled {
        /// (buckets, heads * width): keys of the positions, which the queries meet.
        keys: Option<Rows<'a>>,
        /// (buckets, heads * width): queries of the positions, which the keys meet.
        queries: Option<Rows<'a>>,
        /// (2 reach - 1,): the bucket of query - key = 1 - reach .. reach - 1.
        buckets: &'a [u32],
    },
}

impl Relative<'_> {
    pub(super) fn check(&self, tokens: usize, heads: usize, width: usize) -> Result<()> {
        let reaches = |len: usize| len % 2 == 1 && len.div_ceil(2) >= tokens;
        let fits = match self {
            Self::None => true,
            Self::Bias(table) => table.rows() == heads && reaches(table.width()),
            Self::Disentangled { keys, queries, buckets } => {
                reaches(buckets.len()) && {
                    let end = Self::range(buckets, tokens).end;
                    let has = |table: &Rows| table.width() == width && table.rows() >= end;
                    [keys, queries].into_iter().flatten().all(has)
                }
            }
        };
        if fits {
            return Ok(());
        }
        Err(Error::internal(format!(
            "attention: relative positions that do not fit {tokens} tokens and {heads} heads"
        )))
    }

    /// The buckets that a text's distances have.
    pub(super) fn range(buckets: &[u32], tokens: usize) -> Range<usize> {
        let zero = buckets.len() / 2;
        let used = &buckets[zero + 1 - tokens.max(1)..zero + tokens.max(1)];
        let first = used.iter().min().map_or(0, |&first| first as usize);
        first..used.iter().max().map_or(0, |&last| last as usize + 1)
    }
}

/// The buckets' queries against the keys of a head: (buckets, T).
#[inline(always)]
pub(super) fn meet_keys<L: Lanes>(
    table: &Rows,
    plan: &Plan,
    column: usize,
    keys: &[f32],
    met: &mut [f32],
) {
    for first in (0..plan.tokens).step_by(PANEL) {
        let columns = (plan.tokens - first).min(PANEL).next_multiple_of(16);
        let product = Product {
            rows: plan.bucket_count,
            depth: plan.width,
            columns,
            a: table.pointer().wrapping_add(plan.first_bucket * table.stride() + column),
            a_stride: table.stride(),
            b: keys[first * plan.width..].as_ptr(),
            b_stride: columns,
            c: met[first..].as_mut_ptr(),
            c_stride: plan.scores,
            add: false,
            prefetch: keys.as_ptr(),
            prefetch_lines: 0,
        };
        // SAFETY: the table has these buckets, the panel `width` rows of `columns`, and a row of `met` has room for
        // the tokens in whole vectors.
        unsafe { L::product(&product) };
    }
}
