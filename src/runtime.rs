//! The process-wide executors: one tokio runtime for stores, one rayon pool for computing.
//!
//! Both are made on first use and belong to the process that made them. Threads do not survive `fork`: in a
//! child the first use makes new ones, and the parent's are left alone (joining them would wait for ever).

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::process::Slot;

static COMPUTE: Slot<rayon::ThreadPool> = Slot::new();
static IO: Slot<tokio::runtime::Runtime> = Slot::new();
static IO_LARGE: Slot<tokio::runtime::Runtime> = Slot::new();
/// Processors that this process may use: to ask the system is to read its files.
static PROCESSORS: Slot<usize> = Slot::new();
/// Threads that were asked for; 0 takes what the machine gives.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Processors of a machine whose network is faster than one of them.
const MANY: usize = 8;
/// Time for what a stopped call has left.
const SETTLE: Duration = Duration::from_secs(2);

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

/// The runtime that stores run on: the calling thread. Nothing is handed from thread to thread, which is what a small
/// request would mostly wait for, and nothing runs after a call has returned.
pub fn io() -> Result<Arc<tokio::runtime::Runtime>> {
    IO.get(|| made(&mut tokio::runtime::Builder::new_current_thread()))
}

/// The runtime for large objects. One thread receives, compares and copies a gigabyte a second, as much as machines
/// with few processors get from a network, and at a third less than two threads that hand bytes to each other; where
/// there are many, it is worth threads of its own.
pub fn io_large() -> Result<Arc<tokio::runtime::Runtime>> {
    let processors = PROCESSORS.get(processors)?;
    if *processors < MANY {
        return io();
    }
    IO_LARGE.get(|| {
        made(tokio::runtime::Builder::new_multi_thread().worker_threads((*processors / 2).min(8)))
    })
}

fn made(builder: &mut tokio::runtime::Builder) -> Result<tokio::runtime::Runtime> {
    let made = builder.thread_name("legato-io").enable_all().build();
    made.map_err(|e| Error::internal(format!("threads cannot be started ({e})")))
}

/// Work that a destructor leaves: [`settle`] waits for it.
static LEFT: Slot<Mutex<Vec<JoinHandle<()>>>> = Slot::new();

/// Starts what must still be done for a call that was stopped, such as to remove what it has written.
pub fn leave(work: impl Future<Output = ()> + Send + 'static) {
    if let (Ok(handle), Ok(left)) = (Handle::try_current(), LEFT.get(|| Ok(Mutex::default()))) {
        left.lock().unwrap_or_else(PoisonError::into_inner).push(handle.spawn(work));
    }
}

/// Gives what stopped calls have left a moment to end.
pub async fn settle() {
    let Ok(left) = LEFT.get(|| Ok(Mutex::default())) else { return };
    let left = std::mem::take(&mut *left.lock().unwrap_or_else(PoisonError::into_inner));
    let all = async {
        for work in left {
            let _ = work.await;
        }
    };
    let _ = tokio::time::timeout(SETTLE, all).await;
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
