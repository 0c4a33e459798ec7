//! The guard: tells at once when the p99 of completion latency has gone above what is allowed.
//!
//! The p99 is above the guard exactly when more than one completion in a hundred takes longer than the guard. So no quantile
//! is computed. A completion that is late adds 1 to a score, and every other one takes 1/99 away. The score grows only
//! while more than one completion in a hundred is late. This is a cumulative sum test (CUSUM, Page 1954).
//!
//! A latency counts only as far as the device may be blamed for it. The time that a completion may have lain unseen while
//! the host was busy does not count: a stalled event loop looks like a slow disk, and fewer operations in flight help
//! neither. For the quick score a moment in which the device completed nothing at all does not count either; an SSD has
//! such moments while it collects garbage.

use std::time::Duration;

use crate::{Guard, law::Event};

/// The automatic guard, in nanoseconds: what the product promises.
const GUARD: u64 = 10_000_000;
/// The p99 of a lone operation as a multiple of its mean: at most 2.6 among disks whose service time varies by half or less.
const P99_OF_BASE: f64 = 2.6;
/// The automatic guard of a device for which [`GUARD`] is too little, as a multiple of a lone operation's mean: a queue of
/// some twenty, where a disk's elevator has given what it has to give.
const SLOW_GUARD_OF_BASE: f64 = 20.0;
/// The mean latency of lone operations is that of about the last so many.
const BASE_MEMORY: u32 = 64;

/// One late completion in a hundred is allowed: 99 that are not late make up for it.
const CREDIT: f64 = 1.0 / 99.0;
/// The score that a cut needs is at least this: with a p99 at the guard, 5 late completions in a row happen by chance once in
/// 10^10.
const SCORE_MIN: f64 = 5.0;
/// For each operation of the limit the score has to be higher by this. It is more than 1, because one stall of the device
/// makes every operation in flight late once.
const SCORE_PER_LIMIT: f64 = 1.5;
/// The quick score counts only what is later than the guard by this factor, device stalls taken off...
const QUICK_GUARD: f64 = 1.5;
/// ...and so it needs less for each operation of the limit. It cuts an overload within one latency.
const QUICK_SCORE_PER_LIMIT: f64 = 0.3;

/// The shortest gap between completions that is called a stall of the device, in nanoseconds.
const STALL_MIN: u64 = 2_000_000;
/// A gap is a stall if it is longer than so many mean latencies. With one operation in flight and exponential gaps, one gap in
/// e^6 = 400 is.
const STALL_OF_MEAN: f64 = 6.0;
/// For so many guards after its end a stall excuses latency. The operations that were in flight during the stall have
/// completed by then.
const STALL_EXCUSES: u64 = 3;

/// A cut aims at a p99 of this part of the guard, as if latency grew in proportion to depth...
const CUT_TARGET: f64 = 0.9;
/// ...but it leaves at least half of the limit, since the next round trip can cut again, and at most 85 %.
const CUT_MIN: f64 = 0.5;
const CUT_MAX: f64 = 0.85;
/// If the p99 at the smallest limit is below this part of the guard, the guard is no longer called infeasible.
const FEASIBLE: f64 = 0.8;

/// The guard of a device, and what it knows of its latency.
#[derive(Clone, Debug)]
pub(crate) struct Sentry {
    setting: Guard,
    /// The guard in force, in nanoseconds.
    guard: u64,
    /// A longer latency counts in the quick score.
    quick_guard: u64,
    /// Mean latency of lone operations in nanoseconds, and how many it rests on (at most [`BASE_MEMORY`]).
    base: f64,
    base_samples: u32,
    slow: f64,
    quick: f64,
    /// The sum of the latencies of completions that were late since the slow score was 0, and their number.
    late_sum: f64,
    late: f64,
    last_cut: u64,
    cuts: u64,
    infeasible: bool,
    stalls: Stalls,
}

/// When the device last completed nothing for a while. Times and lengths are in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Stalls {
    /// A longer gap is a stall.
    threshold: u64,
    last_completion: u64,
    /// The gap before the latest completion.
    gap: u64,
    ended: u64,
    length: u64,
}

impl Stalls {
    fn note(&mut self, now: u64) {
        self.gap = now.saturating_sub(self.last_completion);
        self.last_completion = now;
        if self.gap > self.threshold {
            (self.ended, self.length) = (now, self.gap);
        }
    }
}

