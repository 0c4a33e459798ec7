//! The door of a thread's cache: its thread goes in and out without a lock or an atomic read-modify-write, and another
//! thread can shut it.
//!
//! The thread says that it is inside, *then* looks whether the door is open. Who shuts it does so, *then* looks whether
//! somebody is inside. For this to be right each must see the other's first step before its own second, which takes a full
//! memory barrier on both sides: between the thread's two steps stands only [`light_barrier`], no instruction, and the one
//! who shuts pays for both with [`heavy_barrier`]. It is the pattern of asymmetric fences (membarrier(2), section NOTES).

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::sync::{AtomicBool, AtomicUsize, heavy_barrier, light_barrier, pause};

/// Of one cache.
#[derive(Debug)]
pub(super) struct Gate {
    /// Whom the door is open for: the pool whose blocks the cache holds, by its address; 0 when it is shut.
    pub(super) open_for: AtomicUsize,
    pub(super) inside: AtomicBool,
}

impl Gate {
    /// Goes in, if the door is open for this pool. Only the thread whose gate it is calls this; who was let in calls
    /// [`leave`](Self::leave), soon and without waiting for anybody.
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

    /// Goes out. What was done inside is seen by whoever shuts the door afterwards.
    #[inline]
    pub(super) fn leave(&self) {
        self.inside.store(false, Release);
    }

    /// Whether it is open for this pool, as its own thread sees it: another may be about to shut it.
    pub(super) fn is_open_for(&self, pool: usize) -> bool {
        self.open_for.load(Relaxed) == pool
    }

    /// Opens the door, for the thread whose gate it is. With the pool's list of caches locked, as it is by those who shut it.
    pub(super) fn open(&self, pool: usize) {
        self.open_for.store(pool, Relaxed);
    }

    /// Shuts the door for its own thread, which is not inside.
    pub(super) fn shut_own(&self) {
        self.open_for.store(0, Relaxed);
    }

    /// Shuts the doors of other threads (and of this one), then waits until nobody is inside. False, and all is as before,
    /// where the system has no such barrier.
    pub(super) fn shut_all<'a>(gates: impl Iterator<Item = &'a Self> + Clone, pool: usize) -> bool {
        gates.clone().for_each(|gate| gate.open_for.store(0, Relaxed));
        if !heavy_barrier() {
            gates.for_each(|gate| gate.open(pool));
            return false;
        }
        for gate in gates {
            while gate.inside.load(Acquire) {
                pause();
            }
        }
        true
    }
}
