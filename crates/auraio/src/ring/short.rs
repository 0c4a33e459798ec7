//! The short path: from an operation to an entry in the backend's queue, and from a completion to its port, if nothing is
//! out of the ordinary. Every other operation takes the long path (`submit.rs`, `complete.rs`).

use std::mem;

use super::{
    State, Totals,
    effects::Effects,
    gate::{Gate, NO_LANE},
    load::Load,
    meter::Meter,
    registered::Names,
    slots::{Place, Sink, Slots, flag},
};
use crate::{
    Completion,
    backend::{Backend, Cqe, Entry, Wait},
    buf::Payload,
    op::{Done, Plain, route::POOL_BUDGET_SHARE, table::CallKind},
    sys::Call,
};

/// The flags with which an operation still completes by the short path.
const SHORT: u16 = flag::OWNS | flag::IN_LANE | flag::ATTEMPT;

impl State {
    /// Works out the credit: how many operations the short path may push before the ring has to be looked at again.
    #[inline(always)]
    pub(super) fn refresh_credit(&mut self) {
        let load = &mut self.load;
        let in_flight = load.in_flight + self.helper.in_flight;
        let ordinary = self.lines.is_empty() && self.gate.waiting == 0 && self.helper.is_quiet();
        load.credit = if ordinary { load.room.min(load.limit.saturating_sub(in_flight)) } else { 0 };
    }

    /// Lets an operation onto the short path, and onto its lane. Answers the flags to push it with. `None` if it has to take
    /// the long path.
    #[inline(always)]
    pub(super) fn let_in_short(&mut self, plain: &Plain) -> Option<u16> {
        if self.load.credit == 0 {
            return None;
        }
        let Some(file) = &plain.file else { return Some(0) };
        let reads = matches!(plain.call, Call::Read { .. });
        let mut charged = 0;
        if reads && !file.facts().direct {
            let pooled = self.registered.is_pool_memory(&plain.call);
            charged = u64::from(plain.bytes) / if pooled { POOL_BUDGET_SHARE } else { 1 };
            if !self.load.budget.allows(charged) {
                return None;
            }
        }
        let way = match file.lane() {
            Some(lane) => self.gate.let_in(lane.id().0, plain.class, reads)?,
            None => 0,
        };
        self.load.budget.charge(charged);
        Some(flag::OWNS | way)
    }

    /// Pushes an operation that [`State::let_in_short`] has let in, with those flags.
    #[inline(always)]
    #[expect(unsafe_code, reason = "the slot is what keeps the promise that Backend::push asks for")]
    pub(super) fn push_short(&mut self, plain: Plain, mut flags: u16, sink: Sink) -> u32 {
        let Plain { call, bytes, payload, file, class } = plain;
        let mut names = Names::default();
        let (mut lane, mut direct) = (NO_LANE, false);
        if let Some(file) = &file {
            names = self.registered.names(&mut self.main, &call, Some(file));
            flags |= if names.counted.is_some() { flag::COUNTED } else { 0 };
            direct = file.facts().direct;
            lane = file.lane().map_or(NO_LANE, |lane| lane.id().0);
        }
        let index = self.slots.insert(call.kind(), sink, flags, lane, class);
        let cold = self.slots.cold_mut(index);
        // The call is kept even if it owns nothing, because the helper may have to perform it.
        cold.call = call;
        cold.expect = u64::from(bytes);
        if flags & flag::OWNS != 0 {
            cold.payload = payload;
            cold.file = file;
            cold.counted = names.counted.unwrap_or(0);
        }
        let attempt = flags & flag::ATTEMPT != 0;
        let entry = Entry { class, attempt, fixed: names.fixed, ..Entry::new(call, self.slots.key(index)) };
        // SAFETY: the addresses of the call lie in the payload, and its descriptor is open through the share in the file.
        // Both are in the slot now, and stay there until this key's completion.
        unsafe { self.main.push(entry) };
        self.load.push_one();
        self.load.credit -= 1;
        self.totals.submitted += 1;
        if flags & flag::IN_LANE != 0 {
            self.meter.note_pushed(index);
        }
        if direct {
            self.hand_over_direct();
        } else if self.load.unsubmitted >= self.load.batch {
            self.hand_over();
        }
        index
    }

    /// Hands over entries for a device, if the inner loop says so.
    #[inline(never)]
    fn hand_over_direct(&mut self) {
        // Cancellations are queued entries too, and are not in flight.
        let in_kernel = self.load.in_flight.saturating_sub(self.load.unsubmitted);
        if self.meter.is_batch_full(self.load.unsubmitted, in_kernel) {
            self.hand_over();
        }
    }

    #[inline(never)]
    fn hand_over(&mut self) {
        self.submit(Wait::No);
        self.refresh_credit();
    }
}

/// Everything that the end of an operation on the short path touches. The backend is not among it: its queue is being read.
pub(super) struct ShortEnd<'a> {
    pub(super) slots: &'a mut Slots,
    pub(super) gate: &'a mut Gate,
    pub(super) meter: &'a mut Meter,
    pub(super) load: &'a mut Load,
    pub(super) totals: &'a mut Totals,
    /// The port whose completions go to `out`.
    pub(super) port: u32,
    /// The time of the reap. 0 if no lane needs a sample.
    pub(super) now: u64,
    pub(super) out: &'a mut Vec<Completion>,
    pub(super) effects: &'a mut Effects,
}

impl ShortEnd<'_> {
    /// Ends the operation of a completion, if the short path may. Answers false if it may not, and then does nothing.
    #[inline(always)]
    pub(super) fn takes(&mut self, cqe: Cqe) -> bool {
        let Some(index) = self.slots.find(cqe.user_data) else { return false };
        let hot = self.slots.hot(index);
        if hot.has_any(!SHORT) || cqe.result < 0 || hot.place != Place::Main || !hot.is_of_port(self.port) {
            return false;
        }
        // After a part of the bytes, the rest may not be in the page cache but on the device.
        if hot.has(flag::ATTEMPT) && self.slots.cold(index).expect != cqe.result as u64 {
            return false;
        }
        let (token, kind) = (hot.token(), hot.kind());
        self.load.in_flight -= 1;
        self.totals.completed += 1;
        if !hot.has(flag::OWNS) {
            self.slots.free(index);
            self.out.push(Completion::of(token, kind, cqe.result, Payload::NOTHING));
            return true;
        }
        let (hot, cold) = self.slots.both_mut(index);
        if hot.has(flag::ATTEMPT) {
            self.gate.note_hit(hot.lane);
        } else if hot.has(flag::IN_LANE) {
            self.meter.sample(self.gate, hot, cold, cqe.result, self.now);
            self.gate.give_place_back(hot);
        }
        let file = cold.file.take();
        let payload = mem::replace(&mut cold.payload, Payload::NOTHING);
        self.slots.free(index);
        self.out.push(Completion::of(token, kind, cqe.result, payload));
        if let Some(file) = file {
            self.effects.let_go(file);
        }
        true
    }
}

impl Completion {
    #[inline(always)]
    const fn of(token: u64, kind: CallKind, result: i32, payload: Payload) -> Self {
        Self { token, done: Done { kind, result: result as i64, refused: None, payload, cancelled: false } }
    }
}
