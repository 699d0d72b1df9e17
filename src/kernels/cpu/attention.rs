//! Attention of one text, without padding.

use super::super::reduce::halve;
use super::super::vector::exp;
use super::aligned::Aligned;
use super::f32::PANEL;
use super::isa::{Isa, Work};
use super::lanes::Lanes;
use super::tile::Product;
use super::view::{Rows, RowsMut, padded};
use crate::error::{Error, Result};

/// Scores of a block of queries: half of a first-level cache.
const SCORES: usize = 4096;

/// `softmax(scale q k^T + bias) v` for each head of one text of T tokens.
///
/// Threads that share one text take some heads each: the columns of `q`, `k`, `v` and of the output.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// (T, heads * width), as are `k` and `v`: columns of a fused projection's output.
    pub q: Rows<'a>,
    pub k: Rows<'a>,
    pub v: Rows<'a>,
    pub heads: usize,
    /// Positive.
    pub scale: f32,
    /// Added to the scores: (heads, T, T).
    pub bias: Option<&'a [f32]>,
    /// Tokens farther from one another do not see each other.
    pub window: Option<usize>,
}

/// Memory of [`Attention::run`]. Keep one for each thread: it grows to the longest text and stays.
#[derive(Debug, Clone, Default)]
pub struct Workspace {
    numbers: Aligned<f32, 16>,
}

impl Workspace {
    pub fn new() -> Self {
        Self::default()
    }
}

impl Attention<'_> {
    /// Writes the attention's output, (T, heads * width), on the calling thread.
    pub fn run(&self, workspace: &mut Workspace, out: RowsMut) -> Result<()> {
        self.run_on(Isa::best(), workspace, out)
    }

    /// [`Attention::run`] on that instruction set.
    pub fn run_on(&self, isa: Isa, workspace: &mut Workspace, out: RowsMut) -> Result<()> {
        self.check(&out)?;
        let plan = Plan::new(self.q.rows(), self.q.width() / self.heads);
        workspace.numbers.grow(plan.len())?;
        isa.run(Run { of: *self, plan, numbers: &mut workspace.numbers, out });
        Ok(())
    }

    fn check(&self, out: &RowsMut) -> Result<()> {
        let (rows, width) = (self.q.rows(), self.q.width());
        let same = [&self.k, &self.v].iter().all(|m| m.rows() == rows && m.width() == width);
        let scores = rows.checked_mul(rows).and_then(|n| n.checked_mul(self.heads));
        if same
            && (out.rows(), out.width()) == (rows, width)
            && self.heads > 0
            && width > 0
            && self.scale > 0.0
            && width.is_multiple_of(self.heads)
            && self.bias.is_none_or(|bias| scores == Some(bias.len()))
        {
            return Ok(());
        }
        Err(Error::internal(format!(
            "attention: {} heads, scale {}, and inputs that do not fit {rows} rows of {width} numbers",
            self.heads, self.scale
        )))
    }
}

/// Where the parts of a workspace begin, and their strides.
#[derive(Debug, Clone, Copy)]
struct Plan {
    tokens: usize,
    /// Of a head.
    width: usize,
    /// `width` in whole vectors: the stride of values and results.
    lanes: usize,
    /// From row to row of the scores.
    scores: usize,
    /// Queries in a block.
    block: usize,
}

impl Plan {
    fn new(tokens: usize, width: usize) -> Self {
        let scores = padded(tokens);
        let block = (SCORES / scores.max(1)).clamp(8, 48).next_multiple_of(8);
        Self { tokens, width, lanes: width.next_multiple_of(16), scores, block }
    }

    /// Columns of keys: whole vectors.
    fn keys(&self) -> usize {
        self.tokens.next_multiple_of(16)
    }

    fn len(&self) -> usize {
        self.keys() * self.width
            + self.tokens * self.lanes
            + self.block * (self.scores + self.lanes)
    }
}

struct Run<'a> {
    of: Attention<'a>,
    plan: Plan,
    numbers: &'a mut [f32],
    out: RowsMut<'a>,
}

impl Work for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { of, plan, numbers, mut out } = self;
        let (keys, rest) = numbers.split_at_mut(plan.keys() * plan.width);
        let (values, rest) = rest.split_at_mut(plan.tokens * plan.lanes);
        let (scores, results) = rest.split_at_mut(plan.block * plan.scores);
        for head in 0..of.heads {
            pack_keys::<L>(&of, &plan, head, keys);
            pack_values(&of, &plan, head, values);
            for first in (0..plan.tokens).step_by(plan.block) {
                let mut block = Block {
                    of: &of,
                    plan: &plan,
                    head,
                    first,
                    count: plan.block.min(plan.tokens - first),
                    scores,
                    results,
                };
                block.run::<L>(keys, values, &mut out);
            }
        }
    }
}

