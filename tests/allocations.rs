//! What an encoder allocates once it has seen a batch: nothing.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use candle_core::{DType, Device};
use legato::device::Precision;
use legato::{Batch, ModelFiles, model};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has no counter any more.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: all is the system's allocator's, which is counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn batch(lengths: &[usize], threads: usize) -> Batch {
    let total = lengths.iter().sum();
    let positions = lengths.iter().flat_map(|&length| 0..u32::try_from(length).unwrap());
    Batch {
        ids: vec![1; total],
        type_ids: vec![0; total],
        positions: positions.collect(),
        lengths: lengths.to_vec(),
        order: (0..lengths.len()).collect(),
        threads,
    }
}

/// Allocations on this thread of one more pass, once two have been made.
fn allocated(precision: Precision, batch: &Batch) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-bert");
    let files = ModelFiles::from_dir(&folder).unwrap();
    let encoder = model::load(&files, &Device::Cpu, precision).unwrap();
    let mut sum = 0.0;
    let mut pass = || encoder.forward(batch, None, &mut |hidden| sum += hidden[0]).unwrap();
    pass();
    pass();
    let before = COUNT.get();
    pass();
    let after = COUNT.get();
    assert!(sum.is_finite());
    after - before
}

#[test]
fn a_steady_state_allocates_nothing() {
    for precision in [Precision::Float(DType::F32), Precision::Int8] {
        // Few rows, and enough to be computed in parts.
        for lengths in [&[9, 4][..], &[30, 30, 20]] {
            assert_eq!(allocated(precision, &batch(lengths, 1)), 0, "{}", precision.name());
        }
    }
    // And the counter counts.
    let before = COUNT.get();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(COUNT.get() > before);
}

#[test]
fn threads_that_share_a_pass_take_a_few_allocations() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let most = pool.install(|| allocated(Precision::Float(DType::F32), &batch(&[30, 30, 20], 2)));
    // The team and one invitation, whatever the number of layers.
    assert!(most <= 8, "{most}");
}
