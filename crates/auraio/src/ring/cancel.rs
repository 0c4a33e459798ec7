//! Cancelling: asking operations to end early.

use std::sync::Arc;

use super::{
    Key, Ring, State,
    access::Letter,
    effects::Effects,
    slots::{Cold, Hot, Place, Sink, flag},
};
use crate::{
    backend::{Backend, Wait},
    sys::errno,
};

impl Ring {
    /// Asks an operation to end early.
    pub(crate) fn cancel(self: &Arc<Self>, key: Key) {
        let mut effects = Effects::default();
        let mut state = self.enter();
        if let Some(index) = state.slots.find(key) {
            state.cancel_with(index, &mut effects);
            state.flush();
        }
        self.leave(state, effects);
    }

    /// Asks every operation on an opening of a file to end early.
    pub(crate) fn cancel_file(self: &Arc<Self>, id: u64) {
        let Some(mut state) = self.access().enter() else {
            self.inbox.post(Letter::CancelFile(id));
            return;
        };
        let mut effects = Effects::default();
        if state.cancel_those(&mut effects, |_, cold| cold.file.as_ref().is_some_and(|its| its.id() == id)) {
            state.flush();
        }
        self.leave(state, effects);
    }

    /// Asks every operation that could wait for ever to end early.
    pub(crate) fn cancel_endless(self: &Arc<Self>) {
        let Some(mut state) = self.access().enter() else {
            self.inbox.post(Letter::CancelEndless);
            return;
        };
        let mut effects = Effects::default();
        if state.cancel_those(&mut effects, |_, cold| cold.is_endless()) {
            state.flush();
        }
        self.leave(state, effects);
    }

    /// Asks every operation of a port to end early.
    pub(crate) fn cancel_port(self: &Arc<Self>, port: u32) {
        let mut effects = Effects::default();
        let mut state = self.enter();
        state.cancel_those(&mut effects, |hot, _| hot.is_of_port(port));
        state.flush();
        self.leave(state, effects);
    }
}

impl State {
    /// Asks that an operation end early, wherever it is. An operation that waits for room stays in its line.
    pub(super) fn cancel(&mut self, index: u32) {
        let key = self.slots.key(index);
        let hot = self.slots.hot_mut(index);
        hot.set(flag::CANCELLED);
        match hot.place {
            Place::Main => {
                if self.load.room == 0 {
                    self.submit(Wait::No);
                }
                self.main.cancel(key);
                self.load.unsubmitted = self.main.unsubmitted();
                self.load.room = self.main.room();
            }
            Place::Helper => self.helper.cancel(key),
            // An operation that has not started will complete as cancelled when it would start. The others are complete.
            Place::Free | Place::Held | Place::Waiting | Place::Inline | Place::Done => {}
        }
    }

    /// The same, but an operation that waits for room or for a place completes at once.
    pub(super) fn cancel_with(&mut self, index: u32, effects: &mut Effects) {
        self.cancel_all(&[index], effects);
    }

    /// Cancels the operations that a caller picks, except those that are complete, cancelled already, or a close.
    /// Answers whether there was any. They still have to be handed over.
    pub(super) fn cancel_those(&mut self, effects: &mut Effects, pick: impl Fn(&Hot, &Cold) -> bool) -> bool {
        let all: Vec<u32> = self
            .slots
            .iter_used()
            .filter(|(_, hot, cold)| {
                hot.place != Place::Done && !hot.has(flag::CANCELLED) && !hot.is_close() && pick(hot, cold)
            })
            .map(|(index, ..)| index)
            .collect();
        self.cancel_all(&all, effects);
        !all.is_empty()
    }

    /// Cancels any number of operations with one pass over the lines.
    fn cancel_all(&mut self, all: &[u32], effects: &mut Effects) {
        let mut waited = Vec::new();
        for &index in all {
            let hot = self.slots.hot(index);
            if hot.is_close() {
                // A close is not cancelled, because its descriptor has to go back.
                continue;
            }
            let waits = hot.place == Place::Waiting && !matches!(hot.sink(), Sink::Chain(_));
            self.cancel(index);
            if waits {
                self.slots.hot_mut(index).place = Place::Inline;
                waited.push(index);
            }
        }
        if waited.is_empty() {
            return;
        }
        let slots = &self.slots;
        let waits = |index: u32| slots.hot(index).place == Place::Waiting;
        self.gate.leave_lines(waits);
        self.lines.leave(waits);
        for index in waited {
            self.complete(index, -errno::ECANCELED, None, &mut Vec::new(), effects);
        }
    }
}
