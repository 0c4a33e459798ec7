//! The lines in which operations of a ring wait for room. Those that wait for a place on a lane stand in `gate.rs`.
//!
//! There are several lines, so that the operations in one hold up none in another: operations that may wait for ever, copies
//! (a line for each device), calls for the helper, and all others, in the order in which they came.

use std::collections::VecDeque;

/// One entry of the common line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    One(u32),
    Chain(u32),
}

/// The copies of one device: large buffered reads by workers of the kernel.
#[derive(Debug)]
struct Copies {
    device: u64,
    running: u32,
    waiting: VecDeque<u32>,
}

/// All operations that wait, by what they wait for.
#[derive(Debug)]
pub(super) struct Lines {
    /// Operations that wait for room on the ring, in the order in which they came.
    common: VecDeque<Waiting>,
    /// Operations that may wait for ever, and wait for room on the ring. They get a part of the room and never all of it.
    endless: VecDeque<u32>,
    /// Operations that wait for room on the helper.
    pub(super) helper: VecDeque<u32>,
    copies: Vec<Copies>,
    /// The most copies of one device that may run at once.
    copies_max: u32,
    copies_waiting: u32,
    /// The number of held operations. Somebody, maybe on another thread, releases them.
    pub(super) held: u32,
}

impl Lines {
    pub(super) const fn new(copies_max: u32) -> Self {
        Self {
            common: VecDeque::new(),
            endless: VecDeque::new(),
            helper: VecDeque::new(),
            copies: Vec::new(),
            copies_max,
            copies_waiting: 0,
            held: 0,
        }
    }

    /// The number of operations that wait in any line.
    pub(super) fn len(&self) -> usize {
        self.common.len() + self.endless.len() + self.helper.len() + self.copies_waiting as usize
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.common.is_empty() && self.endless.is_empty() && self.helper.is_empty() && self.copies_waiting == 0
    }

    /// Whether nobody waits in the common line.
    #[inline]
    pub(super) fn is_clear(&self) -> bool {
        self.common.is_empty()
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.common.push_back(waiting);
    }

    /// Puts an operation that has already begun before all others.
    pub(super) fn push_first(&mut self, index: u32) {
        self.common.push_front(Waiting::One(index));
    }

    pub(super) fn first(&self) -> Option<Waiting> {
        self.common.front().copied()
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.common.pop_front()
    }

    pub(super) fn push_endless(&mut self, index: u32) {
        self.endless.push_back(index);
    }

    pub(super) fn first_endless(&self) -> Option<u32> {
        self.endless.front().copied()
    }

    pub(super) fn pop_endless(&mut self) -> Option<u32> {
        self.endless.pop_front()
    }

    /// Puts a copy in line behind those of its device.
    pub(super) fn push_copy(&mut self, device: u64, index: u32) {
        let line = match self.copies.iter_mut().position(|copies| copies.device == device) {
            Some(at) => &mut self.copies[at],
            None => {
                self.copies.push(Copies { device, running: 0, waiting: VecDeque::new() });
                let last = self.copies.len() - 1;
                &mut self.copies[last]
            }
        };
        line.waiting.push_back(index);
        self.copies_waiting += 1;
    }

    /// Whether a copy may start.
    pub(super) fn has_copy(&self) -> bool {
        let may = |copies: &Copies| copies.running < self.copies_max && !copies.waiting.is_empty();
        self.copies_waiting > 0 && self.copies.iter().any(may)
    }

    /// The next copy that may start, of any device that has fewer running than it may. From now on it counts as running.
    pub(super) fn next_copy(&mut self) -> Option<u32> {
        if self.copies_waiting == 0 {
            return None;
        }
        let max = self.copies_max;
        let line = self.copies.iter_mut().find(|copies| copies.running < max && !copies.waiting.is_empty())?;
        let index = line.waiting.pop_front()?;
        line.running += 1;
        self.copies_waiting -= 1;
        Some(index)
    }

    /// Notes that a copy of a device has ended.
    pub(super) fn copy_ended(&mut self, device: u64) {
        let Some(at) = self.copies.iter().position(|copies| copies.device == device) else { return };
        let line = &mut self.copies[at];
        line.running -= 1;
        if line.running == 0 && line.waiting.is_empty() {
            self.copies.swap_remove(at);
        }
    }

    /// Takes every copy out of its line.
    pub(super) fn pop_copies(&mut self) -> Vec<u32> {
        self.copies_waiting = 0;
        self.copies.iter_mut().flat_map(|copies| copies.waiting.drain(..)).collect()
    }

    /// Takes the operations out of the lines for which `waits` answers false. They will not be performed.
    pub(super) fn leave(&mut self, waits: impl Fn(u32) -> bool) {
        self.common.retain(|waiting| !matches!(waiting, Waiting::One(index) if !waits(*index)));
        self.endless.retain(|index| waits(*index));
        self.helper.retain(|index| waits(*index));
        for copies in &mut self.copies {
            copies.waiting.retain(|index| waits(*index));
        }
        self.copies_waiting = self.copies.iter().map(|copies| copies.waiting.len() as u32).sum();
        self.copies.retain(|copies| copies.running > 0 || !copies.waiting.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_limited_by_device() {
        let mut lines = Lines::new(1);
        for index in [0, 1] {
            lines.push_copy(7, index);
        }
        lines.push_copy(8, 2);
        assert_eq!((lines.next_copy(), lines.next_copy(), lines.next_copy()), (Some(0), Some(2), None));
        lines.copy_ended(7);
        assert_eq!((lines.next_copy(), lines.next_copy()), (Some(1), None));
    }

    #[test]
    fn operations_leave_every_line() {
        let mut lines = Lines::new(1);
        lines.push(Waiting::One(0));
        lines.push(Waiting::Chain(0));
        lines.push_endless(1);
        lines.helper.push_back(2);
        lines.push_copy(7, 3);
        assert_eq!(lines.len(), 5);
        lines.leave(|_| false);
        assert_eq!(lines.len(), 1, "a chain is not one operation");
        assert!(lines.next_copy().is_none());
    }
}
