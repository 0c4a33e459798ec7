//! What the simulator remembers of single operations, by their `user_data`, which names one operation for as long as it is
//! under way, however often its caller makes the call again.

use std::collections::{BTreeMap, BTreeSet};

/// The marks of one ring.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Closes that were performed, whatever they answered.
    closed: BTreeSet<u64>,
    /// Whether the kernel answers an operation with `EAGAIN` for ever.
    endless: BTreeMap<u64, bool>,
}

impl Marks {
    /// Notes that a close is performed. Answers false if it was performed before: the descriptor may be another file's by
    /// now.
    pub(super) fn close(&mut self, user_data: u64) -> bool {
        self.closed.insert(user_data)
    }

    /// Whether the operation is one that is answered with `EAGAIN` for ever. `decide` is asked once an operation.
    pub(super) fn is_endless(&mut self, user_data: u64, decide: impl FnOnce() -> bool) -> bool {
        *self.endless.entry(user_data).or_insert_with(decide)
    }
}
