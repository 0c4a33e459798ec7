//! From a completion to whoever waits for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Effects, Place, Sink, State};
use crate::{
    Completion,
    backend::{Backend, Wait},
    file::FileInner,
    op::{
        More,
        route::{Route, route},
    },
    sys::{self, errno},
};

/// How often the kernel may answer "again" to one call before the helper, which can wait, performs it.
const ATTEMPTS_MAX: u8 = 3;

impl State {
    /// Takes every completion there is, up to one completion queue full. Answers whether something may be flushed now
    /// that could not be before.
    pub(super) fn reap(&mut self, port: Option<u32>, out: &mut Vec<Completion>, effects: &mut Effects) -> bool {
        let mut cqes = std::mem::take(&mut self.cqes);
        self.main.reap(&mut cqes);
        if self.in_flight_helper > 0
            && let Some(helper) = &mut self.helper
        {
            helper.reap(&mut cqes);
        }
        out.reserve(cqes.len());
        let now = if cqes.is_empty() { 0 } else { self.time_of_reap() };
        for cqe in &cqes {
            match self.slots.find(cqe.user_data) {
                Some(index) => self.complete_cqe(index, cqe.result, now, port, out, effects),
                None => debug_assert!(false, "a completion for nobody: {cqe:?}"),
            }
        }
        let any = !cqes.is_empty();
        cqes.clear();
        self.cqes = cqes;
        if any {
            self.note_reaped(now);
            self.report(now);
        }
        any && (self.waiting_anywhere() + self.unsubmitted_anywhere() as usize > 0)
    }

    fn unsubmitted_anywhere(&self) -> u32 {
        self.unsubmitted + self.helper.as_ref().map_or(0, Backend::unsubmitted)
    }

    #[inline]
    fn complete_cqe(
        &mut self,
        index: u32,
        result: i32,
        now: u64,
        port: Option<u32>,
        out: &mut Vec<Completion>,
        effects: &mut Effects,
    ) {
        let slot = self.slots.get(index);
        if slot.place == Place::Main {
            self.in_flight -= slot.weight;
            self.heavy -= u32::from(slot.heavy);
            if slot.counted.is_some() {
                self.discount(index);
            }
        } else {
            self.in_flight_helper -= 1;
        }
        let slot = self.slots.get(index);
        if let Sink::Chain(chain) = slot.sink {
            self.complete_step(chain, index, result, effects);
            return;
        }
        let was_attempt = slot.attempt;
        if self.sample(index, result, now) {
            return;
        }
        let slot = self.slots.get(index);
        let unsupported = was_attempt && slot.cancelled && result == -errno::EOPNOTSUPP;
        let result = if unsupported { -errno::ECANCELED } else { result };
        let last_resort = slot.place == Place::Helper || self.helper.is_none();
        match -result {
            // Nobody cancelled it: the kernel found no thread to do it (or the submitting thread ended).
            errno::ECANCELED if !slot.cancelled && !last_resort => self.redo_on_helper(index),
            // A wait that the cancellation interrupted.
            errno::EINTR | errno::EAGAIN if slot.cancelled => {
                self.complete(index, -errno::ECANCELED, port, out, effects);
            }
            errno::EINTR | errno::EAGAIN if !(last_resort && slot.attempts >= ATTEMPTS_MAX) => self.again(index),
            _ => self.complete(index, result, port, out, effects),
        }
    }

    /// The kernel said "again": once more on the ring, with a worker, and in the end by a thread that can wait.
    fn again(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        slot.attempts += 1;
        slot.force_async = true;
        if slot.attempts >= ATTEMPTS_MAX || slot.place == Place::Helper {
            slot.attempts = ATTEMPTS_MAX;
            self.push_helper(index);
        } else {
            slot.place = Place::Waiting;
            self.waiting.push_front(super::Waiting::One(index));
        }
    }

