//! The process-wide executors: one tokio runtime for stores, one rayon pool for computing.
//!
//! Both are made on first use and belong to the process that made them. Threads do not survive `fork`: in a
//! child the first use makes new ones, and the parent's are left alone (joining them would wait for ever).

use std::process;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

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

/// The runtime that stores run on.
pub fn io() -> Result<Arc<tokio::runtime::Runtime>> {
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

/// A value made once a process, by whoever needs it first.
struct Slot<T> {
    current: AtomicPtr<Made<T>>,
}

/// The lock is behind the process's id: one that another thread held during `fork` stays held in the child,
/// which never touches it.
struct Made<T> {
    pid: u32,
    value: Mutex<Option<Arc<T>>>,
}

impl<T> Slot<T> {
    const fn new() -> Self {
        Self { current: AtomicPtr::new(std::ptr::null_mut()) }
    }

    fn get(&'static self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut value = self.lock();
        if let Some(value) = &*value {
            return Ok(Arc::clone(value));
        }
        let fresh = Arc::new(make()?);
        *value = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    fn clear(&'static self) {
        let former = self.lock().take();
        drop(former); // not under the lock: it ends threads
    }

    fn lock(&'static self) -> MutexGuard<'static, Option<Arc<T>>> {
        self.made().value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What belongs to this process. A parent's is left alone: its threads are not here.
    fn made(&'static self) -> &'static Made<T> {
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: a pointer in a slot is null or comes from `Box::leak` below, and is never freed.
        if let Some(made) = unsafe { current.as_ref() }
            && made.pid == process::id()
        {
            return made;
        }
        let fresh = Box::leak(Box::new(Made { pid: process::id(), value: Mutex::default() }));
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        match self.current.compare_exchange(current, fresh, success, failure) {
            Ok(_) => fresh,
            // Another thread of this process was faster.
            // SAFETY: as above.
            Err(other) => unsafe { other.as_ref() }.unwrap_or(fresh),
        }
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
        assert!(Arc::ptr_eq(&compute().unwrap(), &compute().unwrap()));
    }
}
