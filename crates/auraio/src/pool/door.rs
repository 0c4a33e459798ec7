//! The door of a thread's cache. The cache's own thread goes in and out without a lock and without an atomic
//! read-modify-write; another thread can shut the door and wait until nobody is inside.
//!
//! The owner first notes that it is inside, *then* checks that the door is open. The other thread first shuts the door,
//! *then* checks whether the owner is inside. Each must see the other's first step before its own second. That takes a full
//! memory barrier on both sides. The owner goes in often, so its side has only [`light_barrier`], which is no instruction;
//! the thread that shuts the door pays for both sides with [`heavy_barrier`]. This is the pattern of asymmetric fences
//! (membarrier(2), section NOTES).
//!
//! Where the system has no such barrier, [`Door::shut_all`] refuses and leaves the doors open: without it two threads could
//! be inside at once, and a block could be handed out twice.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::sync::{AtomicBool, AtomicUsize, heavy_barrier, light_barrier, pause};

/// The door of one cache.
#[derive(Debug)]
pub(super) struct Door {
    /// The address of the pool that the door is open for, which is the pool whose blocks the cache holds; 0 when it is shut.
    pub(super) open_for: AtomicUsize,
    pub(super) inside: AtomicBool,
}

impl Door {
    /// Goes in, if the door is open for this pool. Only the cache's own thread calls this. If the answer is true, it must
    /// call [`leave`](Self::leave) soon, without waiting for another thread in between.
    #[inline]
    pub(super) fn enter(&self, pool: usize) -> bool {
        self.inside.store(true, Relaxed);
        light_barrier();
        if self.open_for.load(Relaxed) == pool {
            return true;
        }
        self.leave();
        false
    }

    /// Goes out. A thread that shuts the door afterwards sees all writes that were made inside.
    #[inline]
    pub(super) fn leave(&self) {
        self.inside.store(false, Release);
    }

    /// Whether the door is open for this pool, as its own thread sees it. Another thread may be about to shut it.
    pub(super) fn is_open_for(&self, pool: usize) -> bool {
        self.open_for.load(Relaxed) == pool
    }

    /// Opens the door. Only the cache's own thread calls this, with the pool's list of caches locked; threads that shut the
    /// door lock the same list.
    pub(super) fn open(&self, pool: usize) {
        self.open_for.store(pool, Relaxed);
    }

    /// Shuts the door. Only the cache's own thread calls this, while it is not inside.
    pub(super) fn shut_own(&self) {
        self.open_for.store(0, Relaxed);
    }

    /// Shuts the doors of all threads, this one included, then waits until nobody is inside. If the system has no barrier
    /// on all threads, it opens the doors again and answers false.
    pub(super) fn shut_all<'a>(doors: impl Iterator<Item = &'a Self> + Clone, pool: usize) -> bool {
        doors.clone().for_each(|door| door.open_for.store(0, Relaxed));
        if !heavy_barrier() {
            doors.for_each(|door| door.open(pool));
            return false;
        }
        for door in doors {
            while door.inside.load(Acquire) {
                pause();
            }
        }
        true
    }
}
