//! Simulated time: what one step performs, and how a wait lets steps go by.
#![expect(unsafe_code, reason = "reads the list of vectors of a call, as the kernel does")]

use std::{collections::VecDeque, mem, time::Duration};

use super::{Operation, SimBackend, fault::is_complete, ready};
use crate::{
    backend::{Backend, Cqe, Entry},
    sys::errno,
};

/// The time that one step stands for when a wait has a limit: about what a fast NVMe read takes.
pub(super) const STEP: Duration = Duration::from_micros(10);

impl SimBackend {
    /// Lets one step go by, and performs what is due.
    pub(super) fn step(&mut self) {
        self.now += 1;
        let now = self.now;
        let (mut due, later): (Vec<_>, Vec<_>) = mem::take(&mut self.chains)
            .into_iter()
            .partition(|chain| chain.front().is_some_and(|first| first.is_due(now)));
        self.chains = later;
        if self.rng.chance(self.options.reorder) && self.rng.shuffle(&mut due) {
            self.options.count(|counts| counts.reordered += 1);
        }
        for chain in due {
            self.advance(chain);
        }
    }

    /// Performs the first operation of a chain. If it did all that it was asked to, the next one starts; otherwise the rest of
    /// the chain is cancelled.
    fn advance(&mut self, mut chain: VecDeque<Operation>) {
        let Some(first) = chain.pop_front() else { return };
        let Entry { call, user_data, .. } = first.entry;
        let result = self.perform(first);
        self.complete(user_data, result);
        // SAFETY: the caller of `push` keeps the list of vectors until the completion is reaped.
        if unsafe { is_complete(&call, result) } {
            self.start_first(&mut chain);
            if !chain.is_empty() {
                self.chains.push(chain);
            }
            return;
        }
        for operation in chain {
            self.options.count(|counts| counts.links_broken += 1);
            self.complete(operation.entry.user_data, -errno::ECANCELED);
        }
    }

    /// Puts a completion into the CQ, or into the backlog behind it.
    pub(super) fn complete(&mut self, user_data: u64, result: i32) {
        let cqe = Cqe { user_data, result };
        // While there is a backlog every completion joins it. Otherwise completions would overtake each other.
        let full = self.completed.len() as u64 >= u64::from(self.in_flight_max());
        if full || !self.backlog.is_empty() || self.rng.chance(self.options.cq_overflow) {
            self.options.count(|counts| counts.overflowed += 1);
            self.backlog.push_back(cqe);
        } else {
            self.completed.push_back(cqe);
        }
    }

    /// Moves completions from the backlog into the CQ, as far as it has room.
    pub(super) fn flush_backlog(&mut self) {
        let room = self.in_flight_max() as usize - self.completed.len();
        self.completed.extend(self.backlog.drain(..room.min(self.backlog.len())));
    }

    /// Lets time go by until so many completions can be reaped, or the limit is over.
    pub(super) fn wait(&mut self, completions: u32, limit: Option<Duration>) {
        // The kernel lowers the number too, because the CQ cannot hold more at once.
        let wanted = completions.min(self.in_flight_max()) as usize;
        let end =
            limit.map(|limit| self.now + u64::try_from(limit.as_nanos() / STEP.as_nanos()).unwrap_or(u64::MAX / 2));
        self.flush_backlog();
        if self.completed.len() < wanted && self.rng.chance(self.options.interrupt_wait) {
            self.options.count(|counts| counts.interrupted_waits += 1);
            return;
        }
        while self.completed.len() < wanted && end.is_none_or(|end| self.now < end) {
            let now = self.now;
            let mut firsts = self.chains.iter().filter_map(VecDeque::front);
            if self.chains.is_empty() {
                assert!(
                    end.is_some(),
                    "sim seed {:#x}: a wait for {wanted} completions without limit, of which {} are there and none can \
                     follow",
                    self.seed(),
                    self.completed.len()
                );
                self.now = end.unwrap_or(now);
            } else if end.is_none() && firsts.all(|first| first.due <= now && !first.is_due(now)) {
                ready::wait_for_any(self.chains.iter().filter_map(VecDeque::front).map(|first| &first.entry.call));
            }
            self.step();
            self.flush_backlog();
        }
    }

    /// Makes the descriptor readable while there is something to reap, or something in flight: time goes by only when
    /// somebody reaps.
    pub(super) fn update_bell(&mut self) {
        let ring = !(self.chains.is_empty() && self.completed.is_empty() && self.backlog.is_empty());
        if let Some(bell) = self.bell.as_ref().filter(|_| ring != self.rung) {
            if ring {
                bell.ring();
            } else {
                bell.quiet();
            }
            self.rung = ring;
        }
    }
}
