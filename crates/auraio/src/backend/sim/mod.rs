//! A seeded kernel, for tests of everything above it (the cargo feature `sim`).
//!
//! The simulator makes real calls on real files, but as late as possible. A seed decides when each call is made, in which
//! order calls complete, and what goes wrong; [`SimOptions`] lists all that can. Time is counted in steps: one goes by at
//! each `submit` and each `reap`, and a wait lets as many go by as it needs. Nothing sleeps, with one exception: a wait
//! without a limit for a pipe that only somebody outside the simulation can fill.
//!
//! A real kernel lets many mistakes of its caller pass, and the harm shows much later. The simulator panics at once, and
//! prints the seed, when it finds one of these:
//! - somebody writes to memory that belongs to an operation in flight;
//! - two operations in flight have the same `user_data`;
//! - a `submit` cuts a chain in two, so that its order would silently be lost;
//! - a registered file is changed while an operation uses it;
//! - a close that was performed is performed again;
//! - a wait has no limit, and nothing in flight can bring the completions that it waits for.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `submission.rs` | what a submission takes or refuses |
//! | `steps.rs` | how time goes by |
//! | `perform.rs` | one operation: its faults and its real call |
//! | `fault.rs` | the arithmetic of short transfers |
//! | `memory.rs`, `marks.rs` | the oracles for memory, and for closes |
//! | `ready.rs`, `table.rs` | pipes that are not ready, and registered files |
//! | `options.rs`, `rng.rs` | what is asked for, and the dice |
#![expect(unsafe_code, reason = "implements `Backend::push`, whose caller promises that addresses stay valid")]

mod fault;
mod marks;
mod memory;
mod options;
mod perform;
mod ready;
mod rng;
mod steps;
mod submission;
mod table;

use std::{
    collections::{BTreeSet, VecDeque},
    io,
};

pub use options::{SimCounts, SimOptions};

use self::{memory::Watch, rng::Rng, table::Table};
use super::{Backend, Cqe, Entry, Wait};
use crate::sys::{Bell, Call, Descriptor};

/// A simulated kernel.
#[derive(Debug)]
pub(crate) struct SimBackend {
    options: SimOptions,
    rng: Rng,
    /// The steps that have gone by.
    now: u64,
    /// Operations that were pushed and that no submission has taken yet.
    pushed: VecDeque<Operation>,
    /// Operations that were taken and are not performed yet. One that is linked to no other is a chain of one. No chain in
    /// the list is empty.
    chains: Vec<VecDeque<Operation>>,
    completed: VecDeque<Cqe>,
    /// Completions behind the CQ, as the kernel keeps them with `IORING_FEAT_NODROP`.
    backlog: VecDeque<Cqe>,
    /// The `user_data` of everything pushed and not yet reaped.
    held: BTreeSet<u64>,
    refusals: u32,
    enters: u64,
    /// `None` if the platform could not give one. Then the caller has to reap without being told.
    bell: Option<Bell>,
    rung: bool,
    files: Table,
}

#[derive(Debug)]
struct Operation {
    entry: Entry,
    cancelled: bool,
    /// The first step at which it may be performed.
    due: u64,
    watch: Option<Watch>,
}

impl SimBackend {
    pub(crate) fn new(options: SimOptions) -> Self {
        Self {
            rng: Rng::new(options.seed),
            options,
            now: 0,
            pushed: VecDeque::new(),
            chains: Vec::new(),
            completed: VecDeque::new(),
            backlog: VecDeque::new(),
            held: BTreeSet::new(),
            refusals: 0,
            enters: 0,
            bell: Bell::new().ok(),
            rung: false,
            files: Table::default(),
        }
    }

    /// The number that a failing test has to print.
    pub(crate) const fn seed(&self) -> u64 {
        self.options.seed
    }
}

impl Operation {
    fn is_due(&self, now: u64) -> bool {
        self.cancelled || (self.due <= now && ready::is_ready(&self.entry.call))
    }
}

