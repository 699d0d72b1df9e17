//! Some queries of one head.

use super::plan::{MOST_ROWS, Plan};
use super::{Attention, Relative};
use crate::kernels::cpu::f32::PANEL;
use crate::kernels::cpu::lanes::Lanes;
use crate::kernels::cpu::tile::Product;
use crate::kernels::cpu::view::RowsMut;
use crate::kernels::reduce::halve;
use crate::kernels::vector::exp;

pub(super) struct Block<'a> {
    pub(super) of: &'a Attention<'a>,
    pub(super) plan: &'a Plan,
    pub(super) head: usize,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) scores: &'a mut [f32],
    pub(super) results: &'a mut [f32],
    pub(super) met_keys: &'a mut [f32],
    pub(super) met_queries: &'a [f32],
}

impl Block<'_> {
    #[inline(always)]
    pub(super) fn run<L: Lanes>(
        &mut self,
        keys: &[f32],
        values: &[f32],
        positions: &[f32],
        out: &mut RowsMut,
    ) {
        let plan = self.plan;
        let (low, _) = self.seen(self.first);
        let (_, high) = self.seen(self.first + self.count - 1);
        let scores = self.scores.as_mut_ptr();
        // SAFETY: a row of scores has room for the tokens in whole vectors, and keys are as many.
        unsafe { self.queries::<L>(keys, low..high, plan.tokens, scores, plan.scores) };
        if let Relative::Disentangled { keys: Some(_), .. } = self.of.relative {
            let (count, met) = (plan.bucket_count, self.met_keys.as_mut_ptr());
            // SAFETY: the same holds for the buckets' keys.
            unsafe { self.queries::<L>(positions, 0..count, count, met, plan.met()) };
        }
        let mut scales = [0.0; MOST_ROWS];
        for (row, scale) in scales.iter_mut().enumerate().take(self.count) {
            *scale = self.softmax(row, low, high);
        }
        let product = Product {
            rows: self.count,
            depth: high - low,
            columns: plan.lanes,
            a: self.scores[low..].as_ptr(),
            a_stride: plan.scores,
            b: values[low * plan.lanes..].as_ptr(),
            b_stride: plan.lanes,
            c: self.results.as_mut_ptr(),
            c_stride: plan.lanes,
            add: false,
            prefetch: values.as_ptr(),
            prefetch_lines: 0,
        };
        // SAFETY: the plan's sizes: `count` rows of scores up to `high`, as many values, and room for the results.
        unsafe { L::product(&product) };
        let rows = self.results.chunks_exact(plan.lanes.max(1)).zip(&scales).take(self.count);
        for (row, (result, scale)) in rows.enumerate() {
            let to = &mut out.row(self.first + row)[self.head * plan.width..][..plan.width];
            for (to, x) in to.iter_mut().zip(result) {
                *to = x * scale;
            }
        }
    }

    /// The first token that a token sees, and the one after the last.
    #[inline(always)]
    fn seen(&self, token: usize) -> (usize, usize) {
        let window = self.of.window.unwrap_or(self.plan.tokens);
        let high = token.saturating_add(window).saturating_add(1);
        (token.saturating_sub(window), high.min(self.plan.tokens))
    }

    /// The block's queries against the panels, of `total` columns in all, that hold one of `columns`.
    ///
    /// # Safety
    /// `panels` are (width, columns) each; `to` has room for the block's rows, `stride` apart, of `total` numbers in
    /// whole vectors.
    #[inline(always)]
    unsafe fn queries<L: Lanes>(
        &self,
        panels: &[f32],
        seen: std::ops::Range<usize>,
        total: usize,
        to: *mut f32,
        stride: usize,
    ) {
        let plan = self.plan;
        let query = self.first * self.of.q.stride() + self.head * plan.width;
        for first in (seen.start - seen.start % PANEL..seen.end).step_by(PANEL) {
            let columns = (total - first).min(PANEL).next_multiple_of(16);
            let product = Product {
                rows: self.count,
                depth: plan.width,
                columns,
                a: self.of.q.pointer().wrapping_add(query),
                a_stride: self.of.q.stride(),
                b: panels[first * plan.width..].as_ptr(),
                b_stride: columns,
                c: to.wrapping_add(first),
                c_stride: stride,
                add: false,
                prefetch: panels.as_ptr(),
                prefetch_lines: 0,
            };
            // SAFETY: `q` has these rows, and the rest is the caller's.
            unsafe { L::product(&product) };
        }
    }

    /// Turns a row of scores into exponentials, zero outside of what its token sees; returns what their sum
    /// is to be divided by, inverted.
    #[inline(always)]
    fn softmax(&mut self, row: usize, low: usize, high: usize) -> f32 {
        let token = self.first + row;
        let (from, to) = self.seen(token);
        let scores = &mut self.scores[row * self.plan.scores..][..self.plan.scores];
        // Whole vectors: what a token does not see among them becomes the least of all.
        let (start, end) = (from - from % 16, to.next_multiple_of(16));
        scores[start..from].iter_mut().for_each(|x| *x = f32::NEG_INFINITY);
        scores[to..end].iter_mut().for_each(|x| *x = f32::NEG_INFINITY);
        let mut scale = self.of.scale;
        match &self.of.relative {
            Relative::None => {}
            Relative::Bias(table) => {
                // Key - query ascends with the key, and so the biases of a row lie side by side.
                let bias = &table.row(self.head)[table.width() / 2 + from - token..][..to - from];
                for (x, b) in scores[from..to].iter_mut().zip(bias) {
                    *x = *x * scale + b;
                }
                scale = 1.0;
            }
            Relative::Disentangled { keys, queries, buckets } => {
                let (plan, zero) = (self.plan, buckets.len() / 2);
                // Of query - key, which descends with the key.
                let buckets = buckets[zero + 1 + token - to..=zero + token - from].iter().rev();
                let met = &self.met_keys[if keys.is_some() { row * plan.met() } else { 0 }..];
                for ((x, key), &bucket) in scores[from..to].iter_mut().zip(from..).zip(buckets) {
                    let bucket = bucket as usize - plan.first_bucket;
                    if keys.is_some() {
                        *x += met[bucket];
                    }
                    if queries.is_some() {
                        *x += self.met_queries[bucket * plan.scores + key];
                    }
                }
            }
        }
        let total = exponentials(&mut scores[start..end], scale);
        if self.of.window.is_some() {
            scores[low..from].fill(0.0);
            scores[to..high].fill(0.0);
        }
        if total == 0.0 { 0.0 } else { 1.0 / total }
    }
}

/// `e^(scale x)` of each number, over the largest of these; returns their sum, or zero where all are minus infinity.
/// The length is a multiple of 16, and the scale positive.
#[inline(always)]
fn exponentials(x: &mut [f32], scale: f32) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (x, _) = x.as_chunks_mut::<16>();
    let mut most = [f32::NEG_INFINITY; 16];
    for x in x.iter() {
        for (most, x) in most.iter_mut().zip(x) {
            *most = larger(*most, *x);
        }
    }
    let most = halve(most, larger);
    // Their difference would not be a number. One that is none already stays.
    if most == f32::NEG_INFINITY && !x.as_flattened().iter().any(|x| x.is_nan()) {
        x.as_flattened_mut().fill(0.0);
        return 0.0;
    }
    let mut total = [0.0f32; 16];
    for x in x {
        for (total, x) in total.iter_mut().zip(x) {
            *x = exp((*x - most) * scale);
            *total += *x;
        }
    }
    halve(total, |a, b| a + b)
}
