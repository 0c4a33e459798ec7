//! One linked chain on its way through the threads. This file keeps the promise that each entry completes exactly once.
//!
//! A [`Task`] holds the stage that an entry is in. The worker and a cancel change the stage by compare-and-swap, and share
//! nothing else. Whoever brings it to [`DONE`] queues the completion. From then on the entry's addresses belong to its owner
//! again, so no task ever leaves that stage, and a worker that cannot start a task does not touch it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use crossbeam_queue::SegQueue;

use super::{super::Cqe, super::Entry, crew::Shared};
#[cfg(unix)]
use super::{park::Until, pauses::Pauses};
use crate::sys::{Bell, Call, Progress, Tried, errno, transfer_len, try_perform};

/// Where completions go.
pub(super) struct Sink {
    pub(super) completions: SegQueue<Cqe>,
    pub(super) bell: Bell,
}

impl Sink {
    pub(super) fn complete(&self, user_data: u64, result: i32) {
        self.completions.push(Cqe { user_data, result });
        self.bell.ring();
    }
}

/// The task has not started. A cancel completes it.
const WAITING: u8 = 0;
/// A thread performs the task.
const RUNNING: u8 = 1;
/// A thread performs the task, and a cancel came meanwhile, so it must not be parked.
const UNWANTED: u8 = 2;
/// The task waits for a descriptor and occupies no thread. A cancel completes it.
const PARKED: u8 = 3;
/// The task's completion is queued.
const DONE: u8 = 4;

/// The state in which a cancel found a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// It had not started. The cancel has completed it.
    Waiting,
    /// It was parked. The cancel has completed it, and the watcher still holds it.
    Parked,
    /// A thread performs it, or it is done. It completes by itself.
    TooLate,
}

/// The part of an entry that the worker and a cancel share.
pub(super) struct Task {
    pub(super) user_data: u64,
    stage: AtomicU8,
}

/// One entry of a chain. It moves from thread to thread with its addresses, and one thread at a time follows them.
pub(super) struct Step {
    call: Call,
    pub(super) link: bool,
    pub(super) task: Arc<Task>,
    /// The simulated kernel, if it has decided to answer this entry with `EAGAIN` for ever.
    #[cfg(feature = "sim")]
    pub(super) endless: Option<crate::SimOptions>,
}

impl Step {
    pub(super) fn new(entry: Entry) -> Self {
        let task = Task { user_data: entry.user_data, stage: AtomicU8::new(WAITING) };
        Self {
            call: entry.call,
            link: entry.link,
            task: Arc::new(task),
            #[cfg(feature = "sim")]
            endless: None,
        }
    }

    /// Performs the call, or says what it would have to wait for.
    ///
    /// # Safety
    /// As for [`try_perform`].
    #[expect(unsafe_code, reason = "the call holds addresses")]
    unsafe fn try_perform(&self, progress: &mut Progress) -> Tried {
        #[cfg(feature = "sim")]
        if let Some(sim) = &self.endless {
            return Tried::Done(-sim.endless_answer());
        }
        // SAFETY: the caller's promise, passed on.
        unsafe { try_perform(&self.call, progress) }
    }
}

impl Task {
    pub(super) fn is_done(&self) -> bool {
        self.stage.load(Ordering::Acquire) == DONE
    }

    fn moves(&self, from: u8, to: u8) -> bool {
        self.stage.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Takes the task for this thread. Answers false if it was cancelled.
    fn start(&self) -> bool {
        self.moves(WAITING, RUNNING) || self.moves(PARKED, RUNNING)
    }

    /// Completes the task, unless it has been completed already.
    fn settle(&self, sink: &Sink, result: i32) {
        if self.stage.swap(DONE, Ordering::AcqRel) != DONE {
            sink.complete(self.user_data, result);
        }
    }

    /// Completes the task if no thread performs it. If a thread does, the task will not be parked any more.
    pub(super) fn cancel(&self, sink: &Sink) -> Cancelled {
        loop {
            let stage = self.stage.load(Ordering::Acquire);
            let (next, found) = match stage {
                WAITING => (DONE, Cancelled::Waiting),
                PARKED => (DONE, Cancelled::Parked),
                RUNNING => (UNWANTED, Cancelled::TooLate),
                _ => return Cancelled::TooLate,
            };
            if self.moves(stage, next) {
                if next == DONE {
                    sink.complete(self.user_data, -errno::ECANCELED);
                }
                return found;
            }
        }
    }
}

/// A chain of tasks, or the rest of one. If it is dropped with tasks left, because one failed or panicked or because the
/// crew closes, it completes them with `ECANCELED`.
pub(super) struct Work {
    chain: VecDeque<Step>,
    progress: Progress,
    #[cfg(unix)]
    pauses: Pauses,
    sink: Arc<Sink>,
    crew: Arc<Shared>,
}

impl Work {
    pub(super) fn new(chain: VecDeque<Step>, sink: Arc<Sink>, crew: Arc<Shared>) -> Self {
        Self {
            chain,
            progress: Progress::default(),
            #[cfg(unix)]
            pauses: Pauses::default(),
            sink,
            crew,
        }
    }

