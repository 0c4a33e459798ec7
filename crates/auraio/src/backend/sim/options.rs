//! What a simulated kernel may do to its callers, and what it did.

use std::sync::{Arc, Mutex};

use super::{marks::Marks, rng::Rng};
use crate::{lock, sys::errno};

/// A simulated kernel for tests, which a program gets with the cargo feature `sim`. It makes real calls on real files; a
/// seed decides when, in which order, and what goes wrong.
///
/// An engine built with `backend(BackendChoice::Sim(options))` shows completions out of order, short reads and writes, and
/// calls that have to be made again. A real kernel may do all of this at any time, but seldom does. Time is simulated too:
/// nothing sleeps. The same seed and the same calls give the same history.
///
/// A probability is a number from 0 (never; less than 0 and NaN mean the same) to 1 (always). The engine hides a fault of
/// which the kernel says "try again" (`eagain`, `eintr`, `ecanceled`): it makes the call again, and in the end on a thread of
/// its own, which no longer asks the simulator. An `eagain_for_ever` goes on there, until the engine passes the
/// answer on. It shows a `failure`, a `close_error` and a short transfer to the caller.
///
/// ```
/// use auraio::SimOptions;
///
/// let mut options = SimOptions::calm(42);
/// options.short_io = 0.5;
/// assert_eq!(options.injected().short_io, 0); // nothing has run on it yet
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SimOptions {
    /// Decides everything that the other fields leave open. Print it when a test fails.
    pub seed: u64,
    /// Entries that can be pushed before they are handed over: the size of the SQ, at least 1. No chain can be longer.
    /// Default 32.
    pub submission_entries: u32,
    /// Completions that can be held, at least 1: the size of the CQ, and so the most operations in flight. The rings of an
    /// engine are never deeper than the engine's own depth. Default 4,096.
    pub completion_entries: u32,
    /// Probability that the operations of one step complete in random order. Default 0.5.
    pub reorder: f64,
    /// Probability that an operation takes longer than one step. Default 0.5.
    pub delay: f64,
    /// The most extra steps that such an operation takes; a step stands for 10 us. Default 8.
    pub delay_steps_max: u32,
    /// Probability that a read or write is performed with less than its length, at least 1 byte. With `O_DIRECT`, in whole
    /// multiples of 4,096 bytes. Default 0.1.
    pub short_io: f64,
    /// Probability that a read or write answers `EAGAIN`, unperformed. Default 0.02.
    pub eagain: f64,
    /// Probability that a call answers `EINTR`, unperformed. A close never does. Default 0.02.
    pub eintr: f64,
    /// Probability that a call answers `ECANCELED`, unperformed, though nobody cancelled it. Linux does so when it cannot
    /// start a worker thread (`pids.max`, `RLIMIT_NPROC`). A close never does: those that may need a worker are not given
    /// to a ring. Default 0.02.
    pub ecanceled: f64,
    /// Probability that a read or write is one to which the kernel answers `EAGAIN` for ever, unperformed, however often it
    /// is asked. Some FUSE servers do so. Default 0.
    pub eagain_for_ever: f64,
    /// Probability that a close answers `EINTR`, `EAGAIN`, `ECANCELED` or `EIO` although it was performed. Linux gives the
    /// descriptor back before the file system can answer, so such a close must not be made again. Default 0.
    pub close_error: f64,
    /// Probability that a call other than a close fails with `failure_errno`, unperformed. Default 0.
    pub failure: f64,
    /// The positive errno of such a failure. Default 5, `EIO`.
    pub failure_errno: i32,
    /// Probability that a submission takes only some of what was pushed. Chains are taken whole. Default 0.1.
    pub partial_submit: f64,
    /// Probability that a submission is refused with `EAGAIN`, `EBUSY` or `EINTR`; at most 3 times in a row. Default 0.05.
    pub refuse_submit: f64,
    /// After so many submissions every other is refused with `EPERM`, as a seccomp filter does that was set after the
    /// engine started. Default none.
    pub refuse_for_good_after: Option<u64>,
    /// Probability that a wait for completions ends before they are there, as a signal makes it. Default 0.05.
    pub interrupt_wait: f64,
    /// Probability that a cancellation comes too late. Default 0.5, which is kind: on Linux disk reads and writes in
    /// flight are hardly ever cancelled.
    pub cancel_late: f64,
    /// Probability that a completion goes to the backlog behind the CQ, as all do when it is full. Default 0.05.
    pub cq_overflow: f64,
    /// Whether to check that nobody touches memory which an operation in flight reads or writes; a violation panics with
    /// the seed. While an operation is in flight the ends of its buffer hold noise: the kernel could have written
    /// anything there by then. Default true.
    pub watch_memory: bool,
    /// Shared by clones. Visible in the crate so that tests can write `SimOptions { eintr: 1.0, ..SimOptions::calm(seed) }`.
    pub(crate) counts: Counts,
    /// What one ring remembers. Visible in the crate for the same reason.
    pub(crate) marks: Marks,
}

