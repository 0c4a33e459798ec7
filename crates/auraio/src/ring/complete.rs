//! The long path back: from a completion of the backend to those who wait for the operation.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{
    State,
    effects::Effects,
    short::ShortEnd,
    slots::{Place, Sink, flag},
};
use crate::{
    Completion,
    backend::{Backend, Cqe, Wait},
    op::{
        More,
        route::{Route, route},
    },
    sys::{self, errno},
};

/// How often the kernel may answer "again" to one call before the helper, which can wait, performs it.
const ATTEMPTS_MAX: u8 = 3;

/// No port has this number.
const NO_PORT: u32 = u32::MAX;

impl State {
    /// Takes every completion that can be reaped, at most one completion queue full. Answers whether a flush may now hand
    /// over something that had to wait before.
    pub(super) fn reap(&mut self, port: Option<u32>, out: &mut Vec<Completion>, effects: &mut Effects) -> bool {
        let now = if self.load.in_flight > 0 { self.gate.time_of_reap() } else { 0 };
        let mut any = self.reap_main(port, now, out, effects);
        if self.helper.in_flight > 0 {
            let mut cqes = mem::take(&mut self.cqes);
            self.helper.reap(&mut cqes);
            any |= !cqes.is_empty();
            let now = if cqes.is_empty() { 0 } else { self.gate.time_of_reap() };
            for cqe in cqes.drain(..) {
                self.complete_cqe(cqe, now, port, out, effects);
            }
            self.cqes = cqes;
        }
        if any {
            self.meter.note_reaped(now);
            self.report(now);
        }
        if self.workers.is_watching() && self.watch_workers() {
            return true;
        }
        any && (!self.lines.is_empty() || self.gate.waiting + self.load.unsubmitted + self.helper.unsubmitted() > 0)
    }

    /// Takes the completions of the main backend. Those of the short path are finished while the queue is being read. The
    /// others are put aside until that is over, because the operations that they start may use the backend.
    #[inline(always)]
    fn reap_main(&mut self, port: Option<u32>, now: u64, out: &mut Vec<Completion>, effects: &mut Effects) -> bool {
        let Self { main, slots, gate, meter, load, totals, cqes, long, .. } = self;
        let port_number = port.unwrap_or(NO_PORT);
        let done_before = totals.completed;
        let mut short =
            ShortEnd { slots, gate, meter, load, totals, port: port_number, now, out: &mut *out, effects, long };
        main.reap_each(cqes, &mut short);
        let any = totals.completed != done_before || !long.is_empty();
        if !self.long.is_empty() {
            self.reap_long(port, now, out, effects);
        }
        any
    }

    /// Takes the completions that were put aside.
    #[inline(never)]
    fn reap_long(&mut self, port: Option<u32>, now: u64, out: &mut Vec<Completion>, effects: &mut Effects) {
        let mut long = mem::take(&mut self.long);
        for cqe in long.drain(..) {
            self.complete_cqe(cqe, now, port, out, effects);
        }
        self.long = long;
    }

    fn complete_cqe(
        &mut self,
        cqe: Cqe,
        now: u64,
        port: Option<u32>,
        out: &mut Vec<Completion>,
        effects: &mut Effects,
    ) {
        let result = cqe.result;
        let Some(index) = self.slots.find(cqe.user_data) else {
            debug_assert!(false, "a completion for nobody: {cqe:?}");
            return;
        };
        if self.slots.hot(index).place == Place::Main {
            self.leave_main(index);
        } else {
            self.helper.in_flight -= 1;
        }
        let hot = self.slots.hot(index);
        if let Sink::Chain(chain) = hot.sink() {
            self.complete_step(chain, index, result, effects);
            return;
        }
        if hot.is_close() {
            // The kernel gives the descriptor back before the file system can answer, so a close is performed once, whatever
            // the answer is. An interrupted close is done, as Node says too.
            let result = if result == -errno::EINTR { 0 } else { result };
            self.complete(index, result, port, out, effects);
            return;
        }
        let was_attempt = hot.has(flag::ATTEMPT);
        if self.sample(index, result, now) {
            return;
        }
        let hot = self.slots.hot(index);
        let cancelled = hot.has(flag::CANCELLED);
        let unsupported = was_attempt && cancelled && result == -errno::EOPNOTSUPP;
        let result = if unsupported { -errno::ECANCELED } else { result };
        let last_resort = hot.place == Place::Helper || !self.helper.is_there();
        match -result {
            // Nobody cancelled it. The kernel found no worker for it, or the submitting thread has ended.
            errno::ECANCELED if !cancelled && !last_resort => self.redo_on_helper(index),
            // The ring tries an open without waiting first, and then the end of a FIFO that nobody reads from cannot be opened for
            // writing. The helper waits for the reader, as the caller asked.
            errno::ENXIO if !cancelled && !last_resort && self.slots.cold(index).waits_to_open() => {
                self.push_helper(index);
                self.helper.flush();
            }
            // A wait that the cancellation interrupted.
            errno::EINTR | errno::EAGAIN if cancelled => {
                self.complete(index, -errno::ECANCELED, port, out, effects);
            }
            // The threads have made the call again by themselves, after growing pauses (`backend/threads/pauses.rs`).
            errno::EAGAIN if last_resort => self.complete(index, result, port, out, effects),
            errno::EINTR | errno::EAGAIN if !(last_resort && hot.attempts >= ATTEMPTS_MAX) => self.again(index),
            _ => self.complete(index, result, port, out, effects),
        }
    }

