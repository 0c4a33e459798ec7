//! The long way from a slot to the backend: which way the call goes, whether it has to wait, and the hand-over.

use super::{
    State,
    effects::Effects,
    lines::Waiting,
    slots::{Cold, Place, Sink, flag},
};
use crate::{
    backend::{Backend, Entry, Wait},
    lanes,
    op::route::{Route, inline_read_bytes, needs_worker, route},
    sys::errno,
};

/// How often a submission that a signal interrupted is made again in one flush.
const INTERRUPTED_MAX: u32 = 16;

impl State {
    /// Where the call in a slot is performed.
    fn way_of(&self, cold: &Cold) -> Route {
        let pooled = self.registered.is_pool_memory(&cold.call);
        let facts = cold.file.as_ref().map(|file| file.facts());
        match route(&cold.call, cold.expect, facts, pooled) {
            // A worker that read a pipe would wait for as long as the pipe is empty. The kernel itself waits without a
            // worker.
            Route::RingAsync if facts.is_some_and(|facts| !facts.seekable) => Route::Ring,
            way => way,
        }
    }

    /// Starts the operation in a slot: inline, on the helper, or on the ring when its turn comes.
    pub(super) fn start(&mut self, index: u32, effects: &mut Effects) {
        self.totals.submitted += 1;
        let (hot, cold) = self.slots.both_mut(index);
        if hot.has(flag::CANCELLED) {
            hot.place = Place::Inline;
            self.complete(index, -errno::ECANCELED, None, &mut Vec::new(), effects);
            return;
        }
        if hot.has(flag::CURSOR) {
            cold.find_position();
        }
        if cold.must_bounce() && !self.bounce(index, effects) {
            return;
        }
        let (hot, cold) = (self.slots.hot(index), self.slots.cold(index));
        let way = if hot.has(flag::INLINE) {
            Route::Inline
        } else if hot.is_close() && hot.has(flag::ASYNC) {
            Route::Threads
        } else {
            self.way_of(cold)
        };
        if way == Route::Inline {
            let call = cold.call;
            self.slots.hot_mut(index).place = Place::Inline;
            effects.note().inline.push((self.slots.key(index), call));
        } else if self.takes_place(index, way) {
            self.go_by(index, way);
        }
    }

    /// Sends an operation on, which has its place on its lane if it needs one.
    fn go_by(&mut self, index: u32, way: Route) {
        match way {
            Route::Threads => self.admit_helper(index),
            Route::RingAsync => {
                let (hot, cold) = self.slots.both_mut(index);
                hot.set(flag::ASYNC);
                hot.set_to(flag::HEAVY, cold.is_heavy());
                self.admit(index);
            }
            Route::Ring | Route::Inline => self.admit(index),
        }
    }

    /// Sends an operation on that has waited in line for its place.
    pub(super) fn go_on_from_line(&mut self, index: u32) {
        let way = self.way_of(self.slots.cold(index));
        self.go_by(index, way);
    }

    /// Notes how many completion queue entries a slot's call may take.
    fn weigh(&mut self, index: u32) {
        let call = &self.slots.cold(index).call;
        let weight = if call.is_plain() { 1 } else { self.main.weight(call) };
        self.slots.hot_mut(index).weight = weight as u16;
    }

    /// Puts an operation in the line that it belongs to.
    fn line_up(&mut self, index: u32) {
        let (hot, cold) = (self.slots.hot(index), self.slots.cold(index));
        if hot.has(flag::HEAVY) {
            self.lines.push_copy(cold.device(), index);
        } else if hot.has(flag::ENDLESS) {
            self.lines.push_endless(index);
        } else {
            self.lines.push(Waiting::One(index));
        }
    }

    /// Lets an operation onto the ring if there is room and nobody waits before it.
    fn admit(&mut self, index: u32) {
        if self.goes_to_helper(index) {
            self.admit_helper(index);
            return;
        }
        self.weigh(index);
        let hot = self.slots.hot_mut(index);
        hot.place = Place::Waiting;
        if hot.is_close() {
            // A close frees what others wait for, so it waits for nobody.
            self.make_room_in_queue(1);
            self.push_main(index, false);
            self.submit_if_full(index);
            return;
        }
        let (weight, out_of_line) = (u32::from(hot.weight), hot.has_any(flag::HEAVY | flag::ENDLESS));
        if out_of_line {
            self.line_up(index);
            self.pump_copies();
            self.pump_endless();
        } else if self.lines.is_clear() && self.make_room(weight) {
            self.push_main(index, false);
            self.submit_if_full(index);
        } else {
            self.line_up(index);
        }
    }

