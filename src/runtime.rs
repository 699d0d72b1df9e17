//! The process-wide executors: one tokio runtime for stores, one rayon pool for computing.
//!
//! Both are made on first use and belong to the process that made them. Threads do not survive `fork`: in a
//! child the first use makes new ones, and the parent's are left alone (joining them would wait for ever).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::process::Slot;

static COMPUTE: Slot<rayon::ThreadPool> = Slot::new();
static IO: Slot<tokio::runtime::Runtime> = Slot::new();
/// Processors that this process may use: to ask the system is to read its files.
static PROCESSORS: Slot<usize> = Slot::new();
/// Threads that were asked for; 0 takes what the machine gives.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The pool that models and tokenizers run on.
pub fn compute() -> Result<Arc<rayon::ThreadPool>> {
    COMPUTE.get(|| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(num_threads())
            .thread_name(|i| format!("legato-compute-{i}"))
            .build()
            .map_err(|e| Error::internal(format!("threads cannot be started ({e})")))
    })
}

/// The runtime that stores run on: it has no threads, who waits for a store does its work.
///
/// Handing a request of 1 KiB to a thread and back costs a third of it. Several callers may wait at once.
pub fn io() -> Result<Arc<tokio::runtime::Runtime>> {
    IO.get(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::internal(format!("threads cannot be started ({e})")))
    })
}

/// Runs work that blocks beside what the caller of this future does.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::internal(format!("a worker thread ended early ({e})")))
}

/// Computing threads: what was asked for, or the processors that this process may use.
#[must_use]
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => PROCESSORS.get(processors).map_or(1, |processors| *processors),
        threads => threads,
    }
}

/// Asks for a number of computing threads; 0 takes the processors that this process may use.
///
/// Work that is under way keeps its threads; they end with it.
pub fn set_num_threads(threads: usize) {
    if THREADS.swap(threads, Ordering::Relaxed) != threads {
        PROCESSORS.clear();
        COMPUTE.clear();
    }
}

#[allow(clippy::unnecessary_wraps)] // as a `Slot` wants it
fn processors() -> Result<usize> {
    Ok(std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_number_of_threads_is_taken() {
        set_num_threads(3);
        assert_eq!(compute().unwrap().current_num_threads(), 3);
        set_num_threads(1);
        assert_eq!(compute().unwrap().current_num_threads(), 1);
        set_num_threads(0);
        assert_eq!(compute().unwrap().current_num_threads(), num_threads());
        assert!(Arc::ptr_eq(&compute().unwrap(), &compute().unwrap()));
    }
}
