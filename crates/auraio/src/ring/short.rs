//! The short path: from an operation to an entry in the backend's queue, and from a completion to its port, if nothing is
//! out of the ordinary. Every other operation takes the long path (`submit.rs`, `complete.rs`).

use std::{mem, sync::Arc};

use super::{
    State, Totals,
    effects::Effects,
    gate::{Gate, NO_LANE},
    load::Load,
    meter::Meter,
    slots::{Place, Sink, Slots, flag},
};
use crate::{
    Completion,
    backend::{Backend, Cqe, Entry, Taker, Wait},
    buf::Payload,
    control::Priority,
    file::FileInner,
    op::{Done, Plain, route::POOL_BUDGET_SHARE, table::CallKind},
};

/// The flags with which an operation still completes by the short path.
const SHORT: u16 = flag::OWNS | flag::IN_LANE | flag::ATTEMPT;

impl State {
    /// Works out the credit: how many operations the short path may push before the ring has to be looked at again. All
    /// other paths set it to 0, so that it is worked out anew after them.
    #[inline(never)]
    fn refresh_credit(&mut self) {
        let load = &mut self.load;
        let in_flight = load.in_flight + self.helper.in_flight;
        let ordinary = self.lines.is_empty() && self.gate.waiting == 0 && self.helper.is_quiet();
        load.credit = if ordinary { load.room.min(load.limit.saturating_sub(in_flight)) } else { 0 };
    }

    /// Lets an operation onto the short path, and onto its lane. Answers the flags to push it with. `None` if it has to take
    /// the long path.
    #[inline(always)]
    pub(super) fn let_in_short(&mut self, plain: &Plain, file: Option<&FileInner>) -> Option<u16> {
        if self.load.credit == 0 {
            self.refresh_credit();
            if self.load.credit == 0 {
                return None;
            }
        }
        let Some(file) = file else { return Some(0) };
        let reads = plain.call.is_read();
        let mut charged = 0;
        if reads && !file.facts().direct {
            let pooled = self.registered.slab_of(plain.address).is_some();
            charged = u64::from(plain.bytes) / if pooled { POOL_BUDGET_SHARE } else { 1 };
            if !self.load.budget.allows(charged) {
                return None;
            }
        }
        let way = match file.lane() {
            Some(lane) => self.gate.let_in(lane.id().0, file.priority(), reads)?,
            None => 0,
        };
        self.load.budget.charge(charged);
        Some(flag::OWNS | way)
    }

    /// Pushes an operation that [`State::let_in_short`] has let in, with those flags.
    #[inline(always)]
    #[expect(unsafe_code, reason = "the slot is what keeps the promise that Backend::push asks for")]
    pub(super) fn push_short(
        &mut self,
        plain: &Plain,
        (payload, file): (Payload, Option<Arc<FileInner>>),
        mut flags: u16,
        sink: Sink,
    ) -> u32 {
        let &Plain { call, bytes, address } = plain;
        if matches!(sink, Sink::Future) {
            flags |= flag::FUTURE;
        }
        let Some(file) = file else {
            let index = self.slots.insert(call.kind(), sink, flags, NO_LANE, Priority::Normal);
            let cold = self.slots.cold_mut(index);
            // The call is kept although it owns nothing, because the helper may have to perform it.
            cold.call = call;
            cold.expect = 0;
            let entry = Entry::new(call, self.slots.key(index));
            // SAFETY: the call has no address and no file.
            unsafe { self.main.push(entry) };
            self.pushed_short(index, flags, false);
            return index;
        };
        let slab = self.registered.slab_of(address);
        let names = self.registered.names_at(&mut self.main, (address, bytes as usize), slab, &file);
        flags |= if names.counted.is_some() { flag::COUNTED } else { 0 };
        let lane = file.lane().map_or(NO_LANE, |lane| lane.id().0);
        let (direct, class) = (file.facts().direct, file.priority());
        let index = self.slots.insert(call.kind(), sink, flags, lane, class);
        let attempt = flags & flag::ATTEMPT != 0;
        let entry = Entry { class, attempt, fixed: names.fixed, ..Entry::new(call, self.slots.key(index)) };
        let cold = self.slots.cold_mut(index);
        cold.call = call;
        cold.expect = u64::from(bytes);
        cold.payload = payload;
        cold.file = Some(file);
        cold.counted = names.counted.unwrap_or(0);
        // SAFETY: the addresses of the call lie in the payload, and its descriptor is open through the share in the file.
        // Both are in the slot now, and stay there until this key's completion.
        unsafe { self.main.push(entry) };
        self.pushed_short(index, flags, direct);
        index
    }

