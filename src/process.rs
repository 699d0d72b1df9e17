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
///
/// Asked for once: it is looked up before each read, and a limit does not change while a function runs.
#[must_use]
pub(crate) fn memory_bytes() -> u64 {
    static FOUND: OnceLock<u64> = OnceLock::new();
    *FOUND.get_or_init(find_memory_bytes)
}

fn find_memory_bytes() -> u64 {
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

/// Smallest memory for which huge pages are asked: two of them.
#[cfg(target_os = "linux")]
const HUGE: usize = 4 << 20;

/// Asks the system to back memory that nothing has been written to with huge pages, as numpy does for its own:
/// to be given 4 KiB at a time costs as much as to receive them.
#[cfg(target_os = "linux")]
pub(crate) fn ask_for_huge_pages(memory: &mut [MaybeUninit<u8>]) {
    const PAGE: usize = 4096;
    let bytes = memory.len();
    if bytes >= HUGE {
        let start = memory.as_mut_ptr().cast::<u8>();
        let skipped = start.align_offset(PAGE);
        // SAFETY: whole pages inside memory that is borrowed mutably; the advice changes no contents. It may be
        // refused, and is not needed.
        unsafe {
            let advised = start.add(skipped).cast();
            libc::madvise(advised, (bytes - skipped) & !(PAGE - 1), libc::MADV_HUGEPAGE);
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn ask_for_huge_pages(_: &mut [MaybeUninit<u8>]) {}
