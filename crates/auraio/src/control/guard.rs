//! The guard: tells at once when the p99 of completion latency has gone above what is allowed.
//!
//! The p99 is above the guard exactly when more than one completion in a hundred takes longer than it. So no quantile is
//! computed: each completion that is late adds 1 to a score and each other takes 1/99 away. The score drifts up only while
//! the p99 is too high, by (p - 1 %) for each completion of which p are late; a cumulative sum test (CUSUM, Page 1954).
//!
//! It believes only what the device can be blamed for. Time that a completion may have lain unseen while the host was busy
//! does not count (a stalled event loop looks just like a slow disk, and less in flight helps neither); nor, for the quick
//! score, does a moment when the device completed nothing at all, as when an SSD collects garbage.

use std::time::Duration;

use super::{Event, settings::Guard};

/// The guard where nobody asked for another, in nanoseconds: what the product promises.
const GUARD: u64 = 10_000_000;
/// The p99 of a lone operation as a multiple of its mean: at most 2.6 among disks whose service time varies by half or less.
const P99_OF_BASE: f64 = 2.6;
/// The automatic guard of a device for which [`GUARD`] is too little, as a multiple of a lone operation's mean: a queue of
/// some twenty, where a disk's elevator has given what it has to give.
const SLOW_GUARD_OF_BASE: f64 = 20.0;
/// Lone operations that the mean latency remembers.
const BASE_MEMORY: u32 = 64;

/// One late completion in a hundred is allowed: 99 that are not late make up for it.
const CREDIT: f64 = 1.0 / 99.0;
/// Late completions that are needed before anything is believed: 5 in a row happen by chance once in 10^10.
const SCORE_MIN: f64 = 5.0;
/// And for each operation of the limit: more than one stall can delay, since it delays all that are in flight once.
const SCORE_PER_LIMIT: f64 = 1.5;
/// The quick score counts only what is later than the guard by this factor, device stalls taken off...
const QUICK_GUARD: f64 = 1.5;
/// ...and so needs less for each operation of the limit: an overload is cut within one latency.
const QUICK_SCORE_PER_LIMIT: f64 = 0.3;

/// The shortest gap between completions that is called a stall of the device, in nanoseconds.
const STALL_MIN: u64 = 2_000_000;
/// A stall as a multiple of the latest mean latency: with exponential gaps at depth 1, one in e^6 = 400.
const STALL_OF_MEAN: f64 = 6.0;
/// For how long after a stall it excuses latency, as a multiple of the guard: longer than what was in flight can take.
const STALL_EXCUSES: u64 = 3;

/// Cuts aim this far below the guard, as if latency grew in proportion to depth...
const CUT_TARGET: f64 = 0.9;
/// ...but never leave less than half (the next round trip cuts again if need be) nor more than 85 %.
const CUT_MIN: f64 = 0.5;
const CUT_MAX: f64 = 0.85;
/// Below this part of the guard the p99 of the smallest limit shows that the guard can be met after all.
const FEASIBLE: f64 = 0.8;

/// The guard of a device, and what it knows of its latency.
#[derive(Clone, Debug)]
pub(super) struct Sentry {
    setting: Guard,
    /// In force, in nanoseconds.
    guard: u64,
    /// Above this a completion counts in the quick score.
    quick_guard: u64,
    /// Mean latency of lone operations in nanoseconds, and how many it rests on (at most [`BASE_MEMORY`]).
    base: f64,
    base_samples: u32,
    slow: f64,
    quick: f64,
    /// Latency of the late ones since the slow score was 0.
    late_sum: f64,
    late: f64,
    last_cut: u64,
    cuts: u64,
    infeasible: bool,
    stalls: Stalls,
}

/// When the device last completed nothing for a while.
#[derive(Clone, Copy, Debug)]
struct Stalls {
    /// From which length on a gap is a stall.
    threshold: u64,
    last_completion: Option<u64>,
    /// Before the latest completion.
    gap: u64,
    ended: u64,
    length: u64,
}

impl Stalls {
    fn note(&mut self, now: u64) {
        self.gap = now.saturating_sub(self.last_completion.replace(now).unwrap_or(now));
        if self.gap > self.threshold {
            (self.ended, self.length) = (now, self.gap);
        }
    }
}

impl Sentry {
    pub(super) fn new(setting: Guard) -> Self {
        let mut sentry = Self {
            setting,
            guard: GUARD,
            quick_guard: GUARD,
            base: 0.0,
            base_samples: 0,
            slow: 0.0,
            quick: 0.0,
            late_sum: 0.0,
            late: 0.0,
            last_cut: 0,
            cuts: 0,
            infeasible: false,
            stalls: Stalls { threshold: STALL_MIN, last_completion: None, gap: 0, ended: 0, length: 0 },
        };
        sentry.resolve();
        sentry
    }

    /// Another guard from now on. What is known of the device stays.
    pub(super) fn set(&mut self, setting: Guard) {
        if self.setting != setting {
            self.setting = setting;
            self.infeasible = false;
            self.forget_late();
            self.resolve();
        }
    }

