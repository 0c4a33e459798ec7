//! From a slot to the backend: which way, how many, and what one flush may cost.

use super::{Effects, Place, Sink, State, Waiting, slots::Slot};
use crate::{
    backend::{Backend, Entry, Wait},
    lanes,
    op::route::{FLUSH_BUDGET_OPERATIONS, Route, inline_read_bytes, needs_worker, route},
    sys::errno,
};

/// How many calls go to the helper, once the kernel had no worker for one, before the kernel is tried again: a refusal
/// takes it 50 ms, so one refusal in a thousand is an average of 50 us.
const WITHOUT_WORKERS: u32 = 1024;

/// How often a submission that a signal interrupted is made again in one flush.
const INTERRUPTED_MAX: u32 = 16;

/// What one flush may still attempt inside the submission. Past it, reads go to the kernel's workers, so that no flush
/// holds the submitting thread (an event loop, mostly) for long.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    bytes: u64,
    operations: u32,
}

impl Budget {
    pub(super) const fn new(limit: u64) -> Self {
        Self { limit, bytes: 0, operations: 0 }
    }

    /// Charges one operation; answers whether it may be attempted inline.
    fn charge(&mut self, bytes: u64) -> bool {
        self.operations += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        bytes == 0 || (self.bytes <= self.limit && self.operations <= FLUSH_BUDGET_OPERATIONS)
    }

    fn reset(&mut self) {
        self.bytes = 0;
        self.operations = 0;
    }
}

impl State {
    /// Starts the operation in a slot: inline, on the helper, or on the ring when its turn comes.
    #[inline(always)]
    pub(super) fn start(&mut self, index: u32, effects: &mut Effects) {
        self.submitted += 1;
        let slot = self.slots.get_mut(index);
        if slot.cancelled {
            slot.place = Place::Inline;
            self.complete(index, -errno::ECANCELED, None, &mut Vec::new(), effects);
            return;
        }
        if slot.cursor {
            slot.find_position();
        }
        if slot.must_bounce() && !self.bounce(index, effects) {
            return;
        }
        let slot = self.slots.get_mut(index);
        let way = if slot.inline {
            Route::Inline
        } else if slot.closes_by_thread() {
            Route::Threads
        } else {
            let pooled = self.registered.is_pool_memory(&slot.call);
            route(&slot.call, slot.expect, slot.file.as_ref().map(|file| file.facts()), pooled)
        };
        if way == Route::Inline {
            slot.place = Place::Inline;
            let call = slot.call;
            let key = self.slots.key(index);
            effects.note().inline.push((key, call));
        } else if self.takes_place(index, way) {
            self.go_by(index, way);
        }
    }

    /// Sends an operation that has its place on its lane the way that it goes.
    #[inline(always)]
    fn go_by(&mut self, index: u32, way: Route) {
        if way == Route::Threads {
            self.admit_helper(index);
            return;
        }
        if way == Route::RingAsync {
            let slot = self.slots.get_mut(index);
            slot.force_async = true;
            slot.heavy = slot.is_heavy();
        }
        self.admit(index);
    }

    /// The same for one that has waited for its place.
    pub(super) fn go(&mut self, index: u32) {
        let slot = self.slots.get(index);
        let pooled = self.registered.is_pool_memory(&slot.call);
        let way = route(&slot.call, slot.expect, slot.file.as_ref().map(|file| file.facts()), pooled);
        self.go_by(index, way);
    }

    /// As [`State::start`], on a thread that may not submit to the ring: what has to go there waits for one that may.
    pub(super) fn start_later(&mut self, index: u32, effects: &mut Effects) {
        let slot = self.slots.get_mut(index);
        if slot.cursor && !slot.cancelled {
            slot.find_position();
        }
        let pooled = self.registered.is_pool_memory(&slot.call);
        let way = route(&slot.call, slot.expect, slot.file.as_ref().map(|file| file.facts()), pooled);
        if slot.cancelled || slot.inline || slot.closes_by_thread() || !matches!(way, Route::Ring | Route::RingAsync) {
            self.start(index, effects);
            return;
        }
        self.submitted += 1;
        if slot.must_bounce() && !self.bounce(index, effects) {
            return;
        }
        let slot = self.slots.get_mut(index);
        slot.force_async = way == Route::RingAsync;
        slot.heavy = slot.force_async && slot.is_heavy();
        slot.place = Place::Waiting;
        if self.waits_for_place(index) {
            return;
        }
        if self.goes_to_helper(index) {
            self.admit_helper(index);
            return;
        }
        let call = self.slots.get(index).call;
        self.slots.get_mut(index).weight = if call.is_plain() { 1 } else { self.main.weight(&call) };
        if self.slots.get(index).heavy {
            self.waiting_heavy.push_back(index);
        } else {
            self.waiting.push_back(Waiting::One(index));
        }
    }