/// The keys of a head, transposed, in panels as a packed weight's.
#[inline(always)]
fn pack_keys<L: Lanes>(of: &Attention, plan: &Plan, head: usize, keys: &mut [f32]) {
    for first in (0..plan.tokens).step_by(PANEL) {
        let used = (plan.tokens - first).min(PANEL);
        let width = used.next_multiple_of(16);
        let panel = &mut keys[first * plan.width..][..width * plan.width];
        let squares = if plan.width.is_multiple_of(8) { used - used % 8 } else { 0 };
        for column in (0..squares).step_by(8) {
            let key = (first + column) * of.k.stride() + head * plan.width;
            for depth in (0..plan.width).step_by(8) {
                let to = panel[depth * width + column..].as_mut_ptr();
                // SAFETY: eight keys have eight numbers from here on, and eight rows of the panel room for them.
                unsafe {
                    L::transpose(of.k.pointer().add(key + depth), of.k.stride(), to, width);
                }
            }
        }
        for column in squares..used {
            let key = &of.k.row(first + column)[head * plan.width..][..plan.width];
            for (to, k) in panel[column..].iter_mut().step_by(width).zip(key) {
                *to = *k;
            }
        }
        if used < width {
            for row in panel.chunks_exact_mut(width) {
                for x in &mut row[used..] {
                    *x = 0.0;
                }
            }
        }
    }
}

/// The values of a head, rows one after the other, with zeros up to whole vectors.
#[inline(always)]
fn pack_values(of: &Attention, plan: &Plan, head: usize, values: &mut [f32]) {
    for (row, to) in values.chunks_exact_mut(plan.lanes.max(1)).take(plan.tokens).enumerate() {
        let value = &of.v.row(row)[head * plan.width..][..plan.width];
        let (to, _) = to.as_chunks_mut::<16>();
        let (whole, rest) = value.as_chunks::<16>();
        for (to, whole) in to.iter_mut().zip(whole) {
            *to = *whole;
        }
        if let Some(last) = to.get_mut(whole.len()) {
            *last = [0.0; 16];
            last[..rest.len()].copy_from_slice(rest);
        }
    }
}

/// Some queries of one head.
struct Block<'a> {
    of: &'a Attention<'a>,
    plan: &'a Plan,
    head: usize,
    first: usize,
    count: usize,
    scores: &'a mut [f32],
    results: &'a mut [f32],
}

