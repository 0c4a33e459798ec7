//! Who may touch a ring's state, and when.
//!
//! A ring that any thread may submit to keeps its state under a lock. A ring that belongs to one thread (a port's own) takes
//! no lock: its owner is the only one that is let in. Other threads leave a [`Letter`] in the ring's [`Inbox`] and wake the
//! owner, which does what the letter says when it next looks at the ring.
//!
//! Nobody runs code of the user's while it is inside: no iterator, buffer, waker or destructor. So nobody comes in twice.
#![expect(unsafe_code, reason = "one thread's state without a lock")]

use std::{
    cell::{Cell, UnsafeCell},
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
};

use crossbeam_queue::SegQueue;

use super::{Key, Mailbox, State};
use crate::{lock, sys::Descriptor};

/// Tells threads apart, cheaply: the address of something that each has one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadMark(usize);

impl ThreadMark {
    #[inline]
    pub(crate) fn current() -> Self {
        thread_local!(static MARK: u8 = const { 0 });
        MARK.with(|mark| Self(std::ptr::from_ref(mark) as usize))
    }
}

/// A ring's state, and the rule for who may touch it.
pub(super) struct Access {
    /// The one thread that is let in; `None` where any is, one at a time.
    owner: Option<ThreadMark>,
    /// The owner is inside. Only the owner's thread reads or writes it.
    inside: Cell<bool>,
    shared: Mutex<()>,
    state: UnsafeCell<State>,
}

// SAFETY: `state` and `inside` are touched only through `Held`. For a shared ring that takes the lock. For an owned one it
// takes being the owner's thread, which is one thread at a time: the mark is the address of a thread-local, and a later
// thread has the same address only after the earlier one has ended. `State` itself may be sent.
unsafe impl Sync for Access {}

/// The state, for as long as this is held.
pub(super) struct Held<'a> {
    access: &'a Access,
    /// `None` for a ring that belongs to one thread.
    guard: Option<MutexGuard<'a, ()>>,
}

impl Access {
    pub(super) const fn new(owner: Option<ThreadMark>, state: State) -> Self {
        Self { owner, inside: Cell::new(false), shared: Mutex::new(()), state: UnsafeCell::new(state) }
    }

    /// Whether the calling thread may make the kernel look at the submission queue.
    #[inline]
    pub(super) fn is_mine(&self) -> bool {
        self.owner.is_none_or(|owner| owner == ThreadMark::current())
    }

    /// The state, or `None` where it belongs to another thread: leave a letter instead.
    #[inline(always)]
    pub(super) fn enter(&self) -> Option<Held<'_>> {
        match self.owner {
            None => Some(Held { access: self, guard: Some(lock(&self.shared)) }),
            Some(owner) if owner == ThreadMark::current() => {
                assert!(!self.inside.replace(true), "a ring's own thread came in twice");
                Some(Held { access: self, guard: None })
            }
            Some(_) => None,
        }
    }

    /// The same, and also `None` if another thread is inside.
    pub(super) fn try_enter(&self) -> Option<Held<'_>> {
        if self.owner.is_some() {
            return if self.is_mine() && !self.inside.get() { self.enter() } else { None };
        }
        match self.shared.try_lock() {
            Ok(guard) => Some(Held { access: self, guard: Some(guard) }),
            Err(TryLockError::Poisoned(poisoned)) => Some(Held { access: self, guard: Some(poisoned.into_inner()) }),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The state of a ring that nobody else has a share in any more.
    pub(super) fn get_mut(&mut self) -> &mut State {
        self.state.get_mut()
    }
}

impl Deref for Held<'_> {
    type Target = State;

    #[inline(always)]
    fn deref(&self) -> &State {
        // SAFETY: `enter` let this thread in alone, and `Held` cannot be sent to another (it borrows a `Cell`).
        unsafe { &*self.access.state.get() }
    }
}

impl DerefMut for Held<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut State {
        // SAFETY: as above; `self` is borrowed mutably, so there is no other reference from this `Held`.
        unsafe { &mut *self.access.state.get() }
    }
}

impl Drop for Held<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.guard.is_none() {
            self.access.inside.set(false);
        }
    }
}

/// What another thread wants of a ring that belongs to one thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum Letter {
    /// The turn of a held operation has come: start it.
    Release(Key),
    /// The file with this number is being closed: cancel the operations on it that may wait for ever.
    CancelFile(u64),
    /// The engine shuts down: cancel all operations that may wait for ever.
    CancelEndless,
    /// Nothing works on this opening of a file any more: empty its place in the ring's table.
    ForgetFile(Descriptor, u64),
    /// Memory was unregistered: give up the ring's registration of it.
    Tidy,
}

/// Where letters for a ring's owner wait.
#[derive(Default)]
pub(super) struct Inbox {
    letters: SegQueue<Letter>,
    /// Whether there may be letters.
    any: AtomicBool,
    /// The owner's port. Its bell wakes the owner.
    owner: OnceLock<Arc<Mailbox>>,
}

impl Inbox {
    /// Sets the port that a letter wakes.
    pub(super) fn belongs_to(&self, mailbox: &Arc<Mailbox>) {
        let _ = self.owner.set(Arc::clone(mailbox));
    }

    pub(super) fn post(&self, letter: Letter) {
        self.letters.push(letter);
        self.any.store(true, Ordering::Release);
        if let Some(owner) = self.owner.get() {
            owner.bell.ring();
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Takes one letter.
    pub(super) fn take(&self) -> Option<Letter> {
        // The flag is cleared first. A letter that is posted after the look below sets it again.
        self.any.store(false, Ordering::Release);
        let letter = self.letters.pop();
        if !self.letters.is_empty() {
            self.any.store(true, Ordering::Release);
        }
        letter
    }
}
