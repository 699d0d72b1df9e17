use std::mem::MaybeUninit;

/// Asks the system at once for the pages of room that is about to be filled, and for large ones where there is
/// much of it: to fault page by page costs more than to fill them. Only advice: where it is not taken, pages come
/// one by one, as ever.
pub fn prepare<T>(room: &mut [MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    advise(room.as_mut_ptr().cast(), size_of_val(room));
    #[cfg(not(target_os = "linux"))]
    let _ = room;
}

#[cfg(target_os = "linux")]
fn advise(start: *mut u8, bytes: usize) {
    /// Where pages are larger, the system refuses what is not at their bounds.
    const PAGE: usize = 4096;
    /// Less is taken from memory that the process has already, as a rule.
    const WORTH: usize = 256 << 10;
    /// Several large pages, so that those at the ends do not matter.
    const MUCH: usize = 16 << 20;
    if bytes < WORTH {
        return;
    }
    let before = start.addr().wrapping_neg() % PAGE;
    let len = (bytes - before) / PAGE * PAGE;
    let first = start.wrapping_add(before).cast();
    // SAFETY: the pages lie inside of memory that the caller alone has, and neither advice changes what they hold.
    unsafe {
        if bytes >= MUCH {
            libc::madvise(first, len, libc::MADV_HUGEPAGE);
        }
        libc::madvise(first, len, libc::MADV_POPULATE_WRITE);
    }
}

#[cfg(test)]
mod tests {
    use super::prepare;

    #[test]
    fn what_is_there_stays() {
        for len in [1usize, 70_000, 5_000_000] {
            let mut all: Vec<u32> = Vec::with_capacity(len + 3);
            all.extend([1, 2, 3]);
            prepare(all.spare_capacity_mut());
            all.extend((0..).take(len));
            assert_eq!((all[0], all[1], all[2], all[3]), (1, 2, 3, 0));
            assert_eq!(all.last(), Some(&u32::try_from(len - 1).unwrap()));
        }
    }
}