    /// Hands over what is queued, if the submit batch is full. The slot's operation was pushed last. For direct transfers
    /// the inner loop says how large the batch is: if a device runs empty while the program prepares the next batch, the two
    /// work in turns instead of at the same time. Operations that complete inside the submission leave no device waiting.
    fn submit_if_full(&mut self, index: u32) {
        let (hot, cold) = (self.slots.hot(index), self.slots.cold(index));
        // A transfer that a worker of the kernel performs reaches the device later anyway.
        let direct = !hot.has(flag::ASYNC) && cold.file.as_ref().is_some_and(|file| file.facts().direct);
        // Cancellations are queued entries too, but are not in flight.
        let in_kernel = self.load.in_flight.saturating_sub(self.load.unsubmitted);
        let full = if direct {
            self.meter.is_batch_full(self.load.unsubmitted, in_kernel)
        } else {
            self.load.unsubmitted >= self.load.batch
        };
        if full {
            self.submit(Wait::No);
        }
    }

    /// Lets an operation onto the helper if there is room.
    fn admit_helper(&mut self, index: u32) {
        if !self.helper.is_there() {
            self.admit(index);
            return;
        }
        self.slots.hot_mut(index).place = Place::Waiting;
        if self.slots.hot(index).is_close() {
            self.push_helper(index);
            return;
        }
        self.lines.helper.push_back(index);
        self.pump_helper();
    }

    /// Gives operations that wait for the helper to it, as many as there is room for.
    fn pump_helper(&mut self) {
        while self.load.has_room(1, self.helper.in_flight, false)
            && let Some(index) = self.lines.helper.pop_front()
        {
            self.push_helper(index);
        }
    }

    /// Whether a call has to go to the helper, because the ring cannot perform it, or because the kernel has no worker at
    /// present.
    pub(super) fn goes_to_helper(&mut self, index: u32) -> bool {
        if !self.helper.is_there() {
            return false;
        }
        let (hot, cold) = (self.slots.hot(index), self.slots.cold(index));
        if self.helper.takes_all || !(cold.call.is_plain() || self.main.supports(&cold.call)) {
            return true;
        }
        (hot.has(flag::ASYNC) || needs_worker(&cold.call)) && self.helper.stands_in()
    }

    /// Whether `entries` can be pushed now. If the submission queue lacks room, it is handed over. The completion queue is
    /// not reaped for that.
    pub(super) fn make_room(&mut self, entries: u32) -> bool {
        self.load.has_room(entries, self.helper.in_flight, false) && self.make_room_in_queue(entries)
    }

    /// Hands the submission queue over if it has less room than for `entries`. Answers whether it has the room now.
    pub(super) fn make_room_in_queue(&mut self, entries: u32) -> bool {
        if self.load.room < entries {
            self.submit(Wait::No);
        }
        self.load.room >= entries
    }

    /// Pushes a slot's call. The caller knows that there is room.
    #[expect(unsafe_code, reason = "the slot is what keeps the promise that Backend::push asks for")]
    pub(super) fn push_main(&mut self, index: u32, link: bool) {
        if self.load.room == 0 {
            // At present the kernel takes nothing. When it does again, this operation goes first.
            self.slots.hot_mut(index).place = Place::Waiting;
            self.lines.push_first(index);
            return;
        }
        let user_data = self.slots.key(index);
        let (hot, cold) = self.slots.both_mut(index);
        let facts = cold.file.as_ref().map(|file| file.facts());
        let pooled = self.registered.is_pool_memory(&cold.call);
        let within = self.load.budget.charge(inline_read_bytes(&cold.call, cold.expect, facts, pooled));
        let names = self.registered.names(&mut self.main, &cold.call, cold.file.as_deref());
        hot.place = Place::Main;
        hot.set_to(flag::COUNTED, names.counted.is_some());
        cold.counted = names.counted.unwrap_or(0);
        let entry = Entry {
            call: cold.call,
            user_data,
            link,
            force_async: hot.has(flag::ASYNC) || !within && !hot.has(flag::ENDLESS),
            attempt: hot.has(flag::ATTEMPT),
            class: hot.class,
            fixed: names.fixed,
        };
        let weight = u32::from(hot.weight);
        self.load.in_flight += weight;
        self.load.endless += if hot.has(flag::ENDLESS) { weight } else { 0 };
        self.load.room -= weight.min(self.load.room);
        self.load.unsubmitted += weight;
        let governed = hot.has(flag::IN_LANE);
        let opens = cold.opens();
        self.load.opening += u32::from(opens);
        let worker = opens || entry.force_async || needs_worker(&cold.call) && !hot.has(flag::ENDLESS);
        hot.set_to(flag::WORKER, worker);
        hot.clear(flag::STUCK);
        self.workers.in_flight += u32::from(worker);
        // SAFETY: the addresses of the call lie in the slot's payload, and its descriptor is open through the slot's
        // share in the file. `complete` is the only place that takes them out, and it runs for this key's completion.
        unsafe { self.main.push(entry) };
        if governed {
            self.meter.note_pushed(index);
        }
    }

