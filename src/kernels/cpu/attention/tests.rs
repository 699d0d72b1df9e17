use proptest::prelude::*;

use super::super::f32::tests::wave;
use super::*;
use crate::kernels::plain;

/// By the definition, in f64.
#[allow(clippy::cast_possible_truncation)]
fn reference(of: &Attention, out: &mut RowsMut) {
    let (tokens, width) = (of.q.rows(), of.q.width() / of.heads);
    for (head, i) in (0..of.heads).flat_map(|h| (0..tokens).map(move |i| (h, i))) {
        let part = |m: &Rows, row: usize| m.row(row)[head * width..][..width].to_vec();
        let dot = |a: Vec<f32>, b: Vec<f32>| -> f64 {
            a.into_iter().zip(b).map(|(a, b)| f64::from(a) * f64::from(b)).sum()
        };
        let scale = f64::from(of.scale);
        let score = |j: usize| {
            let both = dot(part(&of.q, i), part(&of.k, j));
            match &of.relative {
                Relative::None => both * scale,
                Relative::Bias(table) => {
                    both * scale + f64::from(table.row(head)[table.width() / 2 + j - i])
                }
                Relative::Disentangled { keys, queries, buckets } => {
                    let bucket = buckets[buckets.len() / 2 + i - j] as usize;
                    let key = keys.map_or(0.0, |keys| dot(part(&of.q, i), part(&keys, bucket)));
                    let query = queries.map_or(0.0, |q| dot(part(&of.k, j), part(&q, bucket)));
                    (both + key + query) * scale
                }
            }
        };
        let seen = |j: usize| of.window.is_none_or(|w| i.abs_diff(j) <= w);
        let weight = |j: usize| if seen(j) { score(j).exp() } else { 0.0 };
        let weights: Vec<f64> = (0..tokens).map(weight).collect();
        let total: f64 = weights.iter().sum();
        for c in 0..width {
            let sum: f64 = (0..tokens).map(|j| weights[j] * f64::from(part(&of.v, j)[c])).sum();
            out.row(i)[head * width + c] = (sum / total) as f32;
        }
    }
}