impl Backend for SimBackend {
    fn room(&self) -> u32 {
        self.options.submission_entries.max(1).saturating_sub(self.unsubmitted())
    }

    fn supports(&self, _: &Call) -> bool {
        true
    }

    unsafe fn push(&mut self, entry: Entry) {
        let seed = self.seed();
        assert!(self.room() > 0, "sim seed {seed:#x}: pushed into a full submission queue");
        assert!(entry.user_data != Cqe::INTERNAL, "sim seed {seed:#x}: user_data of the backend's own");
        let user_data = entry.user_data;
        assert!(self.held.insert(user_data), "sim seed {seed:#x}: two operations in flight are called {user_data:#x}");
        self.options.count(|counts| counts.held_most = counts.held_most.max(self.held.len() as u64));
        self.pushed.push_back(Operation { entry, cancelled: false, due: 0, watch: None });
    }

    fn cancel(&mut self, user_data: u64) {
        let late = self.rng.chance(self.options.cancel_late);
        let found = self
            .pushed
            .iter_mut()
            .chain(self.chains.iter_mut().flatten())
            .find(|operation| operation.entry.user_data == user_data)
            // An operation that waits for a pipe can always be cancelled: the kernel has only armed a poll for it.
            .filter(|operation| !late || !ready::is_ready(&operation.entry.call));
        match found {
            Some(operation) => operation.cancelled = true,
            None => self.options.count(|counts| counts.cancels_late += 1),
        }
    }

    fn submit(&mut self, wait: Wait) -> io::Result<u32> {
        if self.pushed.is_empty() && wait == Wait::No {
            self.step();
            self.update_bell();
            return Ok(0);
        }
        self.enters += 1;
        if let Some(refusal) = self.refusal() {
            self.step();
            self.update_bell();
            return Err(refusal);
        }
        let taken = self.take();
        self.step();
        // io_uring_enter does not wait either if it has not taken every entry.
        if let (Wait::AtLeast(completions, limit), true) = (wait, self.pushed.is_empty()) {
            self.wait(completions, limit);
        }
        self.update_bell();
        Ok(taken)
    }

    fn withdraw(&mut self) -> Vec<u64> {
        let names: Vec<u64> = self.pushed.drain(..).map(|operation| operation.entry.user_data).collect();
        for name in &names {
            self.held.remove(name);
        }
        names
    }

    fn reap(&mut self, into: &mut Vec<Cqe>) {
        self.step();
        if self.completed.is_empty() {
            self.flush_backlog();
        }
        for cqe in &self.completed {
            self.held.remove(&cqe.user_data);
        }
        into.extend(self.completed.drain(..));
        self.update_bell();
    }

    fn unsubmitted(&self) -> u32 {
        self.pushed.len() as u32
    }

    fn in_flight_max(&self) -> u32 {
        self.options.completion_entries.max(1)
    }

    fn files_max(&self) -> u32 {
        table::PLACES
    }

    fn set_file(&mut self, place: u32, file: Option<Descriptor>) -> io::Result<()> {
        let names = |operation: &&Operation| operation.entry.fixed.file == Some(place);
        let user = self.pushed.iter().chain(self.chains.iter().flatten()).find(names);
        assert!(
            user.is_none(),
            "sim seed {:#x}: place {place} of the file table is changed under operation {:#x}",
            self.seed(),
            user.map_or(0, |operation| operation.entry.user_data)
        );
        self.files.set(place, file)
    }

    fn descriptor(&self) -> Option<Descriptor> {
        self.bell.as_ref().and_then(Bell::descriptor)
    }

    /// The calls of io_uring_enter that a ring would have made.
    fn enters(&self) -> u64 {
        self.enters
    }
}

impl Drop for SimBackend {
    fn drop(&mut self) {
        let left: usize = self.chains.iter().map(VecDeque::len).sum();
        // The owner of the ring may have freed the memory of these operations, so it is not touched. A real kernel would
        // go on writing to it.
        self.options.count(|counts| counts.dropped_in_flight += left as u64);
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests;
