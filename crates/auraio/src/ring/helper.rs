//! The helper: the engine's crew of threads beside a ring. It performs calls that the kernel has no opcode for and calls
//! that the kernel could not find a worker for. Once the kernel refuses submissions, it performs everything.

use crate::backend::{Backend, Cqe, Entry, Wait, threads::ThreadsBackend};

/// After the kernel had no worker for a call, this many calls go to the helper before the kernel is tried again. The kernel
/// takes 50 ms to refuse one, so one refusal in a thousand calls adds 50 us to each on average.
const WITHOUT_WORKERS: u32 = 1024;

/// A ring's helper, and what tells when calls go there.
pub(super) struct Helper {
    /// `None` if the main backend is the crew itself.
    threads: Option<ThreadsBackend>,
    pub(super) in_flight: u32,
    /// Whether everything goes to the helper, because the kernel refuses submissions for good.
    pub(super) takes_all: bool,
    /// The number of calls in need of a worker that still go to the helper before the kernel is tried again.
    without_workers: u32,
}

impl Helper {
    pub(super) const fn new(threads: Option<ThreadsBackend>) -> Self {
        Self { threads, in_flight: 0, takes_all: false, without_workers: 0 }
    }

    #[inline]
    pub(super) const fn is_there(&self) -> bool {
        self.threads.is_some()
    }

    /// Queues an entry.
    ///
    /// # Safety
    /// As for [`Backend::push`].
    #[expect(unsafe_code, reason = "passes the promise of whoever pushes on")]
    pub(super) unsafe fn push(&mut self, entry: Entry) {
        self.in_flight += 1;
        if let Some(threads) = &mut self.threads {
            // SAFETY: the caller's promise.
            unsafe { threads.push(entry) };
        }
    }

    /// Hands over what was queued. The crew refuses nothing: if it has no thread, it performs the calls on this one.
    pub(super) fn flush(&mut self) {
        if let Some(threads) = &mut self.threads
            && threads.unsubmitted() > 0
        {
            let _ = threads.submit(Wait::No);
        }
    }

    pub(super) fn unsubmitted(&self) -> u32 {
        self.threads.as_ref().map_or(0, Backend::unsubmitted)
    }

    pub(super) fn reap(&mut self, into: &mut Vec<Cqe>) {
        if self.in_flight > 0
            && let Some(threads) = &mut self.threads
        {
            threads.reap(into);
        }
    }

    pub(super) fn cancel(&mut self, user_data: u64) {
        if let Some(threads) = &mut self.threads {
            threads.cancel(user_data);
        }
    }

    pub(super) fn descriptor(&self) -> Option<crate::sys::Descriptor> {
        self.threads.as_ref().and_then(Backend::descriptor)
    }

    /// Whether the helper only gets the calls that the ring cannot perform.
    #[inline(always)]
    pub(super) const fn is_quiet(&self) -> bool {
        !self.takes_all && self.without_workers == 0
    }

    /// Notes that the kernel had no worker for a call. For a while, calls that need one go to the helper.
    pub(super) const fn stand_in(&mut self) {
        self.without_workers = WITHOUT_WORKERS;
    }

    /// Notes that the kernel had no worker for a step of a chain. The next call that needs one goes to the helper.
    pub(super) fn stand_in_once(&mut self) {
        self.without_workers = self.without_workers.max(1);
    }

    /// Whether a call that needs a worker goes to the helper now, because the kernel lately had none.
    pub(super) const fn stands_in(&mut self) -> bool {
        let stands_in = self.without_workers > 0;
        self.without_workers -= stands_in as u32;
        stands_in
    }
}