/// Distances in buckets that grow: 0, 1, 2 and 3, 4 to 7 and so on, before and after.
fn buckets(reach: usize) -> Vec<u32> {
    let size = |distance: usize| distance.checked_ilog2().map_or(0, |log| log + 1);
    let middle = size(reach);
    let before = (1..reach).rev().map(|distance| middle - size(distance));
    before.chain((0..reach).map(|distance| middle + size(distance))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn as_reference(
        (tokens, heads, width, further) in (1usize..130, 1usize..4, 1usize..70, 0usize..20),
        window in 0usize..100, kind in 0usize..5, seed in -8.0f32..8.0,
    ) {
        let (hidden, reach) = (heads * width, tokens + further);
        let data = wave(tokens * hidden * 3, seed);
        let all = Rows::dense(&data, tokens, 3 * hidden).unwrap();
        let [q, k, v] = [0, 1, 2].map(|i| all.columns(i * hidden..(i + 1) * hidden).unwrap());
        let (bias, buckets) = (wave(heads * (2 * reach - 1), -seed), buckets(reach));
        let count = *buckets.iter().max().unwrap() as usize + 1;
        let [keys, queries] = [1.0, 2.0].map(|seed| wave(count * hidden, seed));
        let [keys, queries] = [&keys, &queries].map(|t| Rows::dense(t, count, hidden).unwrap());
        let relative = match kind {
            0 => Relative::None,
            1 => Relative::Bias(Rows::dense(&bias, heads, 2 * reach - 1).unwrap()),
            2 => Relative::Disentangled { keys: Some(keys), queries: None, buckets: &buckets },
            3 => Relative::Disentangled { keys: None, queries: Some(queries), buckets: &buckets },
            _ => Relative::Disentangled { keys: Some(keys), queries: Some(queries), buckets: &buckets },
        };
        let window = (window < 60).then_some(window);
        let of = Attention { q, k, v, heads, scale: 0.3, relative, window };
        let mut expected = vec![0.0; tokens * hidden];
        reference(&of, &mut RowsMut::dense(&mut expected, tokens, hidden).unwrap());
        let mut workspace = Workspace::new();
        workspace.numbers = Aligned::zeros(50_000).unwrap();
        workspace.numbers.fill(f32::NAN);
        for isa in Isa::all() {
            let mut found = vec![0.0; tokens * hidden];
            let out = RowsMut::dense(&mut found, tokens, hidden).unwrap();
            of.run_on(isa, &mut workspace, out).unwrap();
            for (f, e) in found.iter().zip(&expected) {
                prop_assert!((f - e).abs() < 2e-5, "{} {f} {e}", isa.name());
            }
        }
        let found = plainly(&of, &data, &bias);
        for (f, e) in found.iter().zip(&expected) {
            prop_assert!((f - e).abs() < 2e-5, "plain {f} {e}");
        }
    }
}

/// The plain kernel's answer.
fn plainly(of: &Attention, qkv: &[f32], bias: &[f32]) -> Vec<f32> {
    let (tokens, hidden) = (of.q.rows(), of.q.width());
    let dense = |table: &Rows| -> Vec<f32> {
        (0..table.rows()).flat_map(|row| table.row(row).to_vec()).collect()
    };
    let tables = match &of.relative {
        Relative::Disentangled { keys, queries, .. } => {
            [keys.as_ref().map(dense), queries.as_ref().map(dense)]
        }
        _ => [None, None],
    };
    let relative = match of.relative {
        Relative::None => plain::Relative::None,
        Relative::Bias(table) => {
            plain::Relative::Bias { table: bias, reach: table.width().div_ceil(2) }
        }
        Relative::Disentangled { buckets, .. } => plain::Relative::Disentangled {
            keys: tables[0].as_deref(),
            queries: tables[1].as_deref(),
            buckets,
        },
    };
    let of = plain::Attention { heads: of.heads, scale: of.scale, window: of.window, relative };
    let mut out = vec![0.0; tokens * hidden];
    let mut scratch = vec![0.0; plain::scores_len(&of, tokens)];
    plain::attend(qkv, tokens, &of, &mut out, &mut scratch);
    out
}

#[test]
fn a_token_that_sees_nothing_is_zero_and_nan_stays() {
    let data = wave(4 * 16, 1.0);
    let m = Rows::dense(&data, 4, 16).unwrap();
    for (bias, nothing) in [(f32::NEG_INFINITY, true), (f32::NAN, false)] {
        let table = [bias; 14];
        let relative = Relative::Bias(Rows::dense(&table, 2, 7).unwrap());
        let of = Attention { q: m, k: m, v: m, heads: 2, scale: 1.0, relative, window: None };
        for isa in Isa::all() {
            let mut out = [1.0; 64];
            let to = RowsMut::dense(&mut out, 4, 16).unwrap();
            of.run_on(isa, &mut Workspace::new(), to).unwrap();
            let as_defined = |x: &f32| if nothing { x.abs() < 1e-30 } else { x.is_nan() };
            assert!(out.iter().all(as_defined), "{}", isa.name());
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (data, mut out) = ([1.0; 24], [0.0; 24]);
    let m = Rows::dense(&data, 4, 6).unwrap();
    let relative = Relative::None;
    let good = Attention { q: m, k: m, v: m, heads: 2, scale: 1.0, relative, window: None };
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
    assert!(run(&Attention { k: m.range(0..3).unwrap(), ..good }, 4).is_err());
    let bias =
        |rows, width| Relative::Bias(Rows::dense(&data[..rows * width], rows, width).unwrap());
    assert!(run(&Attention { relative: bias(2, 7), ..good }, 4).is_ok());
    assert!(run(&Attention { relative: bias(2, 5), ..good }, 4).is_err());
    assert!(run(&Attention { relative: bias(1, 7), ..good }, 4).is_err());
    let met = |table: Rows<'static>, buckets: &'static [u32]| Relative::Disentangled {
        keys: Some(table),
        queries: None,
        buckets,
    };
    let table = Rows::dense(&[1.0; 24], 4, 6).unwrap();
    assert!(run(&Attention { relative: met(table, &[0, 0, 1, 2, 2, 3, 3]), ..good }, 4).is_ok());
    assert!(run(&Attention { relative: met(table, &[0, 0, 1, 2, 2, 3, 4]), ..good }, 4).is_err());
    assert!(run(&Attention { relative: met(table, &[0, 1, 2]), ..good }, 4).is_err());
}
