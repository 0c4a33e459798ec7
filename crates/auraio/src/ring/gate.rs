//! The gate of a ring: how many operations it lets onto each lane at once, and what it tells the lanes.
//!
//! A transfer on a file that has a lane takes one of the ring's places there before it goes to the backend, and gives it
//! back when it completes. Without a place it waits here, in line with its class. The number of places is the ring's share
//! of the lane's limit; it is read from a cache line of the ring's own, and what completed is reported in bulk.
//!
//! What the page cache has is not held back by what it has not: on a lane of buffered files that has no place left, a read
//! is attempted without one, under the condition that it does not wait (`RWF_NOWAIT`), as long as most such attempts
//! succeed. What that condition refuses gets in line.

use std::{collections::VecDeque, sync::Arc};

use super::{Place as SlotPlace, State};
use crate::{
    control::{Classes, Priority},
    lanes::{self, Lane, LaneMode, Place, Report, Sample},
    op::route::Route,
    sys::{CURRENT_POSITION, errno, transfer_offset},
};

/// A slot whose operation no lane governs.
pub(super) const NO_LANE: u16 = u16::MAX;

/// Completions that a ring gathers before it reports them, while nobody waits for its places.
const REPORT_SAMPLES: usize = 8;
/// Attempts are made as long as this part of them succeeds...
const LUCK_MIN: f32 = 0.5;
/// ...lately, which is to say in about the last ten; else one in so many reads.
const LUCK_WEIGHT: f32 = 0.1;
const PASSED_UP_MAX: u32 = 16;
/// Bytes that are as much work for a device as one operation is.
const WORK_BYTES: f64 = 65_536.0;
/// A wait that was shorter found something there at once: nanoseconds.
const SLEPT_NS: u64 = 5_000;
/// How long completions may lie before they are reported, in nanoseconds.
const REPORT_AFTER_NS: u64 = 500_000;

/// A ring's place on one lane.
struct Seat {
    lane: Arc<Lane>,
    member: u32,
    place: Place,
    in_flight: u32,
    /// Those of the lowest class.
    in_flight_low: u32,
    waiting: [VecDeque<u32>; 3],
    classes: Classes,
    samples: Vec<Sample>,
    hits: u64,
    /// As they were before the completions that are being reaped.
    in_flight_before: u32,
    waiting_before: u32,
    told_in_flight: u32,
    told_waiting: u32,
    told_at: u64,
    /// Reads may be attempted under the condition that they do not wait.
    attempts: bool,
    /// The part of attempts that succeeded lately.
    luck: f32,
    /// Attempts that were not made for want of luck.
    passed_up: u32,
}

impl Seat {
    fn waiting(&self) -> u32 {
        self.waiting.iter().map(|queue| queue.len() as u32).sum()
    }

    /// Whether one more of a class may go now: there is room for it, and none that comes before it waits.
    #[inline]
    fn has_place(&self, class: Priority) -> bool {
        self.has_room(class) && self.waiting[..=class.index()].iter().all(VecDeque::is_empty)
    }

    #[inline]
    fn has_room(&self, class: Priority) -> bool {
        self.in_flight < self.place.share()
            && (class != Priority::Low || self.in_flight_low < self.place.share_low().max(1))
    }

    #[inline]
    fn take_place(&mut self, class: Priority) {
        self.in_flight += 1;
        self.in_flight_low += u32::from(class == Priority::Low);
    }

    /// Whether an attempt is worth it. An attempt that fails has told the device to read what it did not find (the kernel
    /// reads ahead before it answers `EAGAIN`), so where most fail, only now and then one finds out whether that is still so.
    fn tries_its_luck(&mut self) -> bool {
        self.passed_up += 1;
        let tries = self.luck >= LUCK_MIN || self.passed_up >= PASSED_UP_MAX;
        if tries {
            self.passed_up = 0;
        }
        tries
    }

    fn note_luck(&mut self, hit: bool) {
        self.luck += LUCK_WEIGHT * (f32::from(u8::from(hit)) - self.luck);
    }

    fn give_place_back(&mut self, class: Priority) {
        self.in_flight -= 1;
        self.in_flight_low -= u32::from(class == Priority::Low);
    }

    /// The next that may go, if any.
    fn next(&mut self) -> Option<u32> {
        if self.in_flight >= self.place.share() {
            return None;
        }
        let mut waiting = Priority::ALL.map(|class| self.waiting[class.index()].len() as u32);
        if !self.has_room(Priority::Low) {
            waiting[Priority::Low.index()] = 0;
        }
        let class = self.classes.pick(waiting)?;
        let index = self.waiting[class.index()].pop_front()?;
        self.take_place(class);
        Some(index)
    }

