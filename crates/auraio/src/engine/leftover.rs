//! Rings whose thread has ended while something was still in flight on them.
//!
//! Operations whose futures were dropped are performed all the same: a write that nobody waits for is written. So a thread
//! that ends hands a busy ring over to its engine, which reaps it until it is idle, and only then lets it go.

use std::{
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{lock, ring::Ring};

/// The rings that an engine keeps although their threads have ended.
#[derive(Default)]
pub(crate) struct Leftover {
    rings: Mutex<Vec<Arc<Ring>>>,
    /// There may be some. Whoever reaps looks here first.
    any: AtomicBool,
}

impl Leftover {
    /// Keeps a ring until it is idle.
    pub(crate) fn keep(&self, ring: Arc<Ring>) {
        let mut rings = lock(&self.rings);
        rings.push(ring);
        self.any.store(true, Ordering::Release);
    }

    /// Lets go of the rings that are idle and that nobody else uses.
    #[inline]
    pub(crate) fn let_go_of_idle(&self) {
        if self.any.load(Ordering::Acquire) {
            self.look();
        }
    }

    #[cold]
    fn look(&self) {
        let mut rings = lock(&self.rings);
        // A future that still has an operation on a ring holds a share in it.
        let is_done = |ring: &Arc<Ring>| Arc::strong_count(ring) == 1 && ring.is_idle();
        let (done, busy) = mem::take(&mut *rings).into_iter().partition::<Vec<_>, _>(is_done);
        self.any.store(!busy.is_empty(), Ordering::Release);
        *rings = busy;
        drop(rings);
        // The end of a ring may end files, and those may use their engine.
        drop(done);
    }
}
