//! The gate of a ring: how many operations it lets onto each lane at once.
//!
//! A transfer on a file that has a lane takes one of the ring's places there before it goes to the backend, and gives it
//! back when it completes. Without a place it waits here, in line with its class. The number of places is the ring's share
//! of the lane's limit; it is read from a cache line of the ring's own.
//!
//! Reads of what the page cache has are not held back by reads of what it has not. On a lane of buffered files that has no
//! place left, a read is attempted without one, on condition that it does not wait (`RWF_NOWAIT`), as long as most such
//! attempts succeed. A read that is refused for that condition gets in line.

use std::{collections::VecDeque, sync::Arc};

use super::{
    State,
    slots::{Cold, Hot, Place, flag},
};
use crate::{
    control::{Classes, Priority},
    lanes::{self, Lane, LaneMode, LaneShare, Sample},
    op::route::Route,
    sys::{CURRENT_POSITION, errno, transfer_offset},
};

/// A slot whose operation no lane governs.
pub(super) const NO_LANE: u16 = u16::MAX;

/// Attempts are made as long as this part of them succeeds...
const LUCK_MIN: f32 = 0.5;
/// ...lately, which is to say in about the last ten; else one in so many reads.
const LUCK_WEIGHT: f32 = 0.1;
const PASSED_UP_MAX: u32 = 16;
/// Bytes that are as much work for a device as one operation is.
const WORK_BYTES: f64 = 65_536.0;

/// A ring's place on one lane.
pub(super) struct Seat {
    pub(super) lane: Arc<Lane>,
    pub(super) member: u32,
    pub(super) place: LaneShare,
    pub(super) in_flight: u32,
    /// Those of the lowest class.
    in_flight_low: u32,
    pub(super) waiting: [VecDeque<u32>; 3],
    classes: Classes,
    attempts: Attempts,
    pub(super) news: News,
}

/// Whether reads may be attempted without a place, and whether that is worth it.
struct Attempts {
    allowed: bool,
    /// The part of attempts that succeeded lately.
    luck: f32,
    /// Attempts that were not made for want of luck.
    passed_up: u32,
}

/// What the lane has not been told yet, and what it was told last.
#[derive(Default)]
pub(super) struct News {
    pub(super) samples: Vec<Sample>,
    pub(super) hits: u64,
    /// As they were before the completions that are being reaped.
    pub(super) in_flight_before: u32,
    pub(super) waiting_before: u32,
    pub(super) told_in_flight: u32,
    pub(super) told_waiting: u32,
    pub(super) told_at: u64,
}

impl Seat {
    pub(super) fn waiting(&self) -> u32 {
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

    #[inline]
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
}

impl Attempts {
    /// Whether an attempt is worth it. An attempt that fails has told the device to read what it did not find (the kernel
    /// reads ahead before it answers `EAGAIN`), so where most fail, only now and then one finds out whether that is still so.
    const fn are_worth_it(&mut self) -> bool {
        self.passed_up += 1;
        let tries = self.luck >= LUCK_MIN || self.passed_up >= PASSED_UP_MAX;
        if tries {
            self.passed_up = 0;
        }
        tries
    }

    fn note(&mut self, hit: bool) {
        self.luck += LUCK_WEIGHT * (f32::from(u8::from(hit)) - self.luck);
    }
}

/// All of a ring's seats.
#[derive(Default)]
pub(super) struct Gate {
    /// By number of the lane.
    pub(super) seats: Vec<Option<Box<Seat>>>,
    pub(super) seated: Vec<u16>,
    /// Operations that wait here.
    pub(super) waiting: u32,
    /// Operations that have a place.
    pub(super) in_flight: u32,
}

impl Gate {
    #[inline(always)]
    pub(super) fn seat(&mut self, lane: u16) -> Option<&mut Seat> {
        self.seats.get_mut(lane as usize)?.as_deref_mut()
    }

    /// Lets an operation on the short path onto its lane, which nobody waits for: with a place of its own, or `attempts`
    /// without one. Answers the flag that says which; `None` where it has to wait.
    #[inline(always)]
    pub(super) fn let_in(&mut self, lane: u16, class: Priority, attempts: bool) -> Option<u16> {
        let seat = self.seat(lane)?;
        if seat.has_room(class) {
            seat.take_place(class);
            self.in_flight += 1;
            return Some(flag::IN_LANE);
        }
        (attempts && seat.attempts.allowed && seat.attempts.are_worth_it()).then_some(flag::ATTEMPT)
    }

