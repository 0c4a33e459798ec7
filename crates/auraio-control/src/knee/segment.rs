//! A segment: what the device does while one limit is in force.
//!
//! A segment begins to count at the first completion of an operation that was submitted under its limit. So operations of an
//! earlier limit are no part of it. Throughput is counted only while operations wait behind the limit; otherwise it would be
//! that of the load and not that of the device.

use crate::{law::Event, quantile::Histogram};

/// With so many completions the shorter time of a [`Length`] is enough: the throughput is then known within 3 %.
const MANY: u64 = 256;
/// A segment begins after the limit's number of completions and so many more, even if more operations than the limit are in
/// flight. Otherwise it would never begin where somebody else does not keep to the limit.
const ARM_SLACK: u64 = 64;

/// How long a segment of some kind lasts. It has at least so many completions and takes at least so much time; both count only
/// while operations wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    /// The fewest completions.
    pub(super) completions: u64,
    /// The fewest completions as a multiple of the limit: in each turn every operation in flight is replaced once.
    pub(super) turns: u64,
    /// The least time in nanoseconds.
    pub(super) time: u64,
    /// The least time if there are fewer than [`MANY`] completions.
    pub(super) time_if_few: u64,
}

impl Length {
    fn completions_at(self, limit: u32) -> u64 {
        self.completions.max(self.turns * u64::from(limit))
    }
}

/// What a segment found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// Work per second, while operations waited.
    pub(super) throughput: f64,
    /// The work of an operation, on average.
    pub(super) work: f64,
    /// How many completions the throughput rests on.
    pub(super) samples: u64,
    /// The part of the time in which operations waited.
    pub(super) saturation: f64,
    /// Mean latency in nanoseconds.
    pub(super) mean: f64,
    /// The p99 of latency in nanoseconds.
    pub(super) p99: f64,
    /// The longest time without a completion.
    pub(super) gap: u64,
    /// The time from the change of the limit to the end of the segment.
    pub(super) duration: u64,
}

/// The p99 is assumed to be no lower than this multiple of the mean...
const P99_OF_MEAN: f64 = 1.5;
/// ...and on a slow device than this one, which hard disks have with ten to thirty in flight: the largest of a few dozen
/// latencies says too little.
const P99_OF_MEAN_SLOW: f64 = 1.7;

impl Measured {
    /// A p99 that is rather too high than too low.
    pub(super) fn cautious_p99(&self) -> f64 {
        self.p99.max(P99_OF_MEAN * self.mean)
    }

    /// The same on a slow device, under this limit. The mean latency is that of Little's law. The mean of a few dozen
    /// latencies is too low, because the first of them belong to operations that were submitted before the queue was full.
    pub(super) fn cautious_p99_slow(&self, limit: u32) -> f64 {
        let mean = f64::from(limit) * self.work * 1e9 / self.throughput;
        self.p99.max(P99_OF_MEAN_SLOW * self.mean.max(mean))
    }
}

/// The segment under way.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    limit: u32,
    length: Length,
    /// How many completions it is to have, while operations wait.
    wanted: u64,
    changed: u64,
    /// From this time on the law looks whether completions are lacking.
    pub(super) patience_ends: u64,
    /// Completions of operations that were submitted under the limit, before the segment began to count.
    early: u64,
    /// When it began to count.
    began: Option<u64>,
    last: u64,
    waited_samples: u64,
    waited_work: f64,
    waited_time: u64,
    latency_sum: u64,
    gap: u64,
    latencies: Histogram,
}

impl Segment {
    pub(super) fn new(limit: u32, length: Length, now: u64) -> Self {
        Self {
            limit,
            length,
            wanted: length.completions_at(limit),
            changed: now,
            patience_ends: u64::MAX,
            early: 0,
            began: None,
            last: now,
            waited_samples: 0,
            waited_work: 0.0,
            waited_time: 0,
            latency_sum: 0,
            gap: 0,
            latencies: Histogram::new(),
        }
    }

    /// Begins anew, under a limit. If the limit was in force already, the segment counts at once.
    pub(super) fn begin(&mut self, limit: u32, length: Length, now: u64) {
        let settled = self.limit == limit && self.began.is_some();
        self.limit = limit;
        self.length = length;
        self.wanted = length.completions_at(limit);
        self.changed = now;
        self.early = 0;
        self.began = settled.then_some(now);
        self.last = now;
        self.waited_samples = 0;
        self.waited_work = 0.0;
        self.waited_time = 0;
        self.latency_sum = 0;
        self.gap = 0;
        self.latencies.clear();
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) const fn length(&self) -> Length {
        self.length
    }

