//! The CPU kernels beside `gemm`, in one run: `cargo bench --bench kernels [-- ROWS...|peak]`.
//!
//! One thread. Products rotate over the weights of six layers, so that these come from where a model's come from,
//! not from the first-level cache. Each figure is the median of rounds in which all take turns.

// A benchmark prints; sizes are far below 2^52.
#![allow(clippy::print_stdout, clippy::cast_precision_loss, clippy::unwrap_used)]

mod peak;

use std::cell::RefCell;
use std::time::Instant;

use legato::kernels::Activation;
use legato::kernels::cpu::{
    Attention, Epilogue, Isa, PackedF32, PackedI8, Quantized, Relative, Rows, RowsMut, Workspace,
    matmul_columns, matmul_i8_columns,
};

const LAYERS: usize = 6;
const ROUNDS: usize = 7;
/// Operations of a contender in a round: some milliseconds.
const ROUND: f64 = 5e8;
/// (inputs, outputs): the products of 384 wide models, and the widest of a 768 wide one.
const WEIGHTS: [(usize, usize); 5] =
    [(384, 1152), (384, 384), (384, 1536), (1536, 384), (768, 3072)];

/// A name, and what it does with the weights of a layer.
type Contender<'a> = (String, Box<dyn FnMut(usize) + 'a>);

fn main() {
    let rows: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let rows = if rows.is_empty() { vec![1, 16, 64, 128, 256, 1024] } else { rows };
    println!("10^9 operations a second on one thread; int8 with the quantization of its input");
    compete("peak", peak::OPERATIONS, peak::contenders());
    if std::env::args().any(|arg| arg == "peak") {
        return;
    }
    for (inputs, outputs) in WEIGHTS {
        for &rows in &rows {
            products(rows, inputs, outputs);
        }
    }
    for width in [32, 64] {
        for tokens in [16, 40, 128, 256, 512] {
            attention(tokens, 12, width);
        }
    }
}

/// Prints the median rate of each contender.
fn compete(title: &str, operations: f64, mut contenders: Vec<Contender>) {
    let mut repeats = 3u32;
    while f64::from(repeats) * operations < ROUND {
        repeats *= 2;
    }
    let mut rates = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, work), rates) in contenders.iter_mut().zip(&mut rates) {
            let start = Instant::now();
            (0..repeats).for_each(|i| work(i as usize % LAYERS));
            rates.push(operations * f64::from(repeats) / start.elapsed().as_secs_f64() / 1e9);
        }
    }
    print!("{title}:");
    for ((name, _), mut rates) in contenders.into_iter().zip(rates) {
        rates.sort_by(f64::total_cmp);
        print!("  {name} {:.0}", rates[ROUNDS / 2]);
    }
    println!();
}

/// Anything, below 1; weights are a twentieth of it, so that activations see what they see in a model.
fn wave(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7 + seed) as f32).sin()).collect()
}

fn products(rows: usize, inputs: usize, outputs: usize) {
    let weight = |seed| wave(inputs * outputs, seed).into_iter().map(|w| w / 20.0).collect();
    let weights: Vec<Vec<f32>> = (0..LAYERS).map(weight).collect();
    let pack = |w: &Vec<f32>| PackedF32::pack(w, outputs, inputs).unwrap();
    let quantize = |w: &Vec<f32>| PackedI8::quantize(w, outputs, inputs).unwrap();
    let f32s: Vec<_> = weights.iter().map(pack).collect();
    let i8s: Vec<_> = weights.iter().map(quantize).collect();
    let (data, bias) = (wave(rows * inputs, 1), wave(outputs, 2));
    let x = Rows::dense(&data, rows, inputs).unwrap();
    let out = RefCell::new(vec![0.0f32; rows * outputs]);
    let quantized = RefCell::new(Quantized::new());
    let (weights, f32s, i8s, out, quantized) = (&weights, &f32s, &i8s, &out, &quantized);
    let mut contenders: Vec<Contender> = vec![(
        "gemm".into(),
        Box::new(|layer| gemm(rows, &data, &weights[layer], inputs, &mut out.borrow_mut())),
    )];
    for (name, epilogue) in
        [("", Epilogue::Bias(&bias)), (" with gelu", Epilogue::Activation(&bias, Activation::Gelu))]
    {
        for isa in Isa::all().skip(1) {
            let run = move |layer: usize| {
                let mut out = out.borrow_mut();
                let out = RowsMut::dense(&mut out, rows, outputs).unwrap();
                matmul_columns(isa, x, &f32s[layer], &epilogue, 0, out).unwrap();
            };
            contenders.push((format!("{} f32{name}", isa.name()), Box::new(run)));
            let run = move |layer: usize| {
                let (mut out, mut x8) = (out.borrow_mut(), quantized.borrow_mut());
                let out = RowsMut::dense(&mut out, rows, outputs).unwrap();
                x8.fill_on(isa, x).unwrap();
                matmul_i8_columns(isa, &x8, 0, &i8s[layer], &epilogue, 0, out).unwrap();
            };
            contenders.push((format!("{} int8{name}", isa.name()), Box::new(run)));
        }
    }
    let operations = 2.0 * (rows * inputs * outputs) as f64;
    compete(&format!("{rows} x {inputs} x {outputs}"), operations, contenders);
}

/// `gemm`, which packs at each call.
#[allow(clippy::cast_possible_wrap)]
fn gemm(rows: usize, x: &[f32], weight: &[f32], inputs: usize, out: &mut [f32]) {
    let outputs = weight.len() / inputs;
    // SAFETY: the lengths of the three slices are those of row-major (rows, inputs), (outputs, inputs), (rows, outputs).
    unsafe {
        gemm::gemm(
            rows,
            outputs,
            inputs,
            out.as_mut_ptr(),
            1,
            outputs as isize,
            false,
            x.as_ptr(),
            1,
            inputs as isize,
            weight.as_ptr(),
            inputs as isize,
            1,
            0.0f32,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn attention(tokens: usize, heads: usize, width: usize) {
    let hidden = heads * width;
    let data = wave(tokens * 3 * hidden, 1);
    let all = Rows::dense(&data, tokens, 3 * hidden).unwrap();
    let [q, k, v] = [0, 1, 2].map(|i| all.columns(i * hidden..(i + 1) * hidden).unwrap());
    let of = Attention { q, k, v, heads, scale: 0.1, relative: Relative::None, window: None };
    let out = RefCell::new((vec![0.0f32; tokens * hidden], Workspace::new()));
    let run = |isa: Isa| {
        let (out, of) = (&out, &of);
        let run = move |_| {
            let (out, workspace) = &mut *out.borrow_mut();
            of.run_on(isa, workspace, RowsMut::dense(out, tokens, hidden).unwrap()).unwrap();
        };
        (isa.name().into(), Box::new(run) as Box<dyn FnMut(usize)>)
    };
    let operations = 4.0 * (tokens * tokens * hidden) as f64;
    let contenders = Isa::all().skip(1).map(run).collect();
    compete(
        &format!("attention, {tokens} tokens, {heads} heads of {width}"),
        operations,
        contenders,
    );
}
