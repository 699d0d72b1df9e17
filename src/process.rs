//! What belongs to a process: values of which a child of `fork` makes its own, and its memory.

use std::mem::MaybeUninit;
use std::process;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::error::Result;

/// A value made once a process, by whoever needs it first.
pub(crate) struct Slot<T> {
    current: AtomicPtr<Made<T>>,
}

/// The lock is behind the process's id: one that another thread held during `fork` stays held in the child,
/// which never touches it.
struct Made<T> {
    pid: u32,
    value: Mutex<Option<Arc<T>>>,
}

impl<T> Slot<T> {
    pub(crate) const fn new() -> Self {
        Self { current: AtomicPtr::new(std::ptr::null_mut()) }
    }

    pub(crate) fn get(&'static self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut value = self.lock();
        if let Some(value) = &*value {
            return Ok(Arc::clone(value));
        }
        let fresh = Arc::new(make()?);
        *value = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    pub(crate) fn clear(&'static self) {
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

/// Most memory that this process can have, in bytes: the machine's, or its control group's where that is less.
#[must_use]
pub(crate) fn memory_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(read_memory_bytes)
}

fn read_memory_bytes() -> u64 {
    // SAFETY: `sysconf` has no preconditions.
    let (pages, size) =
        unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    let machine = match (u64::try_from(pages), u64::try_from(size)) {
        (Ok(pages), Ok(size)) => pages.saturating_mul(size),
        _ => u64::MAX,
    };
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max");
    group
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map_or(machine, |group: u64| machine.min(group))
}

/// Less is not worth a system call.
const WORTH_BYTES: usize = 4 << 20;

/// Asks for huge pages under memory that is about to be written, where that saves thousands of page faults: a third of
/// the time of a large read. Where the system has none it stays as it is.
pub(crate) fn expect_writes(memory: &mut [MaybeUninit<u8>]) {
    const PAGE: usize = 4096;
    if memory.len() < WORTH_BYTES {
        return;
    }
    let skip = memory.as_ptr().align_offset(PAGE);
    if let Some(pages) = memory.get_mut(skip..) {
        // SAFETY: the range lies within memory that is ours, and the advice changes none of its content.
        unsafe { libc::madvise(pages.as_mut_ptr().cast(), pages.len(), MADV_HUGEPAGE) };
    }
}

#[cfg(target_os = "linux")]
use libc::MADV_HUGEPAGE;
/// Advice that changes nothing.
#[cfg(not(target_os = "linux"))]
const MADV_HUGEPAGE: libc::c_int = libc::MADV_NORMAL;
