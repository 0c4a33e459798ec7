//! The portable backend: a thread of the engine's own crew performs each entry, or each linked chain.
//!
//! It keeps the same promises as `io_uring`. A chain runs in order and ends at the first failure. A cancel that comes in
//! time completes an entry with `ECANCELED`. Each entry completes exactly once, and after that nothing touches its memory.
//! Entries that may never end, such as a read of an empty pipe or the open of a FIFO without a reader, occupy no thread:
//! they lie in `park.rs` until they can go on. The backend has no queue of its own. The operations in flight are those that
//! the threads hold, so the in-flight limit is the number of busy threads, as long as the crew has that many.

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

/// The most entries that can be pushed between two submissions.
const PUSHED_MAX: u32 = 1 << 20;

/// Performs entries on the threads of a [`Crew`], which any number of backends may share.
///
/// Dropping it cancels the entries that can be cancelled and waits for the others, so that no thread writes to memory that
/// the owner frees afterwards. An owner that must not wait for a stuck disk leaks the backend instead.
pub(crate) struct ThreadsBackend {
    crew: Arc<Crew>,
    sink: Arc<Sink>,
    /// Entries that were pushed and not yet submitted.
    pushed: Vec<Step>,
    /// Entries that were pushed and not yet reaped, by `user_data`.
    owed: HashMap<u64, Arc<Task>>,
    in_flight_max: u32,
    /// The simulated kernel of the ring that this backend helps. Some of its faults go on here.
    #[cfg(feature = "sim")]
    simulated: Option<crate::SimOptions>,
}

impl ThreadsBackend {
    /// # Errors
    /// If there is no descriptor left for the wake-up (`EMFILE`, `ENFILE`).
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

    /// From now on this backend goes on with the faults of the ring's simulated kernel.
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

    /// Waits until `count` completions are queued, the time is over, or a signal comes.
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
        // Pushed entries lie in a list that grows. The ring limits how many are in flight.
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
        // If the last pushed entry has a link, it has nothing to link to: a chain ends with its submission, as on
        // `io_uring`.
        self.hand_over(chain);
        if let Wait::AtLeast(count, timeout) = wait {
            // A time-out that the clock cannot express counts as no time-out.
            self.wait(count, timeout.and_then(|timeout| Instant::now().checked_add(timeout)));
        }
        Ok(taken)
    }

    fn withdraw(&mut self) -> Vec<u64> {
        // An entry that was cancelled has its completion in the queue already, so it is not withdrawn.
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
        // A thread may perform an entry until its completion is in the queue. So this waits for the completion of every
        // entry.
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
