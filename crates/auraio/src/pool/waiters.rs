//! Who waits for memory, in order.
//!
//! Only the first is ever served, so a large wish is not starved by small ones behind it, and whoever does not wait is
//! refused while somebody does. Memory that comes free is given to the first by whoever freed it: a future that is not
//! polled delays nobody but itself.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering::Relaxed,
    task::{Poll, Waker},
};

use super::sync::{Arc, AtomicBool, Mutex, lock};

/// The queue of those who wait for a `T`, each for one that fits its wish `W`.
#[derive(Debug)]
pub(super) struct Waiters<W, T> {
    /// Whether there are any. Written under the lock of the queue.
    any: AtomicBool,
    queue: Mutex<VecDeque<Arc<Waiter<W, T>>>>,
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter<W, T> {
    wish: W,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
enum State<T> {
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
    /// Who gives memory back does so under the lock that guards it, and asks this afterwards. Who waits joins first, and
    /// looks for memory under the same lock afterwards. So one of the two sees the other.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        lock(&self.queue).len()
    }

    /// Joins the queue at its end. The caller then calls [`serve`](Self::serve), for what came free before it joined.
    pub(super) fn join(&self, wish: W) -> Arc<Waiter<W, T>> {
        let waiter = Arc::new(Waiter { wish, state: Mutex::new(State::Waiting(None)) });
        let mut queue = lock(&self.queue);
        queue.push_back(Arc::clone(&waiter));
        self.any.store(true, Relaxed);
        waiter
    }

    /// Leaves the queue, served or not. True if it had not been served and others wait, for whom the caller then calls
    /// [`serve`](Self::serve): what was not enough for this one may be for the next.
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

    /// Gives to the first what `take` finds for its wish, then to the next, until `take` finds nothing.
    ///
    /// `take` runs with the queue locked: it must neither wait for other threads' progress in the queue nor drop a `T`.
    pub(super) fn serve(&self, mut take: impl FnMut(&W) -> Option<T>) {
        let mut served = Vec::new();
        let mut queue = lock(&self.queue);
        while let Some(found) = queue.front().and_then(|first| take(&first.wish)) {
            let Some(first) = queue.pop_front() else { unreachable!("the queue is locked, and had a first") };
            let before = std::mem::replace(&mut *lock(&first.state), State::Given(found));
            // Dropped below: a waiter whose future is gone meanwhile drops what it was given, which comes back here.
            served.push((first, before));
        }
        self.any.store(!queue.is_empty(), Relaxed);
        drop(queue);
        for (waiter, before) in served {
            if let State::Waiting(Some(waker)) = before {
                waker.wake();
            }
            drop(waiter);
        }
    }
}

impl<W, T> Waiter<W, T> {
    /// What it was given; else the waker is woken when it is.
    pub(super) fn poll(&self, waker: &Waker) -> Poll<T> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Waiting(known) => {
                match known {
                    Some(known) => known.clone_from(waker),
                    None => *known = Some(waker.clone()),
                }
                Poll::Pending
            }
            State::Given(_) => match std::mem::replace(&mut *state, State::Taken) {
                State::Given(given) => Poll::Ready(given),
                _ => unreachable!("the state is locked"),
            },
            State::Taken => Poll::Pending,
        }
    }
}