impl Sentry {
    pub(crate) fn new(setting: Guard) -> Self {
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
            stalls: Stalls { threshold: STALL_MIN, last_completion: 0, gap: 0, ended: 0, length: 0 },
        };
        sentry.resolve();
        sentry
    }

    /// Changes the guard. What is known of the device's latency stays known.
    pub(crate) fn set(&mut self, setting: Guard) {
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
            Guard::Auto if self.is_slow_device() => (SLOW_GUARD_OF_BASE * self.base) as u64,
            Guard::Auto => GUARD,
        };
        self.quick_guard = (self.guard as f64 * QUICK_GUARD) as u64;
    }

    /// The guard in force, in nanoseconds.
    pub(crate) const fn guard(&self) -> u64 {
        self.guard
    }

    pub(crate) const fn cuts(&self) -> u64 {
        self.cuts
    }

    pub(crate) const fn is_infeasible(&self) -> bool {
        self.infeasible
    }

    /// Whether a lone operation takes so long that the usual guard is too little for the device. Hard disks are such devices.
    pub(crate) fn is_slow_device(&self) -> bool {
        self.base_samples > 0 && P99_OF_BASE * self.base > GUARD as f64
    }

    /// Whether lone operations take longer than the guard, on average.
    pub(crate) fn base_is_late(&self) -> bool {
        self.base_samples > 0 && self.base > self.guard as f64
    }

    /// Whether a gap of this length between two completions is a stall of the device.
    pub(crate) const fn is_stall(&self, gap: u64) -> bool {
        gap > self.stalls.threshold
    }

    /// Tells what the mean latency is now; what counts as a stall follows from it.
    pub(crate) fn set_usual_latency(&mut self, mean: f64) {
        self.stalls.threshold = STALL_MIN.max((STALL_OF_MEAN * mean) as u64);
    }

    /// The gap before the latest completion.
    pub(crate) const fn gap(&self) -> u64 {
        self.stalls.gap
    }

    /// Takes note of a lone operation's latency.
    pub(crate) fn learn_base(&mut self, latency: u64) {
        self.base_samples = (self.base_samples + 1).min(BASE_MEMORY);
        self.base += (latency as f64 - self.base) / f64::from(self.base_samples);
        self.resolve();
    }

    /// Takes note of a completion. Answers whether the p99 is above the guard, and the limit has to be cut.
    #[inline]
    pub(crate) fn watch(&mut self, event: &Event, limit: u32) -> bool {
        self.stalls.note(event.now);
        if self.is_of_before(event) {
            return false;
        }
        if event.latency.saturating_sub(event.unseen) > self.guard {
            return self.watch_late(event, limit);
        }
        if self.slow > 0.0 {
            self.slow -= CREDIT;
            self.quick = (self.quick - CREDIT).max(0.0);
            if self.slow <= 0.0 {
                self.forget_late();
            }
        }
        false
    }

    /// Takes note of a completion that is late.
    #[cold]
    fn watch_late(&mut self, event: &Event, limit: u32) -> bool {
        self.slow += 1.0;
        self.late_sum += event.latency.saturating_sub(event.unseen) as f64;
        self.late += 1.0;
        if self.blamable(event) > self.quick_guard {
            self.quick += 1.0;
        } else {
            self.quick = (self.quick - CREDIT).max(0.0);
        }
        self.slow >= SCORE_MIN + SCORE_PER_LIMIT * f64::from(limit)
            || self.quick >= SCORE_MIN + QUICK_SCORE_PER_LIMIT * f64::from(limit)
    }

    /// Whether an operation was submitted before the last cut. Then its latency is that of the limit before the cut, and it is
    /// not counted. So there is at most one cut in a round trip.
    #[inline]
    pub(crate) const fn is_of_before(&self, event: &Event) -> bool {
        event.submitted < self.last_cut
    }

    /// The latency, without the time in which the host was busy or the device stalled.
    pub(crate) fn blamable(&self, event: &Event) -> u64 {
        event.latency.saturating_sub(event.unseen).saturating_sub(self.excused(event))
    }

    /// How much of a latency the last stall accounts for: its length, if the operation was in flight during all of it.
    fn excused(&self, event: &Event) -> u64 {
        let began = self.stalls.ended.saturating_sub(self.stalls.length);
        let until = self.stalls.ended.saturating_add(self.guard.saturating_mul(STALL_EXCUSES));
        if event.submitted <= began && event.now < until { self.stalls.length } else { 0 }
    }

    /// Cuts the limit. `in_use` is how many operations were in flight under it. The answer is the new limit; the caller brings
    /// it into the bounds.
    pub(crate) fn cut(&mut self, now: u64, in_use: u32) -> u32 {
        let late_mean = if self.late > 0.0 { self.late_sum / self.late } else { self.guard as f64 };
        let factor = (CUT_TARGET * self.guard as f64 / late_mean).clamp(CUT_MIN, CUT_MAX);
        self.cuts = self.cuts.saturating_add(1);
        self.last_cut = now;
        self.forget_late();
        (f64::from(in_use) * factor) as u32
    }

    /// The p99 is above the guard, and the limit is the smallest already. Answers whether that is news.
    pub(crate) fn give_up(&mut self) -> bool {
        self.forget_late();
        !std::mem::replace(&mut self.infeasible, true)
    }

    /// Sets the scores to 0.
    pub(crate) fn forget_late(&mut self) {
        (self.slow, self.quick, self.late, self.late_sum) = (0.0, 0.0, 0.0, 0.0);
    }

    /// Looks at a p99 that was measured at the smallest limit: it may show that the guard can be met after all.
    pub(crate) fn reconsider(&mut self, p99: f64) {
        if p99 < FEASIBLE * self.guard as f64 {
            self.infeasible = false;
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    /// A completion each 100 us.
    fn event(index: u64, latency: u64, unseen: u64) -> Event {
        let now = 1_000 * MILLISECOND + index * 100_000;
        let submitted = now.saturating_sub(latency);
        Event { now, submitted, latency, unseen, in_flight: 32, waiting: 9, work: 1.0 }
    }

    /// Whether the guard trips within 100,000 completions of which every `every`th takes 12 ms.
    fn is_late(every: u64) -> bool {
        let mut sentry = Sentry::new(Guard::Auto);
        (1..100_000).any(|index| {
            let latency = if index % every == 0 { 12 * MILLISECOND } else { MILLISECOND };
            sentry.watch(&event(index, latency, 0), 32)
        })
    }

    #[test]
    fn it_trips_when_more_than_one_in_a_hundred_is_late() {
        assert!(!is_late(120));
        assert!(!is_late(100));
        assert!(is_late(80));
        assert!(is_late(2));
    }

    #[test]
    fn what_is_far_too_late_trips_it_within_one_round() {
        let mut sentry = Sentry::new(Guard::Auto);
        let tripped = (1..).position(|index| sentry.watch(&event(index, 20 * MILLISECOND, 0), 32));
        assert!(tripped < Some(32), "{tripped:?}");
    }

    #[test]
    fn time_unseen_does_not_count() {
        let mut sentry = Sentry::new(Guard::Auto);
        assert!((1..1_000).all(|index| !sentry.watch(&event(index, 30 * MILLISECOND, 25 * MILLISECOND), 32)));
    }

    #[test]
    fn after_a_cut_only_what_was_submitted_since_counts() {
        let mut sentry = Sentry::new(Guard::Auto);
        let late = |index| event(index, 20 * MILLISECOND, 0);
        let trip = (1..100).find(|index| sentry.watch(&late(*index), 32)).expect("20 ms is too late");
        assert_eq!(sentry.cut(late(trip).now, 32), 16);
        let again = (trip + 1..1_000).find(|index| sentry.watch(&late(*index), 16)).expect("20 ms is still too late");
        assert!(late(again).submitted >= late(trip).now);
    }

    #[test]
    fn a_cut_aims_below_the_guard() {
        let mut sentry = Sentry::new(Guard::Auto);
        let factor = |sentry: &mut Sentry, latency: u64| {
            (1..1_000).find(|index| sentry.watch(&event(*index, latency, 0), 4)).expect("it is late");
            f64::from(sentry.cut(0, 1_000)) / 1_000.0
        };
        assert_eq!(factor(&mut sentry, 10_100_000), 0.85);
        assert!((factor(&mut sentry, 15 * MILLISECOND) - 0.6).abs() < 0.01);
        assert_eq!(factor(&mut sentry, 60 * MILLISECOND), 0.5);
    }

    #[test]
    fn a_slow_disk_has_a_guard_of_twenty_of_its_latencies() {
        let mut sentry = Sentry::new(Guard::Auto);
        (0..100).for_each(|_| sentry.learn_base(3 * MILLISECOND));
        assert_eq!(sentry.guard(), 10 * MILLISECOND);
        (0..1_000).for_each(|_| sentry.learn_base(13 * MILLISECOND));
        assert!(sentry.guard().abs_diff(260 * MILLISECOND) < MILLISECOND, "{}", sentry.guard());
        sentry.set(Guard::At(Duration::from_millis(12)));
        assert!(sentry.base_is_late());
    }
}
