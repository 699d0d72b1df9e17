//! The one door from Python into the core: releases the GIL, polls Ctrl-C, catches panics, maps errors.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;

use super::errors::to_python;
use crate::error::{Error, Result};
use crate::runtime;
use crate::store::Body;

/// How long a signal may wait for us.
const POLL: Duration = Duration::from_millis(50);

/// Where the last panic of this module happened: file and line of our own source, never its message.
static PANICKED_AT: Mutex<Option<String>> = Mutex::new(None);

/// Runs work of some microseconds on the calling thread: releasing the GIL would cost more than it gives.
pub(super) fn brief<T>(py: Python<'_>, work: impl FnOnce() -> Result<T>) -> PyResult<T> {
    guarded(work).map_err(|e| to_python(py, e))
}

/// Runs short work on the calling thread.
pub(super) fn quick<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    py.detach(|| guarded(work)).map_err(|e| to_python(py, e))
}

/// Runs long work on the compute pool; Ctrl-C sets the flag that the work is given, and waits for it.
pub(super) fn compute<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&AtomicBool) -> Result<T> + Send,
) -> PyResult<T> {
    compute_beside(py, work, None)
}

/// Runs long work that makes what answers with arrays: numpy, whose import takes as long as a small model's load,
/// is imported meanwhile. Where it is not installed, the first answer says so.
pub(super) fn load<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&AtomicBool) -> Result<T> + Send,
) -> PyResult<T> {
    let import = |py: Python<'_>| match py.import("numpy") {
        Err(e) if e.is_instance_of::<PyKeyboardInterrupt>(py) => Err(e),
        _ => Ok(()),
    };
    compute_beside(py, work, Some(import))
}

/// [`compute`], and `beside` on the calling thread before it waits; what that raises stops the work.
fn compute_beside<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&AtomicBool) -> Result<T> + Send,
    beside: Option<fn(Python<'_>) -> PyResult<()>>,
) -> PyResult<T> {
    let stop = AtomicBool::new(false);
    let (outcome, interrupt) = py.detach(|| {
        let pool = match runtime::compute() {
            Ok(pool) => pool,
            Err(e) => return (Err(e), None),
        };
        let (send, receive) = channel();
        pool.in_place_scope(|scope| {
            scope.spawn(|_| {
                // The receiver lives until this scope ends.
                let _ = send.send(guarded(|| work(&stop)));
            });
            let mut interrupt = beside.and_then(|beside| Python::attach(beside).err());
            stop.store(interrupt.is_some(), Ordering::Relaxed);
            loop {
                match receive.recv_timeout(POLL) {
                    Ok(outcome) => return (outcome, interrupt),
                    Err(RecvTimeoutError::Disconnected) => {
                        return (Err(Error::internal("a worker thread ended early")), interrupt);
                    }
                    Err(RecvTimeoutError::Timeout) if interrupt.is_none() => {
                        interrupt = Python::attach(|py| py.check_signals().err());
                        stop.store(interrupt.is_some(), Ordering::Relaxed);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        })
    });
    match interrupt {
        Some(interrupt) => Err(interrupt),
        None => outcome.map_err(|e| to_python(py, e)),
    }
}

/// More bytes are a large object: worth threads of their own.
const LARGE: u64 = 16 << 20;

/// Waits for a store; Ctrl-C drops the future.
pub(super) fn io<T: Send>(
    py: Python<'_>,
    future: impl Future<Output = Result<T>> + Send,
) -> PyResult<T> {
    wait(py, runtime::io, future)
}

/// As [`io`], for a call that moves `bytes`.
pub(super) fn io_of<T: Send>(
    py: Python<'_>,
    bytes: u64,
    future: impl Future<Output = Result<T>> + Send,
) -> PyResult<T> {
    wait(py, if bytes > LARGE { runtime::io_large } else { runtime::io }, future)
}

/// Bytes of a body, as far as they can be told before the call.
pub(super) fn size(body: &Body) -> u64 {
    body.bytes().unwrap_or(0)
}

/// The only place that blocks on a future.
fn wait<T: Send>(
    py: Python<'_>,
    made: fn() -> Result<Arc<tokio::runtime::Runtime>>,
    future: impl Future<Output = Result<T>> + Send,
) -> PyResult<T> {
    let interrupted = async {
        loop {
            tokio::time::sleep(POLL).await;
            #[allow(clippy::redundant_closure_for_method_calls)] // the method is not general enough
            if let Err(interrupt) = Python::attach(|py| py.check_signals()) {
                return interrupt;
            }
        }
    };
    let outcome = py.detach(|| {
        guarded(|| {
            made()?.block_on(async {
                let outcome = tokio::select! {
                    biased;
                    done = future => done.map(Ok),
                    interrupt = interrupted => Ok(Err(interrupt)),
                };
                if !matches!(outcome, Ok(Ok(_))) {
                    runtime::settle().await;
                }
                outcome
            })
        })
    });
    outcome.map_err(|e| to_python(py, e))?
}

/// A panic's message can quote what was being worked on: says where it was, and nothing else.
pub(super) fn hide_panics() {
    set_hook(Box::new(|info| {
        let at = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
        *PANICKED_AT.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }));
}

fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn panicked(_message: &(dyn Any + Send)) -> Error {
    let at = PANICKED_AT.lock().unwrap_or_else(PoisonError::into_inner).take();
    let at = at.unwrap_or_else(|| "an unknown place".to_owned());
    // Only what follows the last folder that is the same on every machine.
    let at = at.rsplit_once("/src/").map_or(at.as_str(), |(_, rest)| rest);
    Error::internal(format!("a panic at {at}"))
}
