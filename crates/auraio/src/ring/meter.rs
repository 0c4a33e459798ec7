//! What a ring measures: when operations are handed over, how long the device takes for them, and when the thread sleeps. It
//! is reported to the lanes and to the inner loop in bulk.

use super::{
    State,
    gate::{Gate, NO_LANE, Seat},
    slots::{Cold, Hot, Slots, flag},
};
use crate::{
    control::{Priority, SubmitBatch},
    lanes::{self, LaneMode, Report, Sample},
};

/// A ring reports this many completions at a time, while no other ring waits for its places.
const REPORT_SAMPLES: usize = 8;
/// After this time completions are reported even if there are fewer, in nanoseconds.
const REPORT_AFTER_NS: u64 = 500_000;
/// A wait that was shorter than this counts as no sleep, because something was there at once. In nanoseconds.
const SLEPT_NS: u64 = 5_000;

/// The clocks of a ring, and its inner loop.
pub(super) struct Meter {
    /// The inner loop: how many entries for a device are gathered for one system call.
    pub(super) inner: SubmitBatch,
    /// The slots of operations that have a place and were pushed since the last submission.
    fresh: Vec<u32>,
    /// When the first of those was pushed. 0 if nobody has asked for it.
    oldest: u64,
    /// When the completion queue was last seen empty: at the last reap, or when the thread was woken by something in it.
    seen_empty: u64,
    /// When the thread was last woken, and how many completions it has found since.
    awake_since: u64,
    found: u32,
}

impl Meter {
    pub(super) const fn new(inner: SubmitBatch) -> Self {
        Self { inner, fresh: Vec::new(), oldest: 0, seen_empty: 0, awake_since: 0, found: 0 }
    }

    /// Notes that the call of a slot with a place was pushed to the backend.
    #[inline(always)]
    pub(super) fn note_pushed(&mut self, index: u32) {
        self.fresh.push(index);
    }

    /// Whether the entries for a device have to be handed over now.
    pub(super) fn is_batch_full(&mut self, unsubmitted: u32, in_kernel: u32) -> bool {
        let mut now = 0;
        if self.inner.needs_time() && unsubmitted < self.inner.batch() {
            now = lanes::now();
            if self.oldest == 0 {
                self.oldest = now;
            }
        }
        self.inner.should_flush(now, unsubmitted, self.oldest, in_kernel)
    }

    /// Notes that the pushed entries are handed over now. Answers the time, if a lane governs any of them.
    #[inline]
    pub(super) fn stamp(&mut self, slots: &mut Slots, gate: &mut Gate) -> Option<u64> {
        self.oldest = 0;
        if self.fresh.is_empty() {
            return None;
        }
        let now = lanes::now();
        for index in self.fresh.drain(..) {
            let (hot, cold) = slots.both_mut(index);
            if let Some(Some(seat)) = gate.seats.get(hot.lane as usize) {
                cold.submitted = now;
                hot.in_flight_then = seat.in_flight + seat.place.others();
            }
        }
        Some(now)
    }

    /// Notes that the thread begins to sleep, until there is something to reap.
    pub(super) fn falls_asleep(&mut self, now: u64) {
        let found = std::mem::take(&mut self.found);
        self.inner.on_turn(now, found, now.saturating_sub(self.awake_since));
        self.awake_since = now;
    }

    /// Notes that the thread slept with an empty completion queue and was woken now. `first` says that the first completion
    /// woke it; otherwise it waited for several.
    pub(super) fn woke(&mut self, slept_from: u64, now: u64, first: bool) {
        let slept = now.saturating_sub(slept_from);
        self.awake_since = now;
        if slept >= SLEPT_NS {
            if first {
                self.seen_empty = self.seen_empty.max(now);
            }
            self.inner.on_sleep(slept);
        }
    }

    /// Makes a sample for the lane, if the completed operation had a place there.
    #[inline(always)]
    pub(super) fn sample(&mut self, gate: &mut Gate, hot: &Hot, cold: &Cold, result: i32, now: u64) {
        self.found = self.found.saturating_add(1);
        // A failed operation tells nothing about the speed of the device.
        if !hot.has(flag::IN_LANE) || result < 0 {
            return;
        }
        let Some(Some(seat)) = gate.seats.get_mut(hot.lane as usize) else { return };
        // An operation that completed inside the call that handed it over was served by the page cache. If the thread did
        // not sleep between the hand-over and the reap, the operation is counted as the same: a thread that is so busy does
        // not wait for its device.
        if seat.lane.mode() == LaneMode::Buffered && self.seen_empty <= cold.submitted {
            seat.news.hits += u64::from(cold.call.is_read());
            return;
        }
        seat.news.samples.push(Sample {
            now,
            asked: if cold.asked == 0 { cold.submitted } else { cold.asked },
            submitted: cold.submitted,
            unseen: now.saturating_sub(cold.submitted.max(self.seen_empty)),
            in_flight_then: hot.in_flight_then,
            in_flight: seat.news.in_flight_before,
            waiting: seat.news.waiting_before,
            bytes: u32::try_from(result).unwrap_or(0),
            class: hot.class,
        });
    }

