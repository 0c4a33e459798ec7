//! The portable backend: each entry, or linked chain, is performed by a thread of the engine's own crew.
//!
//! What it gives is what a ring gives: a chain runs in order and breaks at the first failure, a cancel in time completes
//! an entry with `ECANCELED`, each entry completes exactly once, and nothing touches its memory after that. No thread is
//! spent on what may never end (an empty pipe, a FIFO without a reader): such entries lie in `park.rs` until they can go
//! on. It has no queue of its own: what is in flight is what the threads hold, so the in-flight limit is the number of
//! busy threads, as far as the crew has them.

mod crew;
#[cfg(unix)]
mod park;
#[cfg(unix)]
mod pauses;
mod work;

use std::{
    collections::{HashMap, VecDeque},
    io, mem,
    sync::Arc,
    time::Instant,
};

use crossbeam_queue::SegQueue;

use self::work::{Cancelled, Sink, Step, Task, Work};
use super::{Backend, Cqe, Entry, Wait};
use crate::sys::{Bell, Call, Descriptor};

pub(crate) use self::crew::Crew;

/// Entries between two submissions.
const PUSHED_MAX: u32 = 1 << 20;

/// Performs entries on the threads of a [`Crew`], which any number of backends may share.
///
/// Dropping it cancels what can be cancelled and waits for the rest, so that no thread writes to memory that the owner
/// frees next. Whoever must not wait for a stuck disk leaks it instead.
pub(crate) struct ThreadsBackend {
    crew: Arc<Crew>,
    sink: Arc<Sink>,
    /// Pushed, not yet submitted.
    pushed: Vec<Step>,
    /// Pushed and not yet reaped, by `user_data`.
    owed: HashMap<u64, Arc<Task>>,
    in_flight_max: u32,
    /// The simulated kernel that this backend stands beside, whose faults go on here.
    #[cfg(feature = "sim")]
    simulated: Option<crate::SimOptions>,
}

impl ThreadsBackend {
    /// # Errors
    /// When the descriptor for the wake-up cannot be had (`EMFILE`, `ENFILE`).
    pub(crate) fn new(crew: Arc<Crew>, in_flight_max: u32) -> io::Result<Self> {
        let sink = Arc::new(Sink { completions: SegQueue::new(), bell: Bell::new()? });
        Ok(Self {
            crew,
            sink,
            pushed: Vec::new(),
            owed: HashMap::new(),
            in_flight_max,
            #[cfg(feature = "sim")]
            simulated: None,
        })
    }

    /// Goes on with the faults of the simulated kernel of the same ring.
    #[cfg(feature = "sim")]
    pub(crate) fn simulate(&mut self, sim: crate::SimOptions) {
        self.simulated = Some(sim);
    }

    fn cancel_task(&self, task: &Task) {
        match task.cancel(&self.sink) {
            #[cfg(unix)]
            Cancelled::Parked => self.crew.shared().park.sweep(),
            Cancelled::Waiting | Cancelled::TooLate => {}
            #[cfg(windows)]
            Cancelled::Parked => {}
        }
    }

    /// Waits until so many completions are queued, the time is over, or a signal came.
    fn wait(&self, count: u32, deadline: Option<Instant>) {
        let count = (count as usize).min(self.owed.len());
        loop {
            self.sink.bell.quiet();
            if self.sink.completions.len() >= count {
                break;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if !self.sink.bell.wait(left) {
                break;
            }
        }
        // The bell was silenced above, and the descriptor must stay readable until everything is reaped.
        if !self.sink.completions.is_empty() {
            self.sink.bell.ring();
        }
    }
}

impl Backend for ThreadsBackend {
    fn room(&self) -> u32 {
        // What is pushed lies in a list that grows; how much may be in flight is the ring's business.
        PUSHED_MAX.saturating_sub(self.unsubmitted())
    }

    fn supports(&self, _call: &Call) -> bool {
        true
    }

    #[expect(unsafe_code, reason = "the contract of the trait")]
    unsafe fn push(&mut self, entry: Entry) {
        #[cfg_attr(not(feature = "sim"), expect(unused_mut, reason = "only the simulator adds to it"))]
        let mut step = Step::new(entry);
        #[cfg(feature = "sim")]
        {
            step.endless = self.simulated.clone().filter(|sim| sim.marks.was_endless(entry.user_data));
        }
        let before = self.owed.insert(entry.user_data, Arc::clone(&step.task));
        debug_assert!(before.is_none(), "user_data {} is in use", entry.user_data);
        self.pushed.push(step);
    }

    fn cancel(&mut self, user_data: u64) {
        if let Some(task) = self.owed.get(&user_data) {
            self.cancel_task(task);
        }
    }

    fn submit(&mut self, wait: Wait) -> io::Result<u32> {
        let taken = self.unsubmitted();
        let mut chain = VecDeque::new();
        for step in mem::take(&mut self.pushed) {
            let goes_on = step.link;
            chain.push_back(step);
            if !goes_on {
                self.hand_over(mem::take(&mut chain));
            }
        }
        // A link at the end of what was pushed leads nowhere: a chain ends with its submission, as on a ring.
        self.hand_over(chain);
        if let Wait::AtLeast(count, timeout) = wait {
            // A time-out too long for the clock is none.
            self.wait(count, timeout.and_then(|timeout| Instant::now().checked_add(timeout)));
        }
        Ok(taken)
    }

    fn withdraw(&mut self) -> Vec<u64> {
        // One that was cancelled has its completion in the queue, and ends by that.
        let never_taken = mem::take(&mut self.pushed).into_iter().filter(|step| !step.task.is_done());
        let names: Vec<u64> = never_taken.map(|step| step.task.user_data).collect();
        for name in &names {
            self.owed.remove(name);
        }
        names
    }

    fn reap(&mut self, into: &mut Vec<Cqe>) {
        self.sink.bell.quiet();
        while let Some(cqe) = self.sink.completions.pop() {
            self.owed.remove(&cqe.user_data);
            into.push(cqe);
        }
    }

    fn unsubmitted(&self) -> u32 {
        u32::try_from(self.pushed.len()).unwrap_or(u32::MAX)
    }

    fn in_flight_max(&self) -> u32 {
        self.in_flight_max
    }

    fn descriptor(&self) -> Option<Descriptor> {
        self.sink.bell.descriptor()
    }

    fn enters(&self) -> u64 {
        0
    }
}

impl ThreadsBackend {
    fn hand_over(&self, chain: VecDeque<Step>) {
        if !chain.is_empty() {
            Work::new(chain, Arc::clone(&self.sink), Arc::clone(self.crew.shared())).hand_over();
        }
    }
}

impl Drop for ThreadsBackend {
    fn drop(&mut self) {
        for task in self.owed.values() {
            self.cancel_task(task);
        }
        // Each task still owed has its completion in the queue by the end, and only then is nothing performed any more.
        loop {
            self.sink.bell.quiet();
            if self.sink.completions.len() >= self.owed.len() {
                return;
            }
            self.sink.bell.wait(None);
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
