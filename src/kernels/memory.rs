use std::mem::MaybeUninit;

/// Where pages are larger, the system refuses what is not at their bounds.
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;
/// Less is taken from memory that the process has already, as a rule.
const WORTH: usize = 256 << 10;
/// Several huge pages, so that those at the ends do not matter.
const MUCH: usize = 16 << 20;

/// Asks the system at once for the pages of room that is about to be filled, and for huge ones where there is
/// much of it: to fault page by page costs more than to fill them. Only advice: where it is not taken, pages come
/// one by one, as ever.
pub fn prepare<T>(room: &mut [MaybeUninit<T>]) {
    let bytes = size_of_val(room);
    if bytes >= MUCH {
        ask_for_huge_pages(room);
    }
    if bytes >= WORTH {
        populate(room);
    }
}

/// Advises to back memory with huge pages: each is found with one look-up instead of 512, and read ahead as a whole.
pub(super) fn ask_for_huge_pages<T>(memory: &mut [T]) {
    #[cfg(target_os = "linux")]
    advise(memory, libc::MADV_HUGEPAGE);
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// Advises to give the pages of memory at once.
pub(super) fn populate<T>(memory: &mut [T]) {
    #[cfg(target_os = "linux")]
    advise(memory, libc::MADV_POPULATE_WRITE);
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

#[cfg(target_os = "linux")]
fn advise<T>(memory: &mut [T], advice: libc::c_int) {
    let (start, bytes) = (memory.as_mut_ptr().cast::<u8>(), size_of_val(memory));
    let before = start.addr().wrapping_neg() % PAGE;
    if bytes < before + PAGE {
        return;
    }
    let len = (bytes - before) / PAGE * PAGE;
    // SAFETY: the pages lie inside of memory that the caller alone has, and neither advice changes what they hold.
    unsafe { libc::madvise(start.wrapping_add(before).cast(), len, advice) };
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
