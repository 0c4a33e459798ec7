//! Who waits for an engine to be idle.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use crate::lock;

/// How long whoever reaps may sleep while somebody waits for the engine to be idle. The last completion may be reaped by
/// another thread, on its own ring, and then nothing wakes the one that looks.
pub(super) const LOOK: Duration = Duration::from_millis(2);

/// Those who wait for an engine to be idle.
#[derive(Default)]
pub(crate) struct Waiters {
    wakers: Mutex<Vec<(u64, Waker)>>,
    /// As many, readable without the lock: whoever reaps looks at it each time.
    count: AtomicUsize,
    numbers: AtomicU64,
}

impl Waiters {
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// A number for somebody who will wait.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Remembers whom to wake, in place of whom it was before.
    pub(crate) fn set(&self, number: u64, waker: Waker) {
        let mut wakers = lock(&self.wakers);
        let before = match wakers.iter_mut().find(|(its, _)| *its == number) {
            Some((_, its)) => Some(std::mem::replace(its, waker)),
            None => {
                wakers.push((number, waker));
                None
            }
        };
        self.count.store(wakers.len(), Ordering::SeqCst);
        drop(wakers);
        // A waker's end is code of the caller's, which may come back here.
        drop(before);
    }

    pub(crate) fn forget(&self, number: u64) {
        let mut wakers = lock(&self.wakers);
        let gone = wakers.iter().position(|(its, _)| *its == number).map(|at| wakers.swap_remove(at));
        self.count.store(wakers.len(), Ordering::SeqCst);
        drop(wakers);
        drop(gone);
    }

    /// Wakes all. Each looks again, and waits again if it has to.
    pub(crate) fn wake(&self) {
        let mut wakers = lock(&self.wakers);
        let all = std::mem::take(&mut *wakers);
        self.count.store(0, Ordering::SeqCst);
        drop(wakers);
        for (_, waker) in all {
            // A waker that panics keeps neither the others from being woken nor the rings from being reaped.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}