    /// Whether the lane is to hear of this ring now.
    fn has_news(&self, now: u64) -> bool {
        let waiting = self.waiting();
        self.samples.len() >= REPORT_SAMPLES
            || self.told_waiting == 0 && waiting > 0
            || self.in_flight == 0 && waiting == 0 && self.told_in_flight + self.told_waiting > 0
            || self.lane.is_scarce() && (self.in_flight < self.told_in_flight || self.told_waiting > 0 && waiting == 0)
            || !(self.samples.is_empty()
                && self.hits == 0
                && self.told_in_flight == self.in_flight
                && self.told_waiting == waiting)
                && now.saturating_sub(self.told_at) >= REPORT_AFTER_NS
    }
}

/// All of a ring's seats.
#[derive(Default)]
pub(super) struct Gate {
    /// By number of the lane.
    seats: Vec<Option<Box<Seat>>>,
    seated: Vec<u16>,
    /// Pushed since the last submission.
    fresh: Vec<u32>,
    /// When the first of those was pushed; 0 where that was not asked.
    pub(super) oldest: u64,
    /// Operations that wait here.
    pub(super) waiting: u32,
    /// Operations that have a place.
    pub(super) in_flight: u32,
    /// When the completion queue was last seen empty: at the last reap, or when the thread was woken by something in it.
    seen_empty: u64,
    /// When the thread began its turn, and what it has found since.
    awake_since: u64,
    found: u32,
}

impl Gate {
    fn seat(&mut self, lane: u16) -> Option<&mut Seat> {
        self.seats.get_mut(lane as usize)?.as_deref_mut()
    }

    /// The ring's seat on a lane, taken if it has none.
    #[inline]
    fn seat_on(&mut self, lane: &Arc<Lane>, (attempts, capacity): (bool, u32)) -> &mut Seat {
        let at = lane.id().0 as usize;
        if self.seats.get(at).is_none_or(Option::is_none) {
            self.sit_down(lane, attempts, capacity);
        }
        match self.seats[at].as_deref_mut() {
            Some(seat) => seat,
            None => unreachable!("taken just now"),
        }
    }

    #[cold]
    fn sit_down(&mut self, lane: &Arc<Lane>, attempts: bool, capacity: u32) {
        let at = lane.id().0;
        if self.seats.len() <= at as usize {
            self.seats.resize_with(at as usize + 1, || None);
        }
        let (member, place) = lane.join(capacity);
        self.seats[at as usize] = Some(Box::new(Seat {
            lane: Arc::clone(lane),
            member,
            place,
            in_flight: 0,
            in_flight_low: 0,
            waiting: Default::default(),
            classes: Classes::default(),
            samples: Vec::new(),
            hits: 0,
            in_flight_before: 0,
            waiting_before: 0,
            told_in_flight: 0,
            told_waiting: 0,
            told_at: 0,
            attempts: attempts && lane.mode() == LaneMode::Buffered,
            luck: 1.0,
            passed_up: 0,
        }));
        self.seated.push(at);
    }

    /// Gives all seats up: the ring's last owner is gone.
    pub(super) fn leave_lanes(&mut self) {
        for seat in self.seats.drain(..).flatten() {
            seat.lane.leave(seat.member);
        }
        self.seated.clear();
    }
}

impl State {
    /// The thread goes to sleep until there is something to reap.
    pub(super) fn falls_asleep(&mut self, now: u64) {
        let found = std::mem::take(&mut self.gate.found);
        self.inner.on_turn(now, found, now.saturating_sub(self.gate.awake_since));
        self.gate.awake_since = now;
    }

    /// It slept, its completion queue empty, until something woke it just now: the `first` completion, or one of many.
    pub(super) fn woke(&mut self, slept_from: u64, now: u64, first: bool) {
        let slept = now.saturating_sub(slept_from);
        self.gate.awake_since = now;
        if slept >= SLEPT_NS {
            if first {
                self.gate.seen_empty = self.gate.seen_empty.max(now);
            }
            self.inner.on_sleep(slept);
        }
    }