    /// Lets an operation onto the ring if there is room and nobody waits before it.
    #[inline(always)]
    fn admit(&mut self, index: u32) {
        if self.goes_to_helper(index) {
            self.admit_helper(index);
            return;
        }
        let call = &self.slots.get(index).call;
        let weight = if call.is_plain() { 1 } else { self.main.weight(call) };
        let slot = self.slots.get_mut(index);
        slot.weight = weight;
        slot.place = Place::Waiting;
        if slot.heavy {
            self.waiting_heavy.push_back(index);
            self.pump_heavy();
            return;
        }
        if self.waiting.is_empty() && self.make_room(weight) {
            self.push_main(index, false);
            if self.is_batch_full(index) {
                self.submit(Wait::No);
            }
        } else {
            self.waiting.push_back(Waiting::One(index));
        }
    }

    /// Whether what is queued is to be handed over now, where the operation in a slot is the last of it. What goes to a device
    /// past the page cache is gathered as the inner loop says: a device that runs empty while a program prepares the next
    /// batch does its work in lock-step with the program. What completes inside the submission leaves nothing empty.
    #[inline(always)]
    fn is_batch_full(&mut self, index: u32) -> bool {
        let slot = self.slots.get(index);
        // What a worker of the kernel begins reaches the device later anyway.
        if slot.force_async || slot.file.as_ref().is_none_or(|file| !file.facts().direct) {
            return self.unsubmitted >= self.batch;
        }
        let mut now = 0;
        if self.inner.needs_time() && self.unsubmitted < self.inner.batch() {
            now = lanes::now();
            if self.gate.oldest == 0 {
                self.gate.oldest = now;
            }
        }
        // Cancellations are queued entries too, and are not in flight.
        let in_kernel = self.in_flight.saturating_sub(self.unsubmitted);
        self.inner.should_flush(now, self.unsubmitted, self.gate.oldest, in_kernel)
    }

    /// Lets an operation onto the helper if there is room.
    fn admit_helper(&mut self, index: u32) {
        if self.helper.is_none() {
            self.admit(index);
            return;
        }
        self.slots.get_mut(index).place = Place::Waiting;
        self.waiting_helper.push_back(index);
        self.pump_helper();
    }

    /// Moves what waits for the helper there, as far as there is room.
    fn pump_helper(&mut self) {
        while self.has_room(1)
            && let Some(index) = self.waiting_helper.pop_front()
        {
            self.push_helper(index);
        }
    }

    /// Whether so many more may be in flight. One operation always may, however much it takes.
    fn has_room(&self, entries: u32) -> bool {
        let in_flight = self.in_flight + self.in_flight_helper;
        in_flight == 0 || in_flight + entries <= self.limit
    }

    /// Whether a call has to go to the helper: the ring cannot perform it, or has no workers just now.
    pub(super) fn goes_to_helper(&mut self, index: u32) -> bool {
        if self.helper.is_none() {
            return false;
        }
        let slot = self.slots.get(index);
        if self.broken || !(slot.call.is_plain() || self.main.supports(&slot.call)) {
            return true;
        }
        let starved = self.without_workers > 0 && (slot.force_async || needs_worker(&slot.call));
        self.without_workers -= u32::from(starved);
        starved
    }

    /// Whether `entries` can be pushed now. The submission queue is emptied for that, the completion queue never.
    pub(super) fn make_room(&mut self, entries: u32) -> bool {
        if !self.has_room(entries) {
            return false;
        }
        if self.room < entries {
            self.submit(Wait::No);
        }
        self.room >= entries
    }

    /// Pushes a slot's call. There is room.
    #[inline(always)]
    #[expect(unsafe_code, reason = "the slot is what keeps the promise that Backend::push asks for")]
    pub(super) fn push_main(&mut self, index: u32, link: bool) {
        let user_data = self.slots.key(index);
        let slot = self.slots.get_mut(index);
        let pooled = self.registered.is_pool_memory(&slot.call);
        let bytes = inline_read_bytes(&slot.call, slot.expect, slot.file.as_ref().map(|file| file.facts()), pooled);
        let within = self.budget.charge(bytes);
        let names = self.registered.names(&mut *self.main, &slot.call, slot.file.as_deref());
        slot.place = Place::Main;
        slot.counted = names.counted;
        let entry = Entry {
            call: slot.call,
            user_data,
            link,
            force_async: slot.force_async || !within,
            attempt: slot.attempt,
            class: slot.class,
            fixed: names.fixed,
        };
        let governed = slot.in_lane;
        self.in_flight += slot.weight;
        self.heavy += u32::from(slot.heavy);
        self.room -= slot.weight;
        self.unsubmitted += slot.weight;
        // SAFETY: the addresses of the call lie in the slot's payload, and its descriptor is open through the slot's
        // share in the file. `complete` is the only place that takes them out, and it runs for this key's completion.
        unsafe { self.main.push(entry) };
        if governed {
            self.note_pushed(index);
        }
    }

