//! What the parts of the pool that threads share are made of.
//!
//! The test `pool_models` compiles the same parts over loom's versions of these names, and goes through every order in
//! which their threads can run. So those parts (`gate`, `shard`, `slab`, `waiters`) take them from here alone.

use std::sync::atomic::{Ordering, compiler_fence};
pub(super) use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize},
};

pub(super) use crate::lock;

/// Keeps the compiler from moving memory accesses across; no instruction. Against [`heavy_barrier`] it is a full barrier.
#[inline]
pub(super) fn light_barrier() {
    compiler_fence(Ordering::SeqCst);
}

/// A full memory barrier on every thread of the process, at this thread's cost alone; false where the system has none.
pub(super) fn heavy_barrier() -> bool {
    #[cfg(test)]
    if withheld::BARRIER.get() {
        return false;
    }
    crate::sys::memory::barrier_on_all_threads()
}

/// Waits a moment for another thread, which may be on this core.
pub(super) fn pause() {
    std::thread::yield_now();
}

/// Lets a test run as on a system that has no such barrier.
#[cfg(test)]
pub(super) mod withheld {
    use std::cell::Cell;

    thread_local! {
        pub(in crate::pool) static BARRIER: Cell<bool> = const { Cell::new(false) };
    }
}
