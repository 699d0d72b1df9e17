#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // small numbers

use super::ops::Cpu;
use crate::backend::{Activation, Attention, Backend, Dense, Lookup};
use crate::batch::Batch;

const HIDDEN: usize = 96;
const TOKENS: usize = 150;

fn wave(len: usize, seed: f32) -> Vec<f32> {
    (0..len).map(|i| (seed + i as f32 * 0.37).sin()).collect()
}

/// A product and the attention over it, large enough to be shared.
fn computed(cpu: &Cpu, threads: usize) -> Vec<f32> {
    let batch = Batch {
        ids: (0..TOKENS as u32).collect(),
        type_ids: vec![0; TOKENS],
        positions: (0..TOKENS as u32).collect(),
        lengths: vec![TOKENS],
        order: vec![0],
        threads,
    };
    let (input, output) = (HIDDEN, 3 * HIDDEN);
    let (weight, bias) = (wave(input * output, 1.0), wave(output, 2.0));
    let dense = Dense { weight: weight.into(), bias: Some(bias.into()), input, output };
    let layer = cpu.pack(&dense).unwrap();
    let table = cpu.table(wave(TOKENS * HIDDEN, 3.0).into(), HIDDEN).unwrap();
    let pass = cpu.pass(&batch).unwrap();
    let x = Cpu::embed(&pass, &[Lookup::new(&table, &batch.ids)], None).unwrap();
    let qkv = Cpu::linear(&pass, &x, &layer, Activation::Gelu).unwrap();
    let mut all = qkv.data.to_vec();
    let context = Cpu::attention(&pass, qkv, &Attention::plain(8, HIDDEN)).unwrap();
    all.extend_from_slice(&context.data);
    all
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for cpu in [Cpu::default(), Cpu::int8()] {
        let alone = computed(&cpu, 1);
        for threads in [2, 3, 100] {
            let shared = pool.install(|| computed(&cpu, threads));
            assert!(shared.iter().zip(&alone).all(|(a, b)| (a - b).abs() <= 1e-5), "{threads}");
        }
    }
}