    /// Works out the guard in force.
    fn resolve(&mut self) {
        self.guard = match self.setting {
            Guard::At(guard) => nanoseconds(guard).max(1),
            Guard::Auto if self.base_samples > 0 && P99_OF_BASE * self.base > GUARD as f64 => {
                (SLOW_GUARD_OF_BASE * self.base) as u64
            }
            Guard::Auto => GUARD,
        };
        self.quick_guard = (self.guard as f64 * QUICK_GUARD) as u64;
    }

    /// The guard in force, in nanoseconds.
    pub(super) const fn guard(&self) -> u64 {
        self.guard
    }

    pub(super) const fn cuts(&self) -> u64 {
        self.cuts
    }

    pub(super) const fn is_infeasible(&self) -> bool {
        self.infeasible
    }

    /// Whether a lone operation already takes longer, on average, than is allowed.
    pub(super) fn base_is_late(&self) -> bool {
        self.base_samples > 0 && self.base > self.guard as f64
    }

    /// Whether this long without a completion is a stall of the device.
    pub(super) const fn is_stall(&self, gap: u64) -> bool {
        gap > self.stalls.threshold
    }

    /// Learns what latency is usual now.
    pub(super) fn set_usual_latency(&mut self, mean: f64) {
        self.stalls.threshold = STALL_MIN.max((STALL_OF_MEAN * mean) as u64);
    }

    /// The time without a completion that the latest one ended.
    pub(super) const fn gap(&self) -> u64 {
        self.stalls.gap
    }

    /// Takes note of a lone operation's latency.
    #[inline]
    pub(super) fn learn_base(&mut self, event: &Event) {
        if event.in_flight_then == 1 {
            self.base_samples = (self.base_samples + 1).min(BASE_MEMORY);
            self.base += (event.latency as f64 - self.base) / f64::from(self.base_samples);
            self.resolve();
        }
    }

    /// Judges a completion under a limit: whether the p99 is above the guard.
    #[inline]
    pub(super) fn watch(&mut self, event: &Event, limit: u32) -> bool {
        self.stalls.note(event.now);
        if self.is_of_before(event) {
            return false;
        }
        let provable = event.latency.saturating_sub(event.unseen);
        if provable > self.guard {
            self.slow += 1.0;
            self.late_sum += provable as f64;
            self.late += 1.0;
        } else if self.slow > 0.0 {
            self.slow -= CREDIT;
            if self.slow <= 0.0 {
                (self.slow, self.late, self.late_sum) = (0.0, 0.0, 0.0);
            }
        }
        if provable > self.quick_guard && provable.saturating_sub(self.excused(event)) > self.quick_guard {
            self.quick += 1.0;
        } else if self.quick > 0.0 {
            self.quick = (self.quick - CREDIT).max(0.0);
        }
        self.slow >= SCORE_MIN + SCORE_PER_LIMIT * f64::from(limit)
            || self.quick >= SCORE_MIN + QUICK_SCORE_PER_LIMIT * f64::from(limit)
    }

    /// Whether an operation was submitted before the last cut: then it says nothing of the limit since. So there is one cut
    /// a round trip.
    #[inline]
    pub(super) const fn is_of_before(&self, event: &Event) -> bool {
        event.submitted < self.last_cut
    }

    /// How much of a latency a stall accounts for: its length, if the operation was in flight all through it.
    fn excused(&self, event: &Event) -> u64 {
        let began = self.stalls.ended.saturating_sub(self.stalls.length);
        let until = self.stalls.ended.saturating_add(self.guard.saturating_mul(STALL_EXCUSES));
        if event.submitted <= began && event.now < until { self.stalls.length } else { 0 }
    }

    /// The limit after a cut, of what was in flight under the one before, not yet within bounds.
    pub(super) fn cut(&mut self, now: u64, in_use: u32) -> u32 {
        let late_mean = if self.late > 0.0 { self.late_sum / self.late } else { self.guard as f64 };
        let factor = (CUT_TARGET * self.guard as f64 / late_mean).clamp(CUT_MIN, CUT_MAX);
        self.cuts = self.cuts.saturating_add(1);
        self.last_cut = now;
        self.forget_late();
        (f64::from(in_use) * factor) as u32
    }

    /// The p99 is above the guard and the limit cannot be less. Tells whether that is news.
    pub(super) fn give_up(&mut self) -> bool {
        self.forget_late();
        !std::mem::replace(&mut self.infeasible, true)
    }

    /// Forgets the scores, as after something that makes them void.
    pub(super) fn forget_late(&mut self) {
        (self.slow, self.quick, self.late, self.late_sum) = (0.0, 0.0, 0.0, 0.0);
    }

    /// The p99 measured at the smallest limit may show that the guard can be met.
    pub(super) fn reconsider(&mut self, p99: f64) {
        if p99 < FEASIBLE * self.guard as f64 {
            self.infeasible = false;
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