    /// Pushes a slot's call to the helper threads. `submit` hands it over.
    #[expect(unsafe_code, reason = "the slot is what keeps the promise that Backend::push asks for")]
    pub(super) fn push_helper(&mut self, index: u32) {
        if self.helper.is_none() {
            self.admit(index);
            return;
        }
        let user_data = self.slots.key(index);
        let slot = self.slots.get_mut(index);
        slot.place = Place::Helper;
        slot.attempt = false;
        let governed = slot.in_lane;
        self.in_flight_helper += 1;
        let entry = Entry { force_async: true, class: slot.class, ..Entry::new(slot.call, user_data) };
        if governed {
            self.stamp_helper(index);
        }
        if let Some(helper) = &mut self.helper {
            // SAFETY: as for the main backend: the slot owns what the call points to until this key's completion.
            unsafe { helper.push(entry) };
        }
    }

    /// Starts heavy operations, as many as may run at once.
    fn pump_heavy(&mut self) {
        while self.heavy < self.heavy_max
            && let Some(&index) = self.waiting_heavy.front()
            && self.make_room(self.slots.get(index).weight)
        {
            self.waiting_heavy.pop_front();
            self.push_main(index, false);
        }
    }

    /// Moves what waits onto the ring, in order, as far as there is room.
    pub(super) fn pump(&mut self) {
        self.pump_lanes();
        self.pump_helper();
        self.pump_heavy();
        while let Some(&next) = self.waiting.front() {
            if self.broken {
                self.waiting.pop_front();
                match next {
                    Waiting::One(index) if self.slots.get(index).place == Place::Waiting => self.push_helper(index),
                    Waiting::One(_) => {}
                    Waiting::Chain(chain) => self.push_chain_helper(chain),
                }
                continue;
            }
            match next {
                Waiting::One(index) => {
                    if self.slots.get(index).place != Place::Waiting {
                        self.waiting.pop_front();
                        continue;
                    }
                    if !self.make_room(self.slots.get(index).weight) {
                        return;
                    }
                    self.waiting.pop_front();
                    // What it needs of the backend may have been used up since it began to wait.
                    let call = &self.slots.get(index).call;
                    if call.is_plain() || self.main.supports(call) {
                        self.push_main(index, false);
                    } else {
                        self.push_helper(index);
                    }
                }
                Waiting::Chain(chain) => {
                    if !self.make_room(self.chains.len(chain)) {
                        return;
                    }
                    self.waiting.pop_front();
                    self.push_chain(chain);
                }
            }
            if self.unsubmitted >= self.batch {
                self.submit(Wait::No);
            }
        }
    }

    /// The backend is done with an operation on registered memory.
    #[inline]
    pub(super) fn discount(&mut self, index: u32) {
        if let Some(place) = self.slots.get_mut(index).counted.take() {
            self.registered.done(&mut *self.main, place);
        }
    }

    /// Hands over everything that can be handed over.
    pub(super) fn flush(&mut self) {
        self.registered.tidy(&mut *self.main);
        self.pump();
        if self.gate.waiting > 0 && self.report(0) {
            self.pump();
        }
        if self.unsubmitted > 0 {
            self.submit(Wait::No);
        }
        self.flush_helper();
    }

    /// Hands over what the helper has been given.
    pub(super) fn flush_helper(&mut self) {
        if let Some(helper) = &mut self.helper
            && helper.unsubmitted() > 0
        {
            // The crew refuses nothing: without a thread it performs on this one.
            let _ = helper.submit(Wait::No);
        }
    }

    /// One system call, or a few where it is interrupted or takes only a part.
    pub(super) fn submit(&mut self, wait: Wait) {
        self.budget.reset();
        let mut began = self.stamp();
        for _ in 0..INTERRUPTED_MAX {
            let queued = self.unsubmitted;
            let outcome = self.main.submit(wait);
            self.look();
            if let (Some(since), Wait::No) = (began, wait) {
                let now = lanes::now();
                self.inner.on_enter(queued.saturating_sub(self.unsubmitted), now.saturating_sub(since));
                began = Some(now);
            }
            match outcome {
                Ok(taken) if taken > 0 && self.unsubmitted > 0 => {}
                Ok(_) => return,
                Err(error) => match error.raw_os_error() {
                    Some(errno::EINTR) if wait == Wait::No => {}
                    // Short of memory, or of room in the completion queue: what was pushed stays queued for the next
                    // flush, and whoever waits asks again before long.
                    Some(errno::EINTR | errno::EAGAIN | errno::EBUSY | errno::ETIME | errno::ENOMEM) => return,
                    _ => {
                        self.break_down();
                        return;
                    }
                },
            }
        }
    }