impl SimOptions {
    /// Every fault that the engine hides happens now and then; short transfers do too.
    ///
    /// ```
    /// assert!(auraio::SimOptions::new(1).eintr > 0.0);
    /// ```
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            reorder: 0.5,
            delay: 0.5,
            short_io: 0.1,
            eagain: 0.02,
            eintr: 0.02,
            ecanceled: 0.02,
            partial_submit: 0.1,
            refuse_submit: 0.05,
            interrupt_wait: 0.05,
            cancel_late: 0.5,
            cq_overflow: 0.05,
            ..Self::calm(seed)
        }
    }

    /// Nothing goes wrong. Each call is performed in the step after its submission, in order, and every cancellation comes
    /// in time. Set single fields to have single faults.
    ///
    /// ```
    /// assert_eq!(auraio::SimOptions::calm(1).eintr, 0.0);
    /// ```
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            submission_entries: 32,
            completion_entries: 4096,
            reorder: 0.0,
            delay: 0.0,
            delay_steps_max: 8,
            short_io: 0.0,
            eagain: 0.0,
            eintr: 0.0,
            ecanceled: 0.0,
            eagain_for_ever: 0.0,
            close_error: 0.0,
            failure: 0.0,
            failure_errno: 5,
            partial_submit: 0.0,
            refuse_submit: 0.0,
            refuse_for_good_after: None,
            interrupt_wait: 0.0,
            cancel_late: 0.0,
            cq_overflow: 0.0,
            watch_memory: true,
            counts: Counts::default(),
            marks: Marks::default(),
        }
    }

    /// Counts of what was done so far, by every ring that runs on these options or on a clone of them. A test uses them to
    /// show that the fault it is about did happen.
    ///
    /// ```
    /// assert_eq!(auraio::SimOptions::new(1).injected().short_io, 0); // nothing has run on them yet
    /// ```
    #[must_use]
    pub fn injected(&self) -> SimCounts {
        *lock(&self.counts.0)
    }

    /// The options of one ring of an engine. The first ring has the seed of the engine, each other one has its own; the
    /// counts are shared.
    pub(crate) fn for_ring(&self, nth: u64, in_flight_max: u32) -> Self {
        let seed = if nth == 0 { self.seed } else { self.seed ^ Rng::new(nth).next() };
        let completion_entries = self.completion_entries.min(in_flight_max);
        Self { seed, completion_entries, marks: Marks::default(), ..self.clone() }
    }

    /// The errno for an operation that never gets another answer; it is counted.
    pub(crate) fn endless_answer(&self) -> i32 {
        self.count(|counts| counts.eagain_for_ever += 1);
        errno::EAGAIN
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut SimCounts)) {
        add(&mut lock(&self.counts.0));
    }
}

impl Default for SimOptions {
    fn default() -> Self {
        Self::new(0)
    }
}

/// The counts. They are equal to any others: options that ask for the same are equal, whatever has happened since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Mutex<SimCounts>>);

impl PartialEq for Counts {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How often a simulated kernel did what [`SimOptions`] allow it to do.
///
/// ```
/// let counts = auraio::SimOptions::new(7).injected();
/// assert_eq!((counts.performed, counts.short_io), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimCounts {
    /// Calls that were really made, in full or short.
    pub performed: u64,
    /// Steps whose completions were put out of order.
    pub reordered: u64,
    /// Operations that took longer than one step.
    pub delayed: u64,
    /// Reads and writes performed with less than their length.
    pub short_io: u64,
    /// Calls answered with `EAGAIN`.
    pub eagain: u64,
    /// Calls answered with `EINTR`.
    pub eintr: u64,
    /// Calls answered with `ECANCELED` that nobody cancelled.
    pub ecanceled: u64,
    /// Answers of `EAGAIN` to operations that never get another.
    pub eagain_for_ever: u64,
    /// Closes that were performed and answered with an error.
    pub close_errors: u64,
    /// Calls answered with `failure_errno`.
    pub failures: u64,
    /// Submissions that took only a part.
    pub partial_submits: u64,
    /// Submissions that were refused.
    pub refused_submits: u64,
    /// Waits cut short.
    pub interrupted_waits: u64,
    /// Operations that a cancellation ended.
    pub cancelled: u64,
    /// Cancellations that came too late, or for something not there.
    pub cancels_late: u64,
    /// Operations answered with `ECANCELED` because one before them in their chain did not do all that it was asked to.
    pub links_broken: u64,
    /// Completions that went to the backlog behind the CQ.
    pub overflowed: u64,
    /// Most operations and unreaped completions that one ring held at any time.
    pub held_most: u64,
    /// Operations that were in flight when their ring was dropped, which a real kernel would have gone on with.
    pub dropped_in_flight: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_have_seeds_of_their_own_and_counts_in_common() {
        let options = SimOptions::new(9);
        let seeds: Vec<u64> = (0..4).map(|nth| options.for_ring(nth, 8).seed).collect();
        assert_eq!(seeds[0], 9);
        assert!((1..4).all(|ring| !seeds[..ring].contains(&seeds[ring])));
        options.for_ring(1, 8).count(|counts| counts.eintr += 1);
        options.clone().count(|counts| counts.eintr += 1);
        assert_eq!(options.injected().eintr, 2);
        assert_eq!(options, SimOptions::new(9));
        assert_eq!(options.for_ring(0, 8).completion_entries, 8);
    }
}
