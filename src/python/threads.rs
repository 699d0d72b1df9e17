use pyo3::prelude::*;

use super::arguments::Count;
use super::errors::input;
use crate::kernels::cpu::Isa;
use crate::runtime;

/// Set how many threads tokenize and compute.
///
/// Args:
///     threads: number of threads, 1 to 1024; None takes the processors that this process may use
///         (its affinity mask and, in a container, its CPU quota).
///
/// Raises:
///     InputError: the number is out of range.
#[pyfunction]
#[pyo3(signature = (threads))]
pub(super) fn set_num_threads(py: Python<'_>, threads: Option<Count>) -> PyResult<()> {
    let threads = threads.map(|n| n.0);
    match threads {
        Some(n) if !(1..=1024).contains(&n) => {
            Err(input(py, format!("threads is {n}, it must be 1 to 1024")))
        }
        _ => {
            runtime::set_num_threads(threads.unwrap_or(0));
            Ok(())
        }
    }
}

/// Return how many threads tokenize and compute.
#[pyfunction]
pub(super) fn num_threads() -> usize {
    runtime::num_threads()
}

/// Return the instruction set that models compute with on this CPU, chosen when the process starts.
///
/// Returns:
///     "avx512-vnni", "avx512" or "avx2" on x86-64, "neon-dotprod" or "neon" on arm64, else "portable".
#[pyfunction]
pub(super) fn instruction_set() -> &'static str {
    Isa::best().name()
}