    /// Asks the main backend anew for what is kept of it.
    fn look(&mut self) {
        self.room = self.main.room();
        self.unsubmitted = self.main.unsubmitted();
    }

    /// The kernel refuses submissions for good (a seccomp filter set after the start does): the helper takes over.
    fn break_down(&mut self) {
        if self.helper.is_none() {
            return;
        }
        self.broken = true;
        for key in self.main.withdraw() {
            if let Some(index) = self.slots.find(key) {
                self.in_flight -= self.slots.get(index).weight;
                self.heavy -= u32::from(self.slots.get(index).heavy);
                self.discount(index);
                let attempt = std::mem::take(&mut self.slots.get_mut(index).attempt);
                match self.slots.get(index).sink {
                    Sink::Chain(chain) => self.chains.give_back(chain),
                    _ if attempt => self.wait_for_place(index),
                    _ => self.push_helper(index),
                }
            }
        }
        self.look();
        while let Some(next) = self.waiting.pop_front() {
            match next {
                Waiting::One(index) => self.push_helper(index),
                Waiting::Chain(chain) => self.push_chain_helper(chain),
            }
        }
        while let Some(index) = self.waiting_heavy.pop_front() {
            self.push_helper(index);
        }
        self.restart_chains();
        if let Some(helper) = &mut self.helper {
            let _ = helper.submit(Wait::No);
        }
    }

    /// The kernel had no worker for a call: the helper performs it, and for a while all others that need one.
    pub(super) fn redo_on_helper(&mut self, index: u32) {
        self.without_workers = WITHOUT_WORKERS;
        self.push_helper(index);
        if let Some(helper) = &mut self.helper {
            let _ = helper.submit(Wait::No);
        }
    }

    /// Asks for an operation to end early, wherever it is.
    pub(super) fn cancel(&mut self, index: u32) {
        let key = self.slots.key(index);
        let slot = self.slots.get_mut(index);
        slot.cancelled = true;
        match slot.place {
            Place::Main => {
                if self.room == 0 {
                    self.submit(Wait::No);
                }
                self.main.cancel(key);
                self.look();
            }
            Place::Helper => {
                if let Some(helper) = &mut self.helper {
                    helper.cancel(key);
                }
            }
            // What has not started completes as cancelled when it would start; the rest is complete.
            _ => {}
        }
    }

    /// The same, and what waits for room or for a place completes at once. A close is not cancelled: its descriptor has to go
    /// back.
    pub(super) fn cancel_with(&mut self, index: u32, effects: &mut Effects) {
        self.cancel_all(&[index], effects);
    }

    /// Cancels what a caller picks, less what is complete, cancelled already, or a close.
    /// Answers whether there was any. They still have to be handed over.
    pub(super) fn cancel_those(&mut self, effects: &mut Effects, pick: impl Fn(&Slot) -> bool) -> bool {
        let all: Vec<u32> = self
            .slots
            .iter_used()
            .filter(|(_, slot)| slot.place != Place::Done && !slot.cancelled && !slot.is_close() && pick(slot))
            .map(|(index, _)| index)
            .collect();
        self.cancel_all(&all, effects);
        !all.is_empty()
    }

    /// Cancels operations, however many, in one pass over the lines that they may stand in.
    fn cancel_all(&mut self, all: &[u32], effects: &mut Effects) {
        let mut waited = Vec::new();
        for &index in all {
            let slot = self.slots.get(index);
            if slot.is_close() {
                continue;
            }
            let waits = slot.place == Place::Waiting && !matches!(slot.sink, Sink::Chain(_));
            self.cancel(index);
            if waits {
                self.slots.get_mut(index).place = Place::Inline;
                waited.push(index);
            }
        }
        if waited.is_empty() {
            return;
        }
        self.leave_lines();
        let slots = &self.slots;
        let waits = |index: u32| slots.get(index).place == Place::Waiting;
        self.waiting.retain(|waiting| !matches!(waiting, Waiting::One(index) if !waits(*index)));
        self.waiting_heavy.retain(|index| waits(*index));
        self.waiting_helper.retain(|index| waits(*index));
        for index in waited {
            self.complete(index, -errno::ECANCELED, None, &mut Vec::new(), effects);
        }
    }
}