    /// Makes a call again that the kernel answered with "again": on the ring with a worker, and in the end by the helper,
    /// whose threads can wait.
    fn again(&mut self, index: u32) {
        let hot = self.slots.hot_mut(index);
        hot.set(flag::LONG);
        hot.attempts += 1;
        hot.set(flag::ASYNC);
        hot.clear(flag::HEAVY);
        if hot.attempts >= ATTEMPTS_MAX || hot.place == Place::Helper {
            hot.attempts = ATTEMPTS_MAX;
            self.push_helper(index);
        } else {
            hot.place = Place::Waiting;
            self.lines.push_first(index);
        }
    }

    /// Takes the result of one call. Either the next part of the operation follows, or the operation is complete.
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
        let (hot, cold) = self.slots.both_mut(index);
        let (result, next) = cold.next_part(result);
        if let Ok(bytes) = u64::try_from(result) {
            cold.moved += bytes;
            if !hot.has(flag::CANCELLED)
                && let Some((call, expect)) = next
            {
                cold.call = call;
                cold.expect = expect;
                self.go_on(index);
                return;
            }
            cold.result = cold.moved as i64;
        } else {
            // If a later part fails, the result still tells what the earlier parts moved. The caller's next operation, for
            // the rest, then gives the error.
            cold.result = if cold.moved > 0 { cold.moved as i64 } else { i64::from(result) };
        }
        cold.more = None;
        cold.move_position();
        self.totals.completed += 1;
        self.deliver(index, port, out, effects);
    }

    /// Starts the next part of an operation. It goes before everything else that waits.
    fn go_on(&mut self, index: u32) {
        let (hot, cold) = self.slots.both_mut(index);
        hot.clear(flag::HEAVY);
        let helper = if matches!(cold.more.as_deref(), Some(More::Bounced(_))) {
            // The parts of a bounced transfer may be performed in different places.
            hot.weight = 1;
            let facts = cold.file.as_ref().map(|file| file.facts());
            let pooled = self.registered.is_pool_memory(&cold.call);
            hot.set_to(flag::ASYNC, route(&cold.call, cold.expect, facts, pooled) == Route::RingAsync);
            self.goes_to_helper(index)
        } else {
            hot.place == Place::Helper
        };
        self.slots.hot_mut(index).place = Place::Waiting;
        if helper {
            self.push_helper(index);
        } else {
            self.lines.push_first(index);
        }
    }

    /// Gives the result of a slot's operation to those who wait for it.
    fn deliver(&mut self, index: u32, port: Option<u32>, out: &mut Vec<Completion>, effects: &mut Effects) {
        let (hot, cold) = self.slots.both_mut(index);
        self.gate.give_place_back(hot);
        let file = cold.file.take();
        effects.release(cold.other.take());
        let cursor = hot.has(flag::CURSOR);
        match hot.sink() {
            Sink::Port { port: whose, token } => {
                let completion = Completion { token, done: self.slots.remove(index) };
                if port == Some(whose) {
                    out.push(completion);
                } else if let Some(mailbox) = self.ports.get(whose as usize).and_then(Option::as_ref) {
                    effects.note().mail.push((std::sync::Arc::clone(mailbox), completion));
                } else {
                    effects.note().discarded.push(completion.done);
                }
            }
            Sink::Future => {
                hot.place = Place::Done;
                effects.note().wakers.extend(cold.waker.take());
            }
            Sink::Chain(_) | Sink::Nobody => {
                let done = self.slots.remove(index);
                effects.note().discarded.push(done);
            }
        }
        match file {
            Some(file) if cursor => effects.note().turns.push(file),
            Some(file) => effects.let_go(file),
            None => {}
        }
    }

    /// Waits on this thread until nothing is in flight. Answers false if the time was over first.
    pub(super) fn drain_alone(&mut self, limit: Duration, effects: &mut Effects) -> bool {
        let begin = Instant::now();
        self.cancel_those(effects, |_, _| true);
        self.flush();
        loop {
            let mut letters = Vec::new();
            self.reap(None, &mut letters, effects);
            self.flush();
            // Nobody has a share in the ring any more, so nobody will release the operations that are held.
            let waiting = self.lines.len() as u32 + self.gate.waiting;
            if self.load.in_flight + self.helper.in_flight + waiting == 0 {
                return true;
            }
            if begin.elapsed() >= limit {
                return false;
            }
            if self.helper.in_flight == 0 && !self.helper.takes_all {
                self.submit(Wait::AtLeast(1, Some(Duration::from_millis(50))));
            } else {
                let both = self.main.descriptor().into_iter().chain(self.helper.descriptor());
                let _ = sys::poll_readable(&both.collect::<Vec<_>>(), Some(Duration::from_millis(50)));
            }
        }
    }
}