    /// Takes a place on the lane of a slot's operation, if one governs it. Answers whether it may go; else it waits.
    #[inline(always)]
    pub(super) fn takes_place(&mut self, index: u32, way: Route) -> bool {
        let slot = self.slots.get_mut(index);
        let Some(lane) = slot.file.as_ref().and_then(|file| file.lane()) else { return true };
        // What copies for long is limited by the cores it takes, and would keep places from what the device does meanwhile.
        if !slot.call.is_transfer() || way == Route::RingAsync && slot.is_heavy() {
            return true;
        }
        slot.lane = lane.id().0;
        let seat = self.gate.seat_on(lane, (self.attempts, self.limit));
        if seat.has_place(slot.class) {
            seat.take_place(slot.class);
            self.gate.in_flight += 1;
            slot.in_lane = true;
            return true;
        }
        if seat.attempts && way == Route::Ring && !self.broken && may_be_attempted(slot) && seat.tries_its_luck() {
            slot.attempt = true;
            return true;
        }
        self.wait_for_place(index);
        false
    }

    /// Puts an operation in line for a place.
    pub(super) fn wait_for_place(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        debug_assert!(!slot.in_lane, "an operation with a place waits for one");
        slot.place = SlotPlace::Waiting;
        if slot.asked == 0 {
            slot.asked = lanes::now();
        }
        if let Some(seat) = self.gate.seat(slot.lane) {
            seat.waiting[slot.class.index()].push_back(index);
            self.gate.waiting += 1;
        }
    }

    /// Whether a slot's operation would need a place, which it then waits for: for a thread that may not submit.
    pub(super) fn waits_for_place(&mut self, index: u32) -> bool {
        let slot = self.slots.get_mut(index);
        let Some(lane) = slot.file.as_ref().and_then(|file| file.lane()) else { return false };
        if !slot.call.is_transfer() || slot.force_async && slot.is_heavy() {
            return false;
        }
        slot.lane = lane.id().0;
        self.gate.seat_on(lane, (self.attempts, self.limit));
        self.wait_for_place(index);
        true
    }

    /// Lets those in line go, as far as there are places.
    pub(super) fn pump_lanes(&mut self) {
        if self.gate.waiting == 0 {
            return;
        }
        for at in 0..self.gate.seated.len() {
            let lane = self.gate.seated[at];
            while let Some(seat) = self.gate.seat(lane)
                && let Some(index) = seat.next()
            {
                let slot = self.slots.get(index);
                seat.classes.charge(slot.class, 1.0 + slot.expect as f64 / WORK_BYTES);
                self.gate.waiting -= 1;
                self.gate.in_flight += 1;
                self.slots.get_mut(index).in_lane = true;
                self.go(index);
            }
        }
    }

    /// Operations that waited here are not to be done after all: they are not `Waiting` any more.
    pub(super) fn leave_lines(&mut self) {
        let Self { gate, slots, .. } = self;
        for line in gate.seats.iter_mut().flatten().flat_map(|seat| &mut seat.waiting) {
            let before = line.len();
            line.retain(|index| slots.get(*index).place == SlotPlace::Waiting);
            gate.waiting -= (before - line.len()) as u32;
        }
    }

    /// A slot's call was pushed to the helper, which begins at once.
    pub(super) fn stamp_helper(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if let Some(Some(seat)) = self.gate.seats.get(slot.lane as usize) {
            slot.submitted = lanes::now();
            slot.in_flight_then = seat.in_flight + seat.place.others();
        }
    }

    /// A slot's call was pushed to the backend.
    #[inline(always)]
    pub(super) fn note_pushed(&mut self, index: u32) {
        self.gate.fresh.push(index);
    }

    /// What was pushed is handed over now. Answers when, if anything of it is governed.
    #[inline]
    pub(super) fn stamp(&mut self) -> Option<u64> {
        let Self { gate, slots, .. } = self;
        gate.oldest = 0;
        if gate.fresh.is_empty() {
            return None;
        }
        let now = lanes::now();
        for index in gate.fresh.drain(..) {
            let slot = slots.get_mut(index);
            if let Some(Some(seat)) = gate.seats.get(slot.lane as usize) {
                slot.submitted = now;
                slot.in_flight_then = seat.in_flight + seat.place.others();
            }
        }
        Some(now)
    }

    /// The time, if a completion is to be told to a lane.
    #[inline]
    pub(super) fn time_of_reap(&mut self) -> u64 {
        if self.gate.in_flight == 0 {
            return 0;
        }
        for seat in self.gate.seats.iter_mut().flatten() {
            (seat.in_flight_before, seat.waiting_before) = (seat.in_flight, seat.waiting());
        }
        lanes::now()
    }