    /// Counts an operation that the short path has pushed, and hands over what is queued if the submit batch is full.
    #[inline(always)]
    fn pushed_short(&mut self, index: u32, flags: u16, direct: bool) {
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
        self.load.credit = 0;
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
    /// Completions that have to take the long path. They are put aside here.
    pub(super) long: &'a mut Vec<Cqe>,
}

impl Taker for ShortEnd<'_> {
    #[inline(always)]
    fn take(&mut self, cqe: Cqe) {
        if !self.takes(cqe) {
            self.long.push(cqe);
        }
    }
}

impl ShortEnd<'_> {
    /// Ends the operation of a completion, if the short path may. Answers false if it may not, and then does nothing.
    #[inline(always)]
    fn takes(&mut self, cqe: Cqe) -> bool {
        let index = cqe.user_data as u32;
        let Some(hot) = self.slots.tenant(cqe.user_data) else { return false };
        if hot.has_any(!SHORT) || cqe.result < 0 || !hot.is_number(self.port) {
            return hot.has(flag::FUTURE) && self.takes_future(index, cqe.result);
        }
        let (token, kind, owns) = (hot.token(), hot.kind(), hot.has(flag::OWNS));
        let payload = if owns {
            match self.end_transfer(index, cqe.result) {
                Some(payload) => payload,
                None => return false,
            }
        } else {
            Payload::NOTHING
        };
        self.load.in_flight -= 1;
        self.totals.completed += 1;
        self.slots.free(index);
        self.out.push(Completion::of(token, kind, cqe.result, payload));
        true
    }

    /// Ends a transfer: lets go of its place on the lane and of its file. Answers the payload. `None` if the transfer has to
    /// go on by the long path; then nothing was done.
    #[inline(always)]
    fn end_transfer(&mut self, index: u32, result: i32) -> Option<Payload> {
        let (hot, cold) = self.slots.both_mut(index);
        if hot.has(flag::ATTEMPT) {
            // After a part of the bytes, the rest may not be in the page cache but on the device.
            if cold.expect != result as u64 {
                return None;
            }
            self.gate.note_hit(hot.lane);
        } else if hot.has(flag::IN_LANE) {
            self.meter.sample(self.gate, hot, cold, result, self.now);
            self.gate.give_place_back(hot);
        }
        if let Some(file) = cold.file.take() {
            self.effects.let_go(file);
        }
        Some(mem::replace(&mut cold.payload, Payload::NOTHING))
    }

    /// Ends a future's operation, if the short path may. The operation keeps its slot until the future fetches the result.
    #[inline(never)]
    fn takes_future(&mut self, index: u32, result: i32) -> bool {
        let hot = self.slots.hot(index);
        if hot.has_any(!(SHORT | flag::FUTURE)) || result < 0 {
            return false;
        }
        if hot.has(flag::OWNS) {
            let Some(payload) = self.end_transfer(index, result) else { return false };
            self.slots.cold_mut(index).payload = payload;
        }
        let (hot, cold) = self.slots.both_mut(index);
        hot.place = Place::Done;
        cold.result = i64::from(result);
        if let Some(waker) = cold.waker.take() {
            self.effects.note().wakers.push(waker);
        }
        self.load.in_flight -= 1;
        self.totals.completed += 1;
        true
    }
}

impl Completion {
    #[inline(always)]
    const fn of(token: u64, kind: CallKind, result: i32, payload: Payload) -> Self {
        Self { token, done: Done { kind, result: result as i64, refused: None, payload, cancelled: false } }
    }
}