    /// Pushes a slot's call to the helper. The helper's flush hands it over.
    #[expect(unsafe_code, reason = "the slot is what keeps the promise that Backend::push asks for")]
    pub(super) fn push_helper(&mut self, index: u32) {
        if !self.helper.is_there() {
            self.admit(index);
            return;
        }
        let user_data = self.slots.key(index);
        let (hot, cold) = self.slots.both_mut(index);
        hot.place = Place::Helper;
        hot.set(flag::LONG);
        hot.clear(flag::ATTEMPT);
        let governed = hot.has(flag::IN_LANE);
        let entry = Entry { force_async: true, class: hot.class, ..Entry::new(cold.call, user_data) };
        if governed {
            self.stamp_helper(index);
        }
        // SAFETY: as for the main backend: the slot owns what the call points to until this key's completion.
        unsafe { self.helper.push(entry) };
    }

    /// Notes that the main backend is done with a slot's call, or has given it back unperformed.
    pub(super) fn leave_main(&mut self, index: u32) {
        let (hot, cold) = self.slots.both_mut(index);
        let weight = u32::from(hot.weight);
        self.load.in_flight -= weight;
        if hot.has(flag::ENDLESS) {
            self.load.endless -= weight;
        }
        self.load.opening -= u32::from(cold.opens());
        self.workers.in_flight -= u32::from(hot.take(flag::WORKER));
        if hot.take(flag::COUNTED) {
            self.registered.done(&mut self.main, cold.counted);
        }
        if hot.has(flag::HEAVY) {
            self.lines.copy_ended(cold.device());
        }
    }

    /// Starts copies, as many as may run at once.
    fn pump_copies(&mut self) {
        while self.lines.has_copy() && self.make_room(1) {
            let Some(index) = self.lines.next_copy() else { return };
            self.push_main(index, false);
        }
    }

    /// Starts operations that may wait for ever, as many as have room.
    fn pump_endless(&mut self) {
        while let Some(index) = self.lines.first_endless()
            && self.load.has_room(1, self.helper.in_flight, true)
            && self.make_room_in_queue(1)
        {
            self.lines.pop_endless();
            self.push_main(index, false);
            self.submit_if_full(index);
        }
    }

    /// Moves what waits onto the ring, in order, as far as there is room.
    #[inline]
    pub(super) fn pump(&mut self) {
        if self.gate.waiting > 0 || !self.lines.is_empty() {
            self.pump_lines();
        }
    }

    #[inline(never)]
    fn pump_lines(&mut self) {
        self.pump_lanes();
        self.pump_helper();
        if self.helper.takes_all {
            self.move_lines_to_helper();
            return;
        }
        self.pump_copies();
        self.pump_endless();
        while let Some(next) = self.lines.first() {
            match next {
                Waiting::One(index) if self.slots.hot(index).place != Place::Waiting => {
                    self.lines.pop();
                }
                Waiting::One(index) => {
                    if !self.make_room(u32::from(self.slots.hot(index).weight)) {
                        return;
                    }
                    self.lines.pop();
                    // The backend may have become unable to perform it while it waited.
                    let call = &self.slots.cold(index).call;
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
                    self.lines.pop();
                    self.push_chain(chain);
                }
            }
            if self.load.unsubmitted >= self.load.batch {
                self.submit(Wait::No);
            }
        }
    }

