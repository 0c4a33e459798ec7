//! What the simulator remembers of single operations, by their `user_data`, which names one operation of a ring for as long as
//! it is under way, however often its caller makes the call again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use crate::lock;

/// The marks of one ring, shared with the threads that help it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Arc<Mutex<Lists>>);

#[derive(Debug, Default)]
struct Lists {
    /// Closes that were performed, whatever they answered.
    closed: BTreeSet<u64>,
    /// Whether the kernel answers an operation with `EAGAIN` for ever.
    endless: BTreeMap<u64, bool>,
}

impl Marks {
    /// Notes that a close is performed. Answers false if it was performed before: the descriptor may be another file's by
    /// now.
    pub(super) fn close(&self, user_data: u64) -> bool {
        lock(&self.0).closed.insert(user_data)
    }

    /// Whether the operation is one that is answered with `EAGAIN` for ever. `decide` is asked once an operation.
    pub(super) fn is_endless(&self, user_data: u64, decide: impl FnOnce() -> bool) -> bool {
        *lock(&self.0).endless.entry(user_data).or_insert_with(decide)
    }

    /// Whether that was decided before.
    pub(crate) fn was_endless(&self, user_data: u64) -> bool {
        lock(&self.0).endless.get(&user_data).is_some_and(|endless| *endless)
    }
}

/// Like the counts, the marks are no part of what options ask for.
impl PartialEq for Marks {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
