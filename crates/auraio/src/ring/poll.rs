//! Operations of futures: how far they are, and what becomes of them when the future is dropped.

use std::{sync::Arc, task::Context};

use super::{Key, Ring, effects::Effects, slots::Place};
use crate::op::Done;

/// What a future's operation has come to.
pub(crate) enum Polled {
    Ready(Done),
    /// It lies in a queue that nobody has handed over yet.
    Queued,
    UnderWay,
}

impl Ring {
    /// The result of a future's operation, or how far it is. A waker is code of the user's, so it is cloned and dropped
    /// while the ring's state is not held.
    pub(crate) fn poll(&self, key: Key, first: bool, context: &Context<'_>) -> Polled {
        let mut new = first.then(|| context.waker().clone());
        loop {
            let mut state = self.enter();
            let Some(index) = state.slots.find(key) else { unreachable!("a future fetches its result once") };
            let queued = state.load.unsubmitted > 0 || state.helper.unsubmitted() > 0;
            let (hot, cold) = state.slots.both_mut(index);
            if hot.place == Place::Done {
                let done = state.slots.remove(index);
                drop(state);
                drop(new);
                return Polled::Ready(done);
            }
            let known = cold.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
            if !known && new.is_none() {
                drop(state);
                new = Some(context.waker().clone());
                continue;
            }
            let unused = if known { new } else { cold.waker.replace(new.unwrap_or_else(|| unreachable!())) };
            drop(state);
            drop(unused);
            return if queued { Polled::Queued } else { Polled::UnderWay };
        }
    }

    /// The future is gone. The operation keeps its slot until its completion; one that could wait for ever is cancelled.
    pub(crate) fn abandon(self: &Arc<Self>, key: Key) {
        let mut effects = Effects::default();
        let mut state = self.enter();
        if let Some(index) = state.slots.find(key) {
            let (hot, cold) = state.slots.both_mut(index);
            effects.note().dropped.extend(cold.waker.take());
            if hot.place == Place::Done {
                let done = state.slots.remove(index);
                effects.note().discarded.push(done);
            } else {
                hot.forget_sink();
                if cold.is_endless() {
                    state.cancel_with(index, &mut effects);
                }
                state.flush();
            }
        }
        self.leave(state, effects);
    }
}