    /// Looks whether the kernel's workers are stuck, if the alarm has rung, and sets the alarm if they may be. Answers whether
    /// the alarm has to be handed over.
    pub(super) fn watch_workers(&mut self) -> bool {
        let mut sets = false;
        if self.main.take_alarm() {
            let mut stuck = 0;
            for hot in self.slots.iter_hot_mut().filter(|hot| hot.has(flag::WORKER)) {
                stuck += u32::from(hot.has(flag::STUCK));
                hot.set(flag::STUCK);
            }
            if let Some(limit) = self.workers.on_alarm(stuck) {
                sets |= self.make_room_in_queue(1);
                self.main.set_workers(limit);
                self.look_at_queue();
            }
        }
        if self.load.room > 0 && self.workers.wants_alarm() {
            sets = true;
            self.main.set_alarm();
            self.look_at_queue();
        }
        sets
    }

    /// Hands over everything that can be handed over.
    pub(super) fn flush(&mut self) {
        self.registered.tidy(&mut self.main);
        self.pump();
        if self.workers.need_a_look() {
            self.watch_workers();
        }
        if self.gate.waiting > 0 && self.report(0) {
            self.pump();
        }
        if self.load.unsubmitted > 0 {
            self.submit(Wait::No);
        }
        self.helper.flush();
    }

    /// Makes the system call that hands over what is queued. It is made again if a signal interrupted it or the kernel took
    /// only a part.
    pub(super) fn submit(&mut self, wait: Wait) {
        self.load.budget.reset();
        let mut began = self.meter.stamp(&mut self.slots, &mut self.gate);
        for _ in 0..INTERRUPTED_MAX {
            let queued = self.load.unsubmitted;
            let outcome = self.main.submit(wait);
            match outcome {
                Ok(taken) => {
                    let taken = taken.min(queued);
                    self.load.unsubmitted = queued - taken;
                    self.load.room += taken;
                }
                Err(_) => self.look_at_queue(),
            }
            if let (Some(since), Wait::No) = (began, wait) {
                let now = lanes::now();
                let taken = queued.saturating_sub(self.load.unsubmitted);
                self.meter.inner.on_enter(taken, now.saturating_sub(since));
                began = Some(now);
            }
            match outcome {
                Ok(taken) if taken > 0 && self.load.unsubmitted > 0 => {}
                Ok(_) => return,
                Err(error) => match error.raw_os_error() {
                    Some(errno::EINTR) if wait == Wait::No => {}
                    // The kernel is short of memory, or of room in the completion queue. What was pushed stays queued for
                    // the next flush, and those who wait try again before long.
                    Some(errno::EINTR | errno::EAGAIN | errno::EBUSY | errno::ETIME | errno::ENOMEM) => return,
                    _ => {
                        self.break_down();
                        return;
                    }
                },
            }
        }
    }

    /// Asks the main backend again how full its queue is.
    fn look_at_queue(&mut self) {
        self.load.unsubmitted = self.main.unsubmitted();
        self.load.room = self.main.room();
    }

    /// Gives everything to the helper, because the kernel refuses submissions for good. A seccomp filter that was set after
    /// the start does so.
    fn break_down(&mut self) {
        if !self.helper.is_there() {
            return;
        }
        self.helper.takes_all = true;
        for key in self.main.withdraw() {
            let Some(index) = self.slots.find(key) else { continue };
            self.leave_main(index);
            let hot = self.slots.hot_mut(index);
            let attempt = hot.take(flag::ATTEMPT);
            match hot.sink() {
                Sink::Chain(chain) => self.chains.give_back(chain),
                _ if attempt => self.wait_for_place(index),
                _ => self.push_helper(index),
            }
        }
        self.look_at_queue();
        self.move_lines_to_helper();
        self.restart_chains();
        self.helper.flush();
    }

    /// Gives everything that waits for the ring to the helper instead.
    fn move_lines_to_helper(&mut self) {
        while let Some(next) = self.lines.pop() {
            match next {
                Waiting::One(index) if self.slots.hot(index).place == Place::Waiting => self.push_helper(index),
                Waiting::One(_) => {}
                Waiting::Chain(chain) => self.push_chain_helper(chain),
            }
        }
        while let Some(index) = self.lines.pop_endless() {
            self.push_helper(index);
        }
        for index in self.lines.pop_copies() {
            self.slots.hot_mut(index).clear(flag::HEAVY);
            self.push_helper(index);
        }
    }

    /// Gives a call to the helper because the kernel had no worker for it. For a while, the helper also performs all other
    /// calls that need a worker.
    pub(super) fn redo_on_helper(&mut self, index: u32) {
        self.helper.stand_in();
        self.slots.hot_mut(index).clear(flag::HEAVY);
        self.push_helper(index);
        self.helper.flush();
    }
}
