//! The locks, atomics and barriers that the shared parts of the pool use (`door`, `shard`, `slab`, `waiters`).
//!
//! These parts must take them from here and nowhere else: the test `pool_models` compiles the same files over loom's
//! versions of these names, and runs their threads in every possible order.

use std::sync::atomic::{Ordering, compiler_fence};
pub(super) use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize},
};

pub(super) use crate::lock;

/// Keeps the compiler from moving memory accesses across it; it is no instruction. Together with [`heavy_barrier`] on
/// another thread it acts as a full barrier.
#[inline]
pub(super) fn light_barrier() {
    compiler_fence(Ordering::SeqCst);
}

/// A full memory barrier on every thread of the process, for which only this thread pays; false if the system has none.
pub(super) fn heavy_barrier() -> bool {
    #[cfg(test)]
    if withheld::BARRIER.get() {
        return false;
    }
    crate::sys::memory::barrier_on_all_threads()
}

/// Lets another thread run for a moment: it may be on this core.
pub(super) fn pause() {
    std::thread::yield_now();
}

/// Lets a test run as on a system that has no barrier on all threads.
#[cfg(test)]
pub(super) mod withheld {
    use std::cell::Cell;

    thread_local! {
        pub(in crate::pool) static BARRIER: Cell<bool> = const { Cell::new(false) };
    }
}