    /// One call is done. Either the next part of the operation follows, or the operation is complete.
    pub(super) fn complete(
        &mut self,
        index: u32,
        result: i32,
        port: Option<u32>,
        out: &mut Vec<Completion>,
        effects: &mut Effects,
    ) {
        if result == -errno::EINVAL && self.append_buffered(index) {
            return;
        }
        let slot = self.slots.get_mut(index);
        let (result, next) = slot.next_part(result);
        if let Ok(bytes) = u64::try_from(result) {
            slot.moved += bytes;
            if !slot.cancelled
                && let Some((call, expect)) = next
            {
                slot.call = call;
                slot.expect = expect;
                self.go_on(index);
                return;
            }
            slot.result = slot.moved as i64;
        } else {
            // What earlier parts moved is not lost by the failure of a later one; asking for the rest tells of it.
            slot.result = if slot.moved > 0 { slot.moved as i64 } else { i64::from(result) };
        }
        slot.more = None;
        slot.move_position();
        self.completed += 1;
        self.deliver(index, port, out, effects);
    }

    /// Starts the next part of an operation, before everything else that waits.
    fn go_on(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        let helper = if matches!(slot.more.as_deref(), Some(More::Bounced(_))) {
            // The parts of a bounced transfer go different ways.
            slot.weight = 1;
            let facts = slot.file.as_ref().map(|file| file.facts());
            let pooled = self.registered.is_pool_memory(&slot.call);
            slot.force_async = route(&slot.call, slot.expect, facts, pooled) == Route::RingAsync;
            self.goes_to_helper(index)
        } else {
            slot.place == Place::Helper
        };
        self.slots.get_mut(index).place = Place::Waiting;
        if helper {
            self.push_helper(index);
        } else {
            self.waiting.push_front(super::Waiting::One(index));
        }
    }

    /// Tells whoever waits for the slot's operation.
    #[inline]
    fn deliver(&mut self, index: u32, port: Option<u32>, out: &mut Vec<Completion>, effects: &mut Effects) {
        self.leave_lane(index);
        let slot = self.slots.get_mut(index);
        let file = slot.file.take();
        if let Some(other) = slot.other.take() {
            effects.note().released.push(other);
        }
        let cursor = slot.cursor;
        match std::mem::replace(&mut slot.sink, Sink::Nobody) {
            Sink::Port { port: whose, token } => {
                if port == Some(whose) {
                    out.push(Completion { token, done: self.slots.remove(index) });
                    return release(file, cursor, effects);
                }
                let completion = Completion { token, done: self.slots.remove(index) };
                if let Some(mailbox) = self.ports.get(whose as usize).and_then(Option::as_ref) {
                    effects.note().mail.push((Arc::clone(mailbox), completion));
                } else {
                    effects.note().discarded.push(completion.done);
                }
            }
            Sink::Future(waker) => {
                slot.place = Place::Done;
                if let Some(waker) = waker {
                    effects.note().wakers.push(waker);
                }
            }
            Sink::Chain(_) | Sink::Nobody => {
                let done = self.slots.remove(index);
                effects.note().discarded.push(done);
            }
        }
        release(file, cursor, effects);
    }

    /// Waits on this thread until nothing is in flight, telling nobody. Answers false when the time was over before.
    pub(super) fn drain_alone(&mut self, limit: Duration) -> bool {
        let begin = Instant::now();
        let mut effects = Effects::default();
        self.cancel_those(&mut effects, |_| true);
        self.flush();
        loop {
            let mut letters = Vec::new();
            self.reap(None, &mut letters, &mut effects);
            self.flush();
            // With the ring's last owner gone nobody is left to release what is held.
            let moving = self.in_flight + self.in_flight_helper + self.waiting_anywhere() as u32;
            if moving == 0 {
                return true;
            }
            if begin.elapsed() >= limit {
                return false;
            }
            if self.in_flight_helper == 0 && !self.broken {
                self.submit(Wait::AtLeast(1, Some(Duration::from_millis(50))));
            } else {
                let descriptors: Vec<_> = self
                    .main
                    .descriptor()
                    .into_iter()
                    .chain(self.helper.as_ref().and_then(Backend::descriptor))
                    .collect();
                let _ = sys::poll_readable(&descriptors, Some(Duration::from_millis(50)));
            }
        }
    }
}

/// Lets go of a completed operation's share in its file.
#[inline]
fn release(file: Option<Arc<FileInner>>, cursor: bool, effects: &mut Effects) {
    let Some(file) = file else { return };
    if cursor {
        effects.note().turns.push(file);
    } else if let Some(last) = Arc::into_inner(file) {
        // The last share: kept until the lock is let go, because its end may start a close.
        effects.note().released.push(Arc::new(last));
    }
}