    /// Notes that the completion queue was emptied.
    #[inline]
    pub(super) fn note_reaped(&mut self, now: u64) {
        if now > 0 {
            self.seen_empty = self.seen_empty.max(now);
            self.inner.on_reap(now);
            self.inner.refresh(now);
        }
    }
}

impl Seat {
    /// Whether it is time to report to the lane.
    fn has_news(&self, now: u64) -> bool {
        let (waiting, news) = (self.waiting(), &self.news);
        news.samples.len() >= REPORT_SAMPLES
            || news.told_waiting == 0 && waiting > 0
            || self.in_flight == 0 && waiting == 0 && news.told_in_flight + news.told_waiting > 0
            || self.lane.is_scarce() && (self.in_flight < news.told_in_flight || news.told_waiting > 0 && waiting == 0)
            || !(news.samples.is_empty()
                && news.hits == 0
                && news.told_in_flight == self.in_flight
                && news.told_waiting == waiting)
                && now.saturating_sub(news.told_at) >= REPORT_AFTER_NS
    }
}

impl Gate {
    /// The time of a reap, if a sample has to be made for any lane. Otherwise 0.
    #[inline]
    pub(super) fn time_of_reap(&mut self) -> u64 {
        if self.in_flight == 0 {
            return 0;
        }
        for seat in self.seats.iter_mut().flatten() {
            (seat.news.in_flight_before, seat.news.waiting_before) = (seat.in_flight, seat.waiting());
        }
        lanes::now()
    }
}

impl State {
    /// Notes that a slot's call was pushed to the helper, which begins at once.
    pub(super) fn stamp_helper(&mut self, index: u32) {
        let (hot, cold) = self.slots.both_mut(index);
        if let Some(Some(seat)) = self.gate.seats.get(hot.lane as usize) {
            cold.submitted = lanes::now();
            hot.in_flight_then = seat.in_flight + seat.place.others();
        }
    }

    /// Makes the sample of a completed call. Answers true if the call was an attempt that failed only because it would have
    /// had to wait, so that the operation is in line now.
    pub(super) fn sample(&mut self, index: u32, result: i32, now: u64) -> bool {
        let (hot, cold) = self.slots.both_mut(index);
        if hot.lane == NO_LANE {
            return false;
        }
        if hot.take(flag::ATTEMPT) {
            return self.attempted(index, result);
        }
        self.meter.sample(&mut self.gate, hot, cold, result, now);
        false
    }

    /// Reports everything to the lanes, because somebody asks for their statistics.
    pub(super) fn report_all(&mut self) {
        for seat in self.gate.seats.iter_mut().flatten() {
            seat.news.told_at = 0;
        }
        self.report(lanes::now());
    }

    /// Reports to the lanes, where it is time. Answers whether operations that waited may go now.
    pub(super) fn report(&mut self, now: u64) -> bool {
        let mut moved = false;
        let inner = &mut self.meter.inner;
        for &lane in &self.gate.seated {
            let Some(Some(seat)) = self.gate.seats.get_mut(lane as usize) else { continue };
            if !seat.has_news(now) {
                continue;
            }
            let now = if now == 0 { lanes::now() } else { now };
            let waiting = Priority::ALL.map(|class| seat.waiting[class.index()].len() as u32);
            if let Some(last) = seat.news.samples.last() {
                inner.on_latency(last.completion());
            }
            let report = Report {
                member: seat.member,
                now,
                in_flight: seat.in_flight,
                waiting,
                samples: &mut seat.news.samples,
                hits: std::mem::take(&mut seat.news.hits),
                batch: inner.batch(),
                sqe_per_enter: inner.sqe_per_enter(),
            };
            seat.lane.report(report);
            // The inner loop's batch is used for direct transfers only, so only their lanes report it.
            if seat.lane.mode() == LaneMode::Direct {
                inner.set_limit(seat.place.share());
            }
            seat.news.told_in_flight = seat.in_flight;
            seat.news.told_waiting = waiting.iter().sum();
            seat.news.told_at = now;
            moved |= seat.news.told_waiting > 0 && seat.in_flight < seat.place.share();
        }
        moved
    }
}
