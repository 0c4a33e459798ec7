//! The queue of those who wait for memory.
//!
//! Only the first in the queue is served, so small requests behind a large one cannot starve it. For the same reason the pool
//! refuses a request that does not wait while somebody waits. The thread that frees memory gives it to the first in the
//! queue. So a future that nobody polls delays only itself.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering::Relaxed,
    task::{Poll, Waker},
};

use super::sync::{Arc, AtomicBool, Mutex, lock};

/// A queue of waiters. Each waits for a `T` that fits its request `W`.
#[derive(Debug)]
pub(super) struct Waiters<W, T> {
    /// Whether the queue has a waiter. Written under the lock of the queue.
    any: AtomicBool,
    queue: Mutex<VecDeque<Arc<Waiter<W, T>>>>,
}

/// One waiter.
#[derive(Debug)]
pub(super) struct Waiter<W, T> {
    request: W,
    state: Mutex<WaiterState<T>>,
}

#[derive(Debug)]
enum WaiterState<T> {
    Waiting(Option<Waker>),
    Given(T),
    Taken,
}

impl<W, T> Waiters<W, T> {
    pub(super) fn new() -> Self {
        Self { any: AtomicBool::new(false), queue: Mutex::new(VecDeque::new()) }
    }

    /// Whether somebody waits.
    ///
    /// A thread that gives memory back does so under the lock of that memory, and calls this afterwards. A thread that is
    /// going to wait joins the queue first, and looks for memory under the same lock afterwards. So either the first sees the
    /// waiter, or the second sees the memory.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// How many waiters there are.
    pub(super) fn len(&self) -> usize {
        lock(&self.queue).len()
    }

    /// Joins the queue at its end. The caller then calls [`serve`](Self::serve), because memory may have come free before it
    /// joined.
    pub(super) fn join(&self, request: W) -> Arc<Waiter<W, T>> {
        let waiter = Arc::new(Waiter { request, state: Mutex::new(WaiterState::Waiting(None)) });
        let mut queue = lock(&self.queue);
        queue.push_back(Arc::clone(&waiter));
        self.any.store(true, Relaxed);
        waiter
    }

    /// Leaves the queue. True if the waiter had not been served and others wait. The caller then calls
    /// [`serve`](Self::serve): the free memory may be enough for the next waiter, though it was not for this one.
    pub(super) fn leave(&self, waiter: &Arc<Waiter<W, T>>) -> bool {
        let mut queue = lock(&self.queue);
        let Some(at) = queue.iter().position(|other| Arc::ptr_eq(other, waiter)) else { return false };
        let left = queue.remove(at);
        let others = !queue.is_empty();
        self.any.store(others, Relaxed);
        drop(queue);
        drop(left);
        others
    }

    /// Serves waiters from the first on: gives each what `take` finds for its request, until `take` finds nothing.
    ///
    /// `take` runs with the queue locked. So it must not wait for a thread that needs the queue, and must not drop a `T`.
    pub(super) fn serve(&self, mut take: impl FnMut(&W) -> Option<T>) {
        let mut served = Vec::new();
        let mut queue = lock(&self.queue);
        while let Some(found) = queue.front().and_then(|first| take(&first.request)) {
            let Some(first) = queue.pop_front() else { unreachable!("the queue is locked, and had a first") };
            let before = std::mem::replace(&mut *lock(&first.state), WaiterState::Given(found));
            // Dropped below, without the lock. If the waiter's future is gone by now, dropping it drops the memory that it was
            // given, and that memory comes back to this queue.
            served.push((first, before));
        }
        self.any.store(!queue.is_empty(), Relaxed);
        drop(queue);
        for (waiter, before) in served {
            if let WaiterState::Waiting(Some(waker)) = before {
                waker.wake();
            }
            drop(waiter);
        }
    }
}

impl<W, T> Waiter<W, T> {
    /// The memory that the waiter was given. If there is none yet, the waker is woken when there is.
    pub(super) fn poll(&self, waker: &Waker) -> Poll<T> {
        let mut state = lock(&self.state);
        match &mut *state {
            WaiterState::Waiting(known) => {
                match known {
                    Some(known) => known.clone_from(waker),
                    None => *known = Some(waker.clone()),
                }
                Poll::Pending
            }
            WaiterState::Given(_) => match std::mem::replace(&mut *state, WaiterState::Taken) {
                WaiterState::Given(given) => Poll::Ready(given),
                _ => unreachable!("the state is locked"),
            },
            WaiterState::Taken => Poll::Pending,
        }
    }
}
