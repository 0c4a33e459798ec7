//! What stands behind a ring, and how it is chosen.
//!
//! A [`Backend`] takes calls and gives completions: the kernel through `io_uring` ([`uring`]), a pool of threads
//! ([`threads`]), or a seeded stand-in for tests ([`sim`]). It knows nothing of slots, owners, retries or limits: those
//! are the ring's (`ring/`), written once, so the three differ in nothing that a caller can see but speed.

use std::{io, time::Duration};

use crate::sys::{Call, Descriptor};

pub(crate) mod sim;
pub(crate) mod threads;
#[cfg(target_os = "linux")]
pub(crate) mod uring;

/// One submission queue entry: what to do and what to call it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) call: Call,
    /// Comes back in the [`Cqe`]. Never [`Cqe::INTERNAL`].
    pub(crate) user_data: u64,
    /// The next entry pushed starts only when this one has done all that it was asked to (a short write is a failure);
    /// if it fails, every entry linked behind it completes with `ECANCELED`.
    pub(crate) link: bool,
    /// Never performed inside `submit`: for what would block the submitting thread (`IOSQE_ASYNC`).
    pub(crate) force_async: bool,
}

/// One completion queue entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cqe {
    pub(crate) user_data: u64,
    /// Zero or more, or a negated errno.
    pub(crate) result: i32,
}

impl Cqe {
    /// The `user_data` of a backend's own entries, which never leave it.
    pub(crate) const INTERNAL: u64 = u64::MAX;
}

/// How long a `submit` may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Hands over and returns.
    No,
    /// Returns once so many completions can be reaped, or the time is over (`None`: no limit). An interrupted wait
    /// returns early; the caller looks and waits again.
    AtLeast(u32, Option<Duration>),
}

/// What a ring asks of the thing behind it. One ring owns one, under its lock, so no method is called twice at once.
pub(crate) trait Backend: Send {
    /// Entries that can be pushed before the next `submit`. A linked chain must fit as a whole.
    fn room(&self) -> u32;

    /// Whether this backend can perform the call at all; what it cannot goes to the `threads` pool of the engine.
    fn supports(&self, call: &Call) -> bool;

    /// Entries of the completion queue that the call may take (more than one for [`Call::ReadPath`] on a ring).
    fn weight(&self, call: &Call) -> u32 {
        let _ = call;
        1
    }

    /// Queues one entry. The caller has checked [`Backend::room`] and [`Backend::supports`].
    ///
    /// # Safety
    /// Every address in `entry.call` stays valid, and what the call writes to stays untouched by anybody else, until the
    /// completion with this `user_data` has been reaped.
    unsafe fn push(&mut self, entry: Entry);

    /// Asks for the operation with this `user_data` to end early. It still completes, with `ECANCELED` if the request
    /// came in time. May be called before the entry was submitted.
    fn cancel(&mut self, user_data: u64);

    /// Hands over what was pushed: one `io_uring_enter` on a ring. Answers how many entries were taken; what was not
    /// stays queued for the next call.
    ///
    /// # Errors
    /// Whatever the kernel refuses the whole call with. No pushed entry is lost by an error.
    fn submit(&mut self, wait: Wait) -> io::Result<u32>;

    /// Moves every completion that is there to the end of `into`.
    fn reap(&mut self, into: &mut Vec<Cqe>);

    /// Entries pushed and not yet taken by `submit`.
    fn unsubmitted(&self) -> u32;

    /// Completions that can be held at once: the size of the CQ. The ring keeps at most so many operations in flight.
    fn in_flight_max(&self) -> u32;

    /// Becomes readable when there is something to reap, and stays so until it is reaped.
    fn descriptor(&self) -> Option<Descriptor>;

    /// Calls of `io_uring_enter` so far; 0 for a backend that makes none.
    fn enters(&self) -> u64;
}