impl Block<'_> {
    #[inline(always)]
    fn run<L: Lanes>(&mut self, keys: &[f32], values: &[f32], out: &mut RowsMut) {
        let (low, _) = self.seen(self.first);
        let (_, high) = self.seen(self.first + self.count - 1);
        self.score::<L>(keys, low, high);
        let mut scales = [0.0; 48];
        for (row, scale) in scales.iter_mut().enumerate().take(self.count) {
            *scale = self.softmax(row, low, high);
        }
        let plan = self.plan;
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

    /// Scores of the keys in panels that hold one from `low` to `high`.
    #[inline(always)]
    fn score<L: Lanes>(&mut self, keys: &[f32], low: usize, high: usize) {
        let plan = self.plan;
        let query = self.first * self.of.q.stride() + self.head * plan.width;
        for first in (low - low % PANEL..high).step_by(PANEL) {
            let columns = (plan.tokens - first).min(PANEL).next_multiple_of(16);
            let product = Product {
                rows: self.count,
                depth: plan.width,
                columns,
                a: self.of.q.pointer().wrapping_add(query),
                a_stride: self.of.q.stride(),
                b: keys[first * plan.width..].as_ptr(),
                b_stride: columns,
                c: self.scores[first..].as_mut_ptr(),
                c_stride: plan.scores,
                add: false,
                prefetch: keys.as_ptr(),
                prefetch_lines: 0,
            };
            // SAFETY: `q` has these rows, the panel `width` rows of `columns`, and a row of scores has room for
            // the tokens in whole vectors.
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
        let total = if let Some(bias) = self.of.bias {
            let tokens = self.plan.tokens;
            let bias = &bias[(self.head * tokens + token) * tokens..][from..to];
            for (x, b) in scores[from..to].iter_mut().zip(bias) {
                *x = *x * self.of.scale + b;
            }
            exponentials(&mut scores[start..end], 1.0)
        } else {
            exponentials(&mut scores[start..end], self.of.scale)
        };
        if self.of.window.is_some() {
            scores[low..from].fill(0.0);
            scores[to..high].fill(0.0);
        }
        1.0 / total
    }
}

/// `e^(scale x)` of each number, over the largest of these; returns their sum. The length is a multiple of 16,
/// and the scale positive.
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
    let mut total = [0.0f32; 16];
    for x in x {
        for (total, x) in total.iter_mut().zip(x) {
            *x = exp((*x - most) * scale);
            *total += *x;
        }
    }
    halve(total, |a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::super::f32::tests::wave;
    use super::*;
    use proptest::prelude::*;

    /// By the definition, in f64.
    #[allow(clippy::cast_possible_truncation)]
    fn reference(of: &Attention, out: &mut RowsMut) {
        let (tokens, width) = (of.q.rows(), of.q.width() / of.heads);
        for (head, i) in (0..of.heads).flat_map(|h| (0..tokens).map(move |i| (h, i))) {
            let part = |m: &Rows, row| m.row(row)[head * width..][..width].to_vec();
            let weights: Vec<f64> = (0..tokens)
                .map(|j| {
                    let pairs = part(&of.q, i).into_iter().zip(part(&of.k, j));
                    let dot: f64 = pairs.map(|(a, b)| f64::from(a) * f64::from(b)).sum();
                    let bias = of.bias.map_or(0.0, |b| b[(head * tokens + i) * tokens + j]);
                    let seen = of.window.is_none_or(|w| i.abs_diff(j) <= w);
                    if seen { (dot * f64::from(of.scale) + f64::from(bias)).exp() } else { 0.0 }
                })
                .collect();
            let total: f64 = weights.iter().sum();
            for c in 0..width {
                let sum: f64 = (0..tokens).map(|j| weights[j] * f64::from(part(&of.v, j)[c])).sum();
                out.row(i)[head * width + c] = (sum / total) as f32;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn as_reference(
            tokens in 1usize..130, heads in 1usize..4, width in 1usize..70,
            window in 0usize..100, biased: bool, seed in -8.0f32..8.0,
        ) {
            let hidden = heads * width;
            let data = wave(tokens * hidden * 3, seed);
            let all = Rows::dense(&data, tokens, 3 * hidden).unwrap();
            let [q, k, v] = [0, 1, 2].map(|i| all.columns(i * hidden..(i + 1) * hidden).unwrap());
            let bias = wave(heads * tokens * tokens, -seed);
            let window = (window < 60).then_some(window);
            let of = Attention { q, k, v, heads, scale: 0.3, bias: biased.then_some(&bias), window };
            let mut expected = vec![0.0; tokens * hidden];
            reference(&of, &mut RowsMut::dense(&mut expected, tokens, hidden).unwrap());
            let mut workspace = Workspace::new();
            workspace.numbers = Aligned::zeros(5000).unwrap();
            workspace.numbers.fill(f32::NAN);
            for isa in Isa::all() {
                let mut found = vec![0.0; tokens * hidden];
                let out = RowsMut::dense(&mut found, tokens, hidden).unwrap();
                of.run_on(isa, &mut workspace, out).unwrap();
                for (f, e) in found.iter().zip(&expected) {
                    prop_assert!((f - e).abs() < 1e-5, "{} {f} {e}", isa.name());
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (data, mut out) = ([1.0; 24], [0.0; 24]);
        let m = Rows::dense(&data, 4, 6).unwrap();
        let good = Attention { q: m, k: m, v: m, heads: 2, scale: 1.0, bias: None, window: None };
        let mut run = |of: &Attention, rows| {
            of.run(&mut Workspace::new(), RowsMut::dense(&mut out, rows, 6).unwrap())
        };
        assert!(run(&good, 4).is_ok());
        assert!(run(&good, 3).is_err());
        assert!(run(&Attention { heads: 0, ..good }, 4).is_err());
        let none = m.columns(0..0).unwrap();
        assert!(run(&Attention { q: none, k: none, v: none, ..good }, 4).is_err());
        assert!(run(&Attention { heads: 4, ..good }, 4).is_err());
        assert!(run(&Attention { scale: f32::NAN, ..good }, 4).is_err());
        assert!(run(&Attention { bias: Some(&data), ..good }, 4).is_err());
        assert!(run(&Attention { k: m.range(0..3).unwrap(), ..good }, 4).is_err());
    }
}