    /// An operation is done with its lane.
    #[inline(always)]
    pub(super) fn give_place_back(&mut self, hot: &mut Hot) {
        if hot.take(flag::IN_LANE)
            && let Some(seat) = self.seat(hot.lane)
        {
            seat.give_place_back(hot.class);
            self.in_flight -= 1;
        }
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
        let attempts = Attempts { allowed: attempts && lane.mode() == LaneMode::Buffered, luck: 1.0, passed_up: 0 };
        self.seats[at as usize] = Some(Box::new(Seat {
            lane: Arc::clone(lane),
            member,
            place,
            in_flight: 0,
            in_flight_low: 0,
            waiting: Default::default(),
            classes: Classes::default(),
            attempts,
            news: News::default(),
        }));
        self.seated.push(at);
    }

    /// A read that was attempted found all that it asked for.
    #[inline(always)]
    pub(super) fn note_hit(&mut self, lane: u16) {
        if let Some(seat) = self.seat(lane) {
            seat.news.hits += 1;
            seat.attempts.note(true);
        }
    }

    /// Gives all seats up: the ring's last owner is gone.
    pub(super) fn leave_lanes(&mut self) {
        for seat in self.seats.drain(..).flatten() {
            seat.lane.leave(seat.member);
        }
        self.seated.clear();
    }

    /// Takes operations that are not to be done after all out of the lines: those of which `waits` says no.
    pub(super) fn leave_lines(&mut self, waits: impl Fn(u32) -> bool) {
        for line in self.seats.iter_mut().flatten().flat_map(|seat| &mut seat.waiting) {
            let before = line.len();
            line.retain(|index| waits(*index));
            self.waiting -= (before - line.len()) as u32;
        }
    }
}

impl State {
    /// Takes a place on the lane of a slot's operation, if one governs it. Answers whether it may go; else it waits.
    pub(super) fn takes_place(&mut self, index: u32, way: Route) -> bool {
        let (hot, cold) = self.slots.both_mut(index);
        let Some(lane) = cold.file.as_ref().and_then(|file| file.lane()) else { return true };
        // A long copy is limited by the cores it takes, and would keep places from what the device does meanwhile.
        if !cold.call.is_transfer() || way == Route::RingAsync && cold.is_heavy() {
            return true;
        }
        hot.lane = lane.id().0;
        let seat = self.gate.seat_on(lane, (self.attempts, self.load.limit));
        if seat.has_place(hot.class) {
            seat.take_place(hot.class);
            self.gate.in_flight += 1;
            hot.set(flag::IN_LANE);
            return true;
        }
        let attempts = seat.attempts.allowed && way == Route::Ring && !self.helper.takes_all;
        if attempts && may_be_attempted(cold) && seat.attempts.are_worth_it() {
            hot.set(flag::ATTEMPT);
            return true;
        }
        self.wait_for_place(index);
        false
    }

    /// Puts an operation in line for a place.
    pub(super) fn wait_for_place(&mut self, index: u32) {
        let (hot, cold) = self.slots.both_mut(index);
        debug_assert!(!hot.has(flag::IN_LANE), "an operation with a place waits for one");
        hot.place = Place::Waiting;
        hot.set(flag::LONG);
        if cold.asked == 0 {
            cold.asked = lanes::now();
        }
        let (lane, class) = (hot.lane, hot.class);
        if let Some(seat) = self.gate.seat(lane) {
            seat.waiting[class.index()].push_back(index);
            self.gate.waiting += 1;
        }
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
                let (hot, cold) = self.slots.both_mut(index);
                seat.classes.charge(hot.class, 1.0 + cold.expect as f64 / WORK_BYTES);
                self.gate.waiting -= 1;
                self.gate.in_flight += 1;
                hot.set(flag::IN_LANE);
                self.go_on_from_line(index);
            }
        }
    }

    /// The outcome of an attempt: whether it failed only for its condition, and waits for a place now.
    pub(super) fn attempted(&mut self, index: u32, result: i32) -> bool {
        let (hot, cold) = self.slots.both_mut(index);
        let Some(Some(seat)) = self.gate.seats.get_mut(hot.lane as usize) else { return false };
        if result == -errno::EOPNOTSUPP {
            // A file system that knows no such condition.
            seat.attempts.allowed = false;
        }
        if hot.has(flag::CANCELLED) {
            return false;
        }
        // A part may be all that the page cache has, and the rest on the device.
        let part = result > 0 && (result as u64) < cold.expect;
        let refused = matches!(-result, errno::EAGAIN | errno::EINTR | errno::ECANCELED | errno::EOPNOTSUPP);
        if !part && !refused {
            seat.news.hits += u64::from(result >= 0);
            seat.attempts.note(true);
            return false;
        }
        seat.attempts.note(false);
        self.wait_for_place(index);
        true
    }
}

/// Whether a read may be tried before its turn: it asks for something, at a place of its own, of the file itself.
fn may_be_attempted(cold: &Cold) -> bool {
    cold.call.is_read() && cold.more.is_none() && transfer_offset(&cold.call) != Some(CURRENT_POSITION)
}
