//! Threads that share the operations of one pass.
//!
//! An operation takes tens of microseconds, which is what it takes to wake a thread: so helpers join a pass once, as
//! jobs of the current pool, and spin between its operations. They wait for tens of microseconds at most, then leave,
//! and are invited again. One that comes late or never delays nothing: whoever leads the pass claims chunks too, and
//! waits only for those that others have claimed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// How often a waiting thread looks again at once: some microseconds. After that it lets others have the processor
/// between looks, among them whoever it waits for.
const SPINS: usize = 200;
/// How often it looks in all before it gives up: some tens of microseconds.
const PATIENCE: usize = 300;
/// Helpers have a bit each.
const MOST_HELPERS: usize = 63;
/// Chunks nobody has claimed yet are in the low half of the state.
const LEFT: u64 = u32::MAX as u64;

/// A leader, and the helpers that it invites.
#[derive(Debug)]
pub(super) struct Team {
    /// The number of the call in the high half, and how many of its chunks nobody has claimed yet.
    state: AtomicU64,
    /// Chunks of the current call that are done.
    done: AtomicUsize,
    /// The current call. It lives until all of its chunks are done.
    call: AtomicPtr<Call<'static>>,
    /// A bit for each helper that was invited and has not left yet.
    invited: AtomicU64,
    closed: AtomicBool,
    /// Held by whoever leads.
    lead: Mutex<()>,
    helpers: usize,
}

/// One operation.
struct Call<'a> {
    work: &'a (dyn Fn(usize) -> Result<()> + Sync),
    chunks: usize,
    failure: Mutex<Option<Error>>,
}

