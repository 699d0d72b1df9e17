//! The process-wide executors: one tokio runtime for stores, one rayon pool for computing.
//!
//! Both are made on first use and belong to the process that made them. Threads do not survive `fork`: in a
//! child the first use makes new ones, and the parent's are left alone (joining them would wait for ever).

use std::process;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::error::{Error, Result};

static COMPUTE: Slot<rayon::ThreadPool> = Slot::new();
static IO: Slot<tokio::runtime::Runtime> = Slot::new();
/// Threads that were asked for; 0 takes what the machine gives.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The pool that models and tokenizers run on.
pub fn compute() -> Result<&'static rayon::ThreadPool> {
    COMPUTE.get(|| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(num_threads())
            .thread_name(|i| format!("legato-compute-{i}"))
            .build()
            .map_err(|e| Error::internal(format!("threads cannot be started ({e})")))
    })
}

/// The runtime that stores run on.
pub fn io() -> Result<&'static tokio::runtime::Runtime> {
    IO.get(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("legato-io")
            .enable_all()
            .build()
            .map_err(|e| Error::internal(format!("threads cannot be started ({e})")))
    })
}

/// Computing threads: what was asked for, or the processors that this process may use.
#[must_use]
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

/// Asks for a number of computing threads; 0 takes the processors that this process may use.
///
/// Work that is under way keeps its threads.
pub fn set_num_threads(threads: usize) {
    if THREADS.swap(threads, Ordering::Relaxed) != threads {
        COMPUTE.clear();
    }
}

/// A value made once a process. No lock: one held by another thread during `fork` would stay held.
struct Slot<T> {
    current: AtomicPtr<Made<T>>,
}

struct Made<T> {
    pid: u32,
    value: T,
}

impl<T> Slot<T> {
    const fn new() -> Self {
        Self { current: AtomicPtr::new(std::ptr::null_mut()) }
    }

    fn get(&self, make: impl FnOnce() -> Result<T>) -> Result<&'static T> {
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: a pointer in a slot comes from `Box::leak` below and is never freed.
        if let Some(made) = unsafe { current.as_ref() }
            && made.pid == process::id()
        {
            return Ok(&made.value);
        }
        let fresh = Box::leak(Box::new(Made { pid: process::id(), value: make()? }));
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        match self.current.compare_exchange(current, fresh, success, failure) {
            Ok(_) => Ok(&fresh.value),
            // Another thread was faster: its value is used, and this one stays idle.
            // SAFETY: as above.
            Err(other) => Ok(unsafe { other.as_ref() }.map_or(&fresh.value, |made| &made.value)),
        }
    }

    fn clear(&self) {
        self.current.store(std::ptr::null_mut(), Ordering::Release);
    }
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
        assert!(std::ptr::eq(compute().unwrap(), compute().unwrap()));
    }
}