    /// A call has completed: what a lane learns of it. Answers whether the operation has to get in line instead, because it
    /// was attempted under a condition that did not hold.
    #[inline]
    pub(super) fn sample(&mut self, index: u32, result: i32, now: u64) -> bool {
        let slot = self.slots.get_mut(index);
        if slot.lane == NO_LANE {
            return false;
        }
        self.gate.found = self.gate.found.saturating_add(1);
        let Some(Some(seat)) = self.gate.seats.get_mut(slot.lane as usize) else { return false };
        if slot.attempt {
            slot.attempt = false;
            return self.attempted(index, result);
        }
        // What failed says nothing of the device's speed.
        if !slot.in_lane || result < 0 {
            return false;
        }
        let unseen = now.saturating_sub(slot.submitted.max(self.gate.seen_empty));
        // What completed inside the call that handed it over came from the page cache. What was handed over and found
        // without a sleep between is taken for the same: a host that is as busy as that is not held up by its device.
        if seat.lane.mode() == LaneMode::Buffered && unseen >= now.saturating_sub(slot.submitted) {
            seat.hits += u64::from(slot.call.is_read());
            return false;
        }
        seat.samples.push(Sample {
            now,
            asked: if slot.asked == 0 { slot.submitted } else { slot.asked },
            submitted: slot.submitted,
            unseen,
            in_flight_then: slot.in_flight_then,
            in_flight: seat.in_flight_before,
            waiting: seat.waiting_before,
            bytes: u32::try_from(result).unwrap_or(0),
            class: slot.class,
        });
        false
    }

    /// The outcome of an attempt: whether it failed only for its condition.
    fn attempted(&mut self, index: u32, result: i32) -> bool {
        let slot = self.slots.get_mut(index);
        let Some(Some(seat)) = self.gate.seats.get_mut(slot.lane as usize) else { return false };
        if result == -errno::EOPNOTSUPP {
            // A file system that knows no such condition.
            seat.attempts = false;
        }
        if slot.cancelled {
            return false;
        }
        // A part may be all that the page cache has, and the rest on the device.
        let part = result > 0 && (result as u64) < slot.expect;
        let refused = matches!(-result, errno::EAGAIN | errno::EINTR | errno::ECANCELED | errno::EOPNOTSUPP);
        if !part && !refused {
            seat.hits += u64::from(result >= 0);
            seat.note_luck(true);
            return false;
        }
        seat.note_luck(false);
        self.wait_for_place(index);
        true
    }

    /// An operation is done with its lane.
    #[inline]
    pub(super) fn leave_lane(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if std::mem::take(&mut slot.in_lane)
            && let Some(Some(seat)) = self.gate.seats.get_mut(slot.lane as usize)
        {
            seat.give_place_back(slot.class);
            self.gate.in_flight -= 1;
        }
    }

    /// The completion queue has been emptied.
    #[inline]
    pub(super) fn note_reaped(&mut self, now: u64) {
        if now > 0 {
            self.gate.seen_empty = self.gate.seen_empty.max(now);
            self.inner.on_reap(now);
            self.inner.refresh(now);
        }
    }

    /// Tells the lanes everything, for somebody who looks.
    pub(super) fn report_all(&mut self) {
        for seat in self.gate.seats.iter_mut().flatten() {
            seat.told_at = 0;
        }
        self.report(lanes::now());
    }

    /// Tells the lanes what there is to tell. Answers whether something that waited may go now.
    pub(super) fn report(&mut self, now: u64) -> bool {
        let mut moved = false;
        for at in 0..self.gate.seated.len() {
            let lane = self.gate.seated[at];
            let Some(Some(seat)) = self.gate.seats.get_mut(lane as usize) else { continue };
            if !seat.has_news(now) {
                continue;
            }
            let now = if now == 0 { lanes::now() } else { now };
            let waiting = Priority::ALL.map(|class| seat.waiting[class.index()].len() as u32);
            if let Some(last) = seat.samples.last() {
                self.inner.on_latency(last.completion());
            }
            let report = Report {
                member: seat.member,
                now,
                in_flight: seat.in_flight,
                waiting,
                samples: &mut seat.samples,
                hits: std::mem::take(&mut seat.hits),
                batch: self.inner.batch(),
                sqe_per_enter: self.inner.sqe_per_enter(),
            };
            seat.lane.report(report);
            // Only what goes to a device by itself is gathered as the inner loop says.
            if seat.lane.mode() == LaneMode::Direct {
                self.inner.set_limit(seat.place.share());
            }
            seat.told_in_flight = seat.in_flight;
            seat.told_waiting = waiting.iter().sum();
            seat.told_at = now;
            moved |= seat.told_waiting > 0 && seat.in_flight < seat.place.share();
        }
        moved
    }
}

/// Whether a read may be tried before its turn: it asks for something, at a place of its own, of the file itself.
fn may_be_attempted(slot: &super::Slot) -> bool {
    slot.call.is_read() && slot.more.is_none() && transfer_offset(&slot.call) != Some(CURRENT_POSITION)
}