impl Team {
    /// A team of as many threads of the current pool, or fewer.
    pub(super) fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            call: AtomicPtr::default(),
            invited: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            lead: Mutex::new(()),
            helpers: threads.saturating_sub(1).min(MOST_HELPERS),
        })
    }

    /// Calls `work` once for each number below `chunks`, in any order, on any of the team's threads.
    ///
    /// # Errors
    /// What a call of `work` fails with, after all have ended; a panic is [`Error::Internal`].
    pub(super) fn run(
        self: &Arc<Self>,
        chunks: usize,
        work: &(dyn Fn(usize) -> Result<()> + Sync),
    ) -> Result<()> {
        // Chunks that run chunks of their own do so alone.
        let Ok(_lead) = self.lead.try_lock() else { return (0..chunks).try_for_each(work) };
        if chunks > u32::MAX as usize {
            return (0..chunks).try_for_each(work);
        }
        let call = Call { work, chunks, failure: Mutex::new(None) };
        self.invite(chunks.saturating_sub(1));
        // Nobody looks at these three: no chunk is left of the call before, and none is claimed.
        self.done.store(0, Ordering::Relaxed);
        self.call
            .store(std::ptr::from_ref(&call).cast::<Call<'static>>().cast_mut(), Ordering::Relaxed);
        let number = (self.state.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.state.store(number << 32 | chunks as u64, Ordering::Release);
        while let Some(left) = self.claim() {
            self.perform(left);
        }
        // From here on nobody has a claim, or looks at the call.
        self.wait(chunks);
        call.failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Sends the helpers away; those that come later too.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn invite(self: &Arc<Self>, helpers: usize) {
        for helper in 0..helpers.min(self.helpers) {
            let bit = 1 << helper;
            // The leader alone sets bits.
            if self.invited.load(Ordering::Relaxed) & bit == 0 {
                self.invited.fetch_or(bit, Ordering::Relaxed);
                let team = Arc::clone(self);
                rayon::spawn(move || team.help(bit));
            }
        }
    }

    /// Works on what there is, until there is nothing for a while.
    fn help(&self, bit: u64) {
        let mut idle = 0;
        while idle < PATIENCE && !self.closed.load(Ordering::Relaxed) {
            if let Some(left) = self.claim() {
                self.perform(left);
                idle = 0;
            } else {
                pause(idle);
                idle += 1;
            }
        }
        self.invited.fetch_and(!bit, Ordering::Relaxed);
    }

    /// Claims a chunk of the current call; returns how many were left, with this one.
    fn claim(&self) -> Option<usize> {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & LEFT > 0 {
            // Acquires what the leader wrote before it published the call.
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            match self.state.compare_exchange_weak(state, state - 1, success, failure) {
                Ok(_) => return usize::try_from(state & LEFT).ok(),
                Err(now) => state = now,
            }
        }
        None
    }

    /// Does the chunk that was claimed when so many were left.
    fn perform(&self, left: usize) {
        // SAFETY: a claimed chunk of the current call is not done yet, and until it is, `run` does not return: the
        // call and what it borrows are alive. The claim has acquired what the leader wrote.
        let call = unsafe { &*self.call.load(Ordering::Relaxed) };
        let chunk = call.chunks - left;
        let outcome = catch_unwind(AssertUnwindSafe(|| (call.work)(chunk)))
            .unwrap_or_else(|_| Err(Error::internal("a panic in a part of an operation")));
        if let Err(error) = outcome {
            call.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        // The leader sees what this chunk wrote. `call` may be gone from here on.
        self.done.fetch_add(1, Ordering::Release);
    }

    /// Waits for the chunks that others have claimed: not for long, unless their threads have lost the processor.
    fn wait(&self, chunks: usize) {
        let mut looks = 0usize;
        while self.done.load(Ordering::Acquire) != chunks {
            if looks < PATIENCE {
                pause(looks);
            } else {
                std::thread::sleep(Duration::from_micros(50));
            }
            looks += 1;
        }
    }
}

fn pause(looks: usize) {
    if looks < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn every_chunk_is_done_once_before_the_call_ends() {
        let team = Team::new(4);
        pool(4).install(|| {
            for call in 0..20_000usize {
                // Each call has memory of its own, which is gone after it.
                let counts: Vec<AtomicUsize> =
                    (0..call % 17).map(|_| AtomicUsize::new(0)).collect();
                let work = |chunk: usize| {
                    counts[chunk].fetch_add(call + 1, Ordering::Relaxed);
                    Ok(())
                };
                team.run(counts.len(), &work).unwrap();
                assert!(counts.into_iter().all(|count| count.into_inner() == call + 1));
            }
        });
        team.close();
    }

    #[test]
    fn helpers_that_never_come_delay_nothing() {
        // One thread, which leads: the invitations lie in its own queue.
        let team = Team::new(8);
        pool(1).install(|| {
            let sum = AtomicUsize::new(0);
            let work = |chunk| {
                sum.fetch_add(chunk, Ordering::Relaxed);
                Ok(())
            };
            for _ in 0..100 {
                team.run(10, &work).unwrap();
            }
            assert_eq!(sum.load(Ordering::Relaxed), 4500);
        });
    }

    #[test]
    fn helpers_do_help_and_leave() {
        let (team, pool) = (Team::new(2), pool(2));
        pool.install(|| {
            // Two chunks that wait for each other.
            let both = std::sync::Barrier::new(2);
            team.run(2, &|_| {
                both.wait();
                Ok(())
            })
            .unwrap();
        });
        team.close();
        // Only the one here is left once the helper has gone.
        while Arc::strong_count(&team) > 1 {
            std::thread::yield_now();
        }
        assert_eq!(team.invited.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn errors_and_panics_come_back_as_errors() {
        let (team, pool) = (Team::new(3), pool(3));
        pool.install(|| {
            for bad in 0..50 {
                let panics = team.run(50, &|chunk| {
                    assert!(chunk != bad);
                    Ok(())
                });
                assert!(panics.unwrap_err().to_string().contains("a panic"));
                let fails = team.run(50, &|chunk| {
                    if chunk == bad { Err(Error::input("this one")) } else { Ok(()) }
                });
                assert!(fails.unwrap_err().to_string().contains("this one"));
                team.run(50, &|_| Ok(())).unwrap();
            }
        });
    }

    #[test]
    fn a_call_within_a_call_is_done_alone() {
        let (team, pool) = (Team::new(3), pool(3));
        let count = AtomicUsize::new(0);
        pool.install(|| {
            team.run(5, &|_| {
                team.run(7, &|_| {
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                })
            })
            .unwrap();
        });
        assert_eq!(count.into_inner(), 35);
    }

    #[test]
    fn many_teams_share_a_pool() {
        let pool = pool(3);
        pool.scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|_| {
                    let team = Team::new(3);
                    for call in 0..500usize {
                        let sum = AtomicUsize::new(0);
                        let work = |chunk: usize| {
                            sum.fetch_add(chunk + 1, Ordering::Relaxed);
                            Ok(())
                        };
                        team.run(call % 9, &work).unwrap();
                        assert_eq!(sum.into_inner(), (call % 9) * (call % 9 + 1) / 2);
                    }
                    team.close();
                });
            }
        });
    }
}