    /// Whether the first task was cancelled while it was parked.
    #[cfg(unix)]
    pub(super) fn is_cancelled(&self) -> bool {
        self.chain.front().is_none_or(|step| step.task.is_done())
    }

    /// Gives the work to a thread of the crew. If there is none, performs it on the calling thread.
    pub(super) fn hand_over(self) {
        let crew = Arc::clone(&self.crew);
        if let Err(job) = crew.run(Box::new(move || self.run())) {
            job();
        }
    }

    /// Performs the chain in order, until it ends, a task fails, or a task has to wait.
    #[expect(unsafe_code, reason = "the calls hold addresses")]
    pub(super) fn run(mut self) {
        while let Some(step) = self.chain.front() {
            let Step { call, link, task, .. } = step;
            if !task.start() {
                return;
            }
            // SAFETY: the task is ours from `start` to `settle`, its completion is not queued, and until that is reaped
            // the addresses are good: so says the contract of `Backend::push`.
            let tried = unsafe { step.try_perform(&mut self.progress) };
            #[cfg(unix)]
            if matches!(tried, Tried::Done(result) if result == -errno::EAGAIN)
                && may_come_again(call)
                && let Some(pause) = self.pauses.next()
            {
                return self.park(Until::after(pause));
            }
            match tried {
                Tried::Done(result) => {
                    // SAFETY: as above; the completion is queued below.
                    let whole = unsafe { did_everything(call, result) };
                    task.settle(&self.sink, result);
                    let goes_on = whole || !link;
                    self.chain.pop_front();
                    #[cfg(unix)]
                    {
                        self.pauses = Pauses::default();
                    }
                    if !goes_on {
                        return;
                    }
                }
                #[cfg(unix)]
                Tried::Wait(watch) => return self.park(Until::Ready(watch)),
                #[cfg(unix)]
                Tried::Later => return self.park(Until::soon()),
            }
        }
    }

    /// Parks the work until its first task can go on.
    #[cfg(unix)]
    fn park(self, until: Until) {
        let Some(step) = self.chain.front() else { return };
        // If a cancel came while the task ran, the stage is another, and dropping the work completes the task.
        if step.task.moves(RUNNING, PARKED) {
            let crew = Arc::clone(&self.crew);
            crew.park.add(self, until);
        }
    }

    /// Completes the first task with this error. The drop cancels those behind it.
    #[cfg(unix)]
    pub(super) fn fail(self, error: i32) {
        if let Some(Step { task, .. }) = self.chain.front()
            && task.start()
        {
            task.settle(&self.sink, -error);
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        for step in self.chain.drain(..) {
            step.task.settle(&self.sink, -errno::ECANCELED);
        }
    }
}

/// Whether a call that the file system answered with `EAGAIN` is made again after a pause. An open is not: it gives this
/// answer if it was asked not to wait and another process holds a lease on the file.
#[cfg(unix)]
const fn may_come_again(call: &Call) -> bool {
    call.is_transfer() || matches!(call, Call::ReadPath { .. })
}

/// Whether the call did all that it was asked to do, so that the next entry of the chain may start. A short transfer is a
/// failure, except for a [`Call::ReadPath`], which reads up to the end of its file.
///
/// # Safety
/// The vectors of a vectored call can be read.
#[expect(unsafe_code, reason = "the vectors of a call are behind an address")]
unsafe fn did_everything(call: &Call, result: i32) -> bool {
    // SAFETY: the caller's promise.
    match (unsafe { transfer_len(call) }, u64::try_from(result)) {
        (_, Err(_)) => false,
        (Some(asked), Ok(done)) => done == asked,
        (None, Ok(_)) => true,
    }
}
