//! How entries get from the queue to the kernel: what one submission takes, what it refuses, when an operation starts.
#![expect(unsafe_code, reason = "reads the memory of an operation, as the kernel does")]

use std::{collections::VecDeque, io};

use super::{Operation, SimBackend, memory::Watch};
use crate::sys::errno;

/// A submission is refused at most this often in a row, so that a caller that tries again gets through, whatever the
/// probability.
pub(super) const REFUSALS_MAX: u32 = 3;

impl SimBackend {
    /// Takes chains from the queue: all of them, or at least one if this submission takes only a part. A chain is taken as a
    /// whole. Answers how many entries were taken.
    pub(super) fn take(&mut self) -> u32 {
        let last_of_chain = |operation: &Operation| !operation.entry.link;
        assert!(
            self.pushed.back().is_none_or(last_of_chain),
            "sim seed {:#x}: a submit would cut a chain in two",
            self.seed()
        );
        let chains = self.pushed.iter().filter(|operation| last_of_chain(operation)).count() as u64;
        let taken = if chains > 1 && self.rng.chance(self.options.partial_submit) {
            self.options.count(|counts| counts.partial_submits += 1);
            1 + self.rng.below(chains - 1)
        } else {
            chains
        };
        let mut entries = 0;
        for _ in 0..taken {
            let len = self.pushed.iter().position(last_of_chain).map_or(0, |last| last + 1);
            let mut chain: VecDeque<Operation> = self.pushed.drain(..len).collect();
            entries += len as u32;
            self.start_first(&mut chain);
            self.chains.push(chain);
        }
        entries
    }

    /// Starts the first operation of a chain. From now on its memory belongs to the kernel, and any later step may perform
    /// it.
    pub(super) fn start_first(&mut self, chain: &mut VecDeque<Operation>) {
        let Some(operation) = chain.front_mut() else { return };
        operation.due = self.now + 1;
        if operation.entry.force_async {
            operation.due += 1;
        }
        if self.options.delay_steps_max > 0 && self.rng.chance(self.options.delay) {
            self.options.count(|counts| counts.delayed += 1);
            operation.due += 1 + self.rng.below(u64::from(self.options.delay_steps_max));
        }
        if self.options.watch_memory {
            let noise = self.rng.next();
            // SAFETY: the caller of `push` keeps the memory valid and to itself until the completion is reaped, and
            // `perform` ends the watch before there is a completion.
            operation.watch = unsafe { Watch::begin(&operation.entry.call, noise) };
        }
    }

    /// The error of this submission, if it is refused.
    pub(super) fn refusal(&mut self) -> Option<io::Error> {
        if self.options.refuse_for_good_after.is_some_and(|last| self.enters > last) {
            self.options.count(|counts| counts.refused_submits += 1);
            return Some(io::Error::from_raw_os_error(errno::EPERM));
        }
        if self.refusals == REFUSALS_MAX || !self.rng.chance(self.options.refuse_submit) {
            self.refusals = 0;
            return None;
        }
        self.refusals += 1;
        self.options.count(|counts| counts.refused_submits += 1);
        let errno = [errno::EAGAIN, errno::EBUSY, errno::EINTR][self.rng.below(3) as usize];
        Some(io::Error::from_raw_os_error(errno))
    }
}
