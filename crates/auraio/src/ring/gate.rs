//! The gate of a ring: how many operations it lets onto each lane at once.
//!
//! A transfer on a file that has a lane takes one of the ring's places there before it goes to the backend, and gives it
//! back when it completes. If no place is free, it waits here, in the line of its class. The number of places is the ring's
//! share of the lane's limit. The ring reads it from a cache line of its own.
//!
//! Reads that the page cache can serve do not wait behind reads that need the device. If a lane of buffered files has no
//! free place, the ring attempts a read without a place, with the condition that it fails instead of waiting (`RWF_NOWAIT`).
//! It does so as long as most attempts succeed. A read whose attempt fails gets in line.

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

/// The lane of a slot whose operation no lane governs.
pub(super) const NO_LANE: u16 = u16::MAX;

/// Every read is attempted as long as this part of the attempts succeeds. Otherwise only a few are.
const LUCK_MIN: f32 = 0.5;
/// The weight of the newest attempt in that part, so that about the last ten count.
const LUCK_WEIGHT: f32 = 0.1;
const PASSED_UP_MAX: u32 = 16;
/// Moving this many bytes is as much work for a device as the operation itself.
const WORK_BYTES: f64 = 65_536.0;

/// What a ring keeps of one lane: its number there, its places, and its line.
pub(super) struct Seat {
    pub(super) lane: Arc<Lane>,
    pub(super) member: u32,
    pub(super) place: LaneShare,
    pub(super) in_flight: u32,
    /// Of the operations in flight, those of the lowest class.
    in_flight_low: u32,
    pub(super) waiting: [VecDeque<u32>; 3],
    classes: Classes,
    attempts: Attempts,
    pub(super) news: News,
}

/// Whether the ring attempts reads without a place on this lane.
struct Attempts {
    allowed: bool,
    /// The part of the latest attempts that succeeded.
    luck: f32,
    /// Reads in a row that were not attempted, because too few attempts succeed.
    passed_up: u32,
}

/// What has not been reported to the lane yet, and what was reported last.
#[derive(Default)]
pub(super) struct News {
    pub(super) samples: Vec<Sample>,
    pub(super) hits: u64,
    /// The operations in flight before the present reap.
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

    /// Whether one more operation of a class may go now: there is a place for it, and no operation of its class or a higher
    /// one waits.
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

    /// The next operation in line that may go.
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
    /// Whether an attempt is worth its cost. An attempt that fails has made the device read, because the kernel starts to
    /// read ahead before it answers `EAGAIN`. So if most attempts fail, only one now and then is made, to see whether that
    /// has changed.
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
    /// The seats, by number of the lane.
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

    /// Lets an operation of the short path onto its lane: with a place, or as an attempt. Answers the flag that says which.
    /// `None` if it has to wait.
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

    /// Gives an operation's place on its lane back.
    #[inline(always)]
    pub(super) fn give_place_back(&mut self, hot: &mut Hot) {
        if hot.take(flag::IN_LANE)
            && let Some(seat) = self.seat(hot.lane)
        {
            seat.give_place_back(hot.class);
            self.in_flight -= 1;
        }
    }

    /// The ring's seat on a lane. If it has none yet, it takes one.
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

    /// Notes that an attempt found all its bytes in the page cache.
    #[inline(always)]
    pub(super) fn note_hit(&mut self, lane: u16) {
        if let Some(seat) = self.seat(lane) {
            seat.news.hits += 1;
            seat.attempts.note(true);
        }
    }

    /// Gives all seats up, because the ring ends.
    pub(super) fn leave_lanes(&mut self) {
        for seat in self.seats.drain(..).flatten() {
            seat.lane.leave(seat.member);
        }
        self.seated.clear();
    }

    /// Takes the operations out of the lines for which `waits` answers false. They will not be performed.
    pub(super) fn leave_lines(&mut self, waits: impl Fn(u32) -> bool) {
        for line in self.seats.iter_mut().flatten().flat_map(|seat| &mut seat.waiting) {
            let before = line.len();
            line.retain(|index| waits(*index));
            self.waiting -= (before - line.len()) as u32;
        }
    }
}

impl State {
    /// Takes a place on the lane of a slot's operation, if a lane governs it. Answers whether the operation may go. If not,
    /// it waits in line.
    pub(super) fn takes_place(&mut self, index: u32, way: Route) -> bool {
        let (hot, cold) = self.slots.both_mut(index);
        let Some(lane) = cold.file.as_ref().and_then(|file| file.lane()) else { return true };
        // A large buffered read by a worker mostly copies. The number of cores limits such reads (`lines.rs`). If they took
        // places here, they would keep them from operations that the device could do meanwhile.
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

    /// Lets operations in line go, as many as there are places.
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

    /// Takes the result of an attempt. Answers true if it failed only because it would have had to wait. Then the operation
    /// waits for a place now.
    pub(super) fn attempted(&mut self, index: u32, result: i32) -> bool {
        let (hot, cold) = self.slots.both_mut(index);
        let Some(Some(seat)) = self.gate.seats.get_mut(hot.lane as usize) else { return false };
        if result == -errno::EOPNOTSUPP {
            // The file system does not know this condition.
            seat.attempts.allowed = false;
        }
        if hot.has(flag::CANCELLED) {
            return false;
        }
        // After a part of the bytes, the rest may not be in the page cache but on the device.
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

/// Whether a read may be attempted: it asks for at least one byte, at an explicit position, of the file itself.
fn may_be_attempted(cold: &Cold) -> bool {
    cold.call.is_read() && cold.more.is_none() && transfer_offset(&cold.call) != Some(CURRENT_POSITION)
}