    /// The time since the segment began.
    pub(super) const fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.changed)
    }

    /// The longest time without a completion so far.
    pub(super) const fn gap(&self) -> u64 {
        self.gap
    }

    /// Counts a completion.
    #[inline]
    pub(super) fn take(&mut self, event: &Event) {
        if self.began.is_none() {
            self.settle(event);
            return;
        }
        let step = event.now.saturating_sub(self.last);
        self.last = event.now;
        self.latency_sum = self.latency_sum.saturating_add(event.latency);
        self.latencies.record(event.latency);
        self.gap = self.gap.max(step);
        if event.waiting > 0 {
            self.waited_samples += 1;
            self.waited_work += event.work;
            self.waited_time += step;
        }
    }

    /// Begins to count if this completion shows that the limit is kept.
    fn settle(&mut self, event: &Event) {
        if event.submitted >= self.changed {
            self.early += 1;
            if event.in_flight <= self.limit || self.early > u64::from(self.limit) + ARM_SLACK {
                self.began = Some(event.now);
                self.last = event.now;
            }
        }
    }

    /// Whether it has the completions and the time that it was to have.
    #[inline]
    pub(super) fn is_complete(&self) -> bool {
        self.waited_samples >= self.wanted
            && (self.waited_time >= self.length.time_if_few
                || (self.waited_time >= self.length.time && self.waited_samples >= MANY))
    }

    /// Whether it has enough completions, if those during which no operation waited are counted too.
    pub(super) fn is_unwaited(&self) -> bool {
        self.latencies.count() >= self.wanted
    }

    /// Whether it has less than a quarter of the completions that it was to have while operations waited.
    pub(super) const fn is_starved(&self) -> bool {
        self.began.is_some() && self.waited_samples.saturating_mul(4) < self.wanted
    }

    /// What it has measured so far. Once it is complete, throughput and samples are not 0.
    pub(super) fn measured(&self, now: u64) -> Measured {
        let wall = now.saturating_sub(self.began.unwrap_or(now));
        Measured {
            throughput: self.waited_work * 1e9 / self.waited_time.max(1) as f64,
            work: (self.waited_work / self.waited_samples.max(1) as f64).max(1.0),
            samples: self.waited_samples,
            saturation: self.waited_time as f64 / wall.max(1) as f64,
            mean: self.latency_sum as f64 / self.latencies.count().max(1) as f64,
            p99: self.latencies.quantile(0.99),
            gap: self.gap,
            duration: self.age(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Length = Length { completions: 10, turns: 1, time: 1_000, time_if_few: 1_000 };

    fn event(now: u64, submitted: u64, in_flight: u32, waiting: u32) -> Event {
        Event { now, submitted, latency: now - submitted, unseen: 0, in_flight, waiting, work: 2.0 }
    }

    #[test]
    fn what_was_submitted_under_another_limit_is_no_part_of_it() {
        let mut segment = Segment::new(8, LENGTH, 1_000);
        (1..100).for_each(|step| segment.take(&event(1_000 + step, 999, 8, 5)));
        assert_eq!(segment.measured(2_000).samples, 0);
        segment.take(&event(1_200, 1_100, 9, 5));
        segment.take(&event(1_300, 1_100, 8, 5));
        (1..=20).for_each(|step| segment.take(&event(1_300 + 100 * step, 1_100, 8, 5)));
        assert!(segment.is_complete());
        let measured = segment.measured(3_300);
        assert_eq!((measured.samples, measured.throughput, measured.work), (20, 2e7, 2.0));
    }

    #[test]
    fn time_in_which_nothing_waited_does_not_count() {
        let mut segment = Segment::new(8, LENGTH, 0);
        segment.take(&event(0, 0, 8, 0));
        (1..=100).for_each(|step| segment.take(&event(100 * step, 100 * step, 3, 0)));
        assert!(!segment.is_complete());
        assert!(segment.is_starved());
        assert_eq!(segment.measured(10_000).saturation, 0.0);
    }

    #[test]
    fn it_begins_also_where_others_exceed_the_limit() {
        let mut segment = Segment::new(2, LENGTH, 0);
        (1..=100).for_each(|step| segment.take(&event(100 * step, 100 * step, 50, 5)));
        assert!(segment.is_complete());
    }
}
