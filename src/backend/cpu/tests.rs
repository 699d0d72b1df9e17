#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // small numbers

use super::ops::Cpu;
use crate::backend::{Activation, Attention, Backend, Dense, Lookup, NormWeights, Relative};
use crate::batch::Batch;
use crate::kernels::NormKind;

const HIDDEN: usize = 192;
const HEADS: usize = 6;
const REACH: usize = 150;

fn wave(len: usize, seed: f32) -> Vec<f32> {
    (0..len).map(|i| (seed + i as f32 * 0.37).sin()).collect()
}

fn batch(lengths: &[usize], threads: usize) -> Batch {
    let total: usize = lengths.iter().sum();
    let positions: Vec<u32> = lengths.iter().flat_map(|&length| 0..length as u32).collect();
    Batch {
        ids: (0..total).map(|i| (i * 7 % REACH) as u32).collect(),
        type_ids: vec![0; total],
        positions,
        lengths: lengths.to_vec(),
        order: (0..lengths.len()).collect(),
        threads,
    }
}

fn layer(cpu: &Cpu, input: usize, output: usize) -> <Cpu as Backend>::Linear {
    let scaled = |w: f32| w / (input as f32).sqrt();
    let weight: Vec<f32> = wave(input * output, 1.0).into_iter().map(scaled).collect();
    let bias = Some(wave(output, 2.0).into());
    cpu.pack(&Dense { weight: weight.into(), bias, input, output }).unwrap()
}

/// The hidden states of a layer of each kind of attention, and of a gate.
fn computed(cpu: &Cpu, batch: &Batch) -> Vec<f32> {
    let (gain, bias) = (wave(HIDDEN, 4.0), wave(HIDDEN, 5.0));
    let norm = NormWeights { kind: NormKind::Layer, gain: &gain, bias: Some(&bias), eps: 1e-5 };
    let norm = cpu.norm_of(norm).unwrap();
    let (qkv, attended) = (layer(cpu, HIDDEN, 3 * HIDDEN), layer(cpu, HIDDEN, HIDDEN));
    let (up, down) = (layer(cpu, HIDDEN, 4 * HIDDEN), layer(cpu, 4 * HIDDEN, HIDDEN));
    let half = layer(cpu, 2 * HIDDEN, HIDDEN);
    let table =
        |rows: usize, width: usize| cpu.table(wave(rows * width, 3.0).into(), width).unwrap();
    let (words, angles, met) = (table(REACH, HIDDEN), table(REACH, 32), table(2 * REACH, HIDDEN));
    let biases = table(HEADS, 2 * REACH - 1);
    let buckets: Vec<u32> = (0..2 * REACH as u32 - 1).collect();
    let plain = || Attention::plain(HEADS, HIDDEN);
    let (keys, queries) = (Some(&met), Some(&met));
    let pass = cpu.pass(batch).unwrap();
    let mut x = Cpu::embed(&pass, &[Lookup::new(&words, &batch.ids)], Some(&norm)).unwrap();
    for attention in [
        Attention { rotary: Some(&angles), ..plain() },
        Attention { relative: Relative::Bias(&biases), window: Some(40), ..plain() },
        Attention {
            relative: Relative::Disentangled { keys, queries, buckets: &buckets },
            ..plain()
        },
    ] {
        let qkv = Cpu::linear(&pass, &x, &qkv, Activation::Identity).unwrap();
        let context = Cpu::attention(&pass, qkv, &attention).unwrap();
        x = Cpu::linear_add_norm(&pass, &context, &attended, x, &norm).unwrap();
        x = Cpu::feed_forward(&pass, x, &up, Activation::Gelu, &down, &norm).unwrap();
    }
    let both = Cpu::linear(&pass, &x, &up, Activation::Identity).unwrap();
    let inner = Cpu::gate(&pass, &both, Activation::Silu).unwrap();
    let x = Cpu::linear_add(&pass, &inner, &half, x).unwrap();
    Cpu::norm(&pass, &x, &norm).unwrap().data.to_vec()
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    // Shared by columns, by rows, and with rows in all that are no multiple of anything.
    for lengths in [&[20][..], &[150], &[61, 13, 5, 2, 1]] {
        for cpu in [Cpu::default(), Cpu::int8()] {
            let alone = computed(&cpu, &batch(lengths, 1));
            assert!(alone.iter().all(|x| x.is_finite()));
            for threads in [2, 3, 100] {
                let batch = batch(lengths, threads);
                for _ in 0..10 {
                    assert_eq!(pool.install(|| computed(&cpu, &batch)), alone, "{threads}");
                }
            }
        }
    }
}

#[test]
fn a_text_does_not_know_its_neighbours() {
    for (cpu, most) in [(Cpu::default(), 1e-5), (Cpu::int8(), 1e-5)] {
        let together = batch(&[61, 13, 5], 1);
        let all = computed(&cpu, &together);
        let mut start = 0;
        for &length in &together.lengths {
            let mut alone = batch(&[length], 1);
            alone.ids = together.ids[start..start + length].to_vec();
            let found = computed(&cpu, &alone);
            let pairs = found.iter().zip(&all[start * HIDDEN..]);
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() <= most), "{length}");
            start += length;
        }
    }
}

#[test]
fn many_threads_use_one_backend() {
    let cpu = Cpu::default();
    let expected = computed(&cpu, &batch(&[70, 30], 1));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(computed(&cpu, &batch(&[70, 30], 4)), expected);
                }
            });
        }
    });
}
