//! Latencies and counts of the operations that a lane has completed.

use hdrhistogram::Histogram;

use super::stats::{ClassStats, HistogramKind};
use crate::control::Priority;

/// One completed operation, as its ring saw it. All times are those of [`super::now`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) now: u64,
    /// When the operation began to wait for a place. If it did not have to wait, this is `submitted`.
    pub(crate) asked: u64,
    pub(crate) submitted: u64,
    pub(crate) unseen: u64,
    pub(crate) in_flight_then: u32,
    /// Operations in flight on its ring just before the reap, this one among them. `waiting` is of the same moment.
    pub(crate) in_flight: u32,
    pub(crate) waiting: u32,
    pub(crate) bytes: u32,
    pub(crate) class: Priority,
}

impl Sample {
    /// The time from the system call that handed the operation over to the reap.
    pub(crate) const fn completion(&self) -> u64 {
        self.now.saturating_sub(self.submitted)
    }

    /// The completion latency, and the wait for a place before it.
    pub(crate) const fn total(&self) -> u64 {
        self.now.saturating_sub(self.asked)
    }

    /// The work for the device: one for the operation, and one for each 64 KiB.
    pub(crate) fn work(&self) -> f32 {
        1.0 + self.bytes as f32 / 65_536.0
    }
}

/// The shortest latency that the histograms tell apart, in nanoseconds.
const LATENCY_MIN: u64 = 100;
/// The longest latency of the histograms: an hour. A longer one counts as this.
const LATENCY_MAX: u64 = 3_600_000_000_000;
/// Significant digits of the histograms. Two digits tell latencies apart that differ by 1 %, and a histogram takes 25 KiB.
const DIGITS: u8 = 2;
/// The percentiles in stats are of the last one to two windows of this length.
const WINDOW_NS: u64 = 1_000_000_000;

/// An empty histogram of latencies in nanoseconds.
fn latencies() -> Histogram<u64> {
    match Histogram::new_with_bounds(LATENCY_MIN, LATENCY_MAX, DIGITS) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are constants: {error}"),
    }
}

/// The latencies of the lane's whole life. Those of the last two windows are kept by themselves too.
#[derive(Debug)]
struct Latencies {
    window: Histogram<u64>,
    window_before: Histogram<u64>,
    older: Histogram<u64>,
    since: u64,
}

impl Latencies {
    fn new() -> Self {
        Self { window: latencies(), window_before: latencies(), older: latencies(), since: 0 }
    }

    #[inline]
    fn record(&mut self, at: u64, latency: u64) {
        if at.saturating_sub(self.since) >= WINDOW_NS {
            self.turn_over(at);
        }
        self.window.saturating_record(latency);
    }

    #[cold]
    fn turn_over(&mut self, at: u64) {
        self.retire();
        if at.saturating_sub(self.since) >= 2 * WINDOW_NS {
            self.retire();
        }
        self.since = at;
    }

    /// Ends the present window: it becomes the window before, and the window before is added to the older latencies.
    fn retire(&mut self) {
        // Adding fails only for histograms with different bounds, and these have the same.
        let _ = self.older.add(&self.window_before);
        self.window_before.reset();
        std::mem::swap(&mut self.window, &mut self.window_before);
    }

    fn recent(&self) -> Histogram<u64> {
        let mut recent = self.window.clone();
        let _ = recent.add(&self.window_before);
        recent
    }

    fn all(&self) -> Histogram<u64> {
        let mut all = self.recent();
        let _ = all.add(&self.older);
        all
    }
}

/// Latencies and counts of one lane.
#[derive(Debug)]
pub(super) struct Seen {
    completion: Latencies,
    total: Latencies,
    pub(super) completed: u64,
    pub(super) bytes: u64,
    pub(super) hits: u64,
    classes: [ByClass; 3],
    /// An operation of another class than normal has completed. From then on latencies are kept by class.
    classed: bool,
}

#[derive(Debug)]
struct ByClass {
    completed: u64,
    total: Option<Box<Latencies>>,
}

/// Percentiles of the last one to two seconds, in microseconds; 0 where nothing completed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let us = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self { p50: us(0.5), p99: us(0.99), p999: us(0.999) }
    }
}

impl Seen {
    pub(super) fn new() -> Self {
        let class = || ByClass { completed: 0, total: None };
        Self {
            completion: Latencies::new(),
            total: Latencies::new(),
            completed: 0,
            bytes: 0,
            hits: 0,
            classes: [class(), class(), class()],
            classed: false,
        }
    }

    pub(super) fn record(&mut self, sample: &Sample) {
        let total = sample.total();
        self.completed += 1;
        self.bytes += u64::from(sample.bytes);
        self.completion.record(sample.now, sample.completion());
        self.total.record(sample.now, total);
        let class = &mut self.classes[sample.class as usize];
        class.completed += 1;
        self.classed |= sample.class != Priority::Normal;
        if self.classed {
            class.total.get_or_insert_with(|| Box::new(Latencies::new())).record(sample.now, total);
        }
    }

    pub(super) fn completion(&self) -> Percentiles {
        Percentiles::of(&self.completion.recent())
    }

    pub(super) fn total_p99(&self) -> f64 {
        Percentiles::of(&self.total.recent()).p99
    }

    pub(super) fn histogram(&self, kind: HistogramKind) -> Histogram<u64> {
        match kind {
            HistogramKind::Completion => self.completion.all(),
            HistogramKind::Total => self.total.all(),
        }
    }

    pub(super) fn class(&self, class: Priority, waiting: u32) -> ClassStats {
        let its = &self.classes[class as usize];
        let total_p99_us = match &its.total {
            Some(total) => Percentiles::of(&total.recent()).p99,
            // Every operation so far was of this class.
            None if its.completed > 0 => self.total_p99(),
            None => 0.0,
        };
        ClassStats { completed: its.completed, waiting, total_p99_us }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(now: u64, latency: u64) -> Sample {
        let submitted = now - latency;
        let class = Priority::Normal;
        Sample {
            now,
            asked: submitted,
            submitted,
            unseen: 0,
            in_flight_then: 1,
            in_flight: 1,
            waiting: 0,
            bytes: 4096,
            class,
        }
    }

    #[test]
    fn percentiles_are_of_the_last_moments_and_histograms_of_all() {
        let mut seen = Seen::new();
        let second = WINDOW_NS;
        for at in 0..1000 {
            seen.record(&sample(10 * second + at * 1000, 1_000_000));
        }
        assert!((950.0..1050.0).contains(&seen.completion().p99), "{:?}", seen.completion());
        for at in 0..1000 {
            seen.record(&sample(13 * second + at * 1000, 100_000));
        }
        assert!((95.0..105.0).contains(&seen.completion().p99), "{:?}", seen.completion());
        let all = seen.histogram(HistogramKind::Completion);
        assert_eq!(all.len(), 2000);
        assert!(all.value_at_quantile(0.99) >= 990_000);
    }

    #[test]
    fn latencies_of_nothing_and_of_hours_are_recorded() {
        let mut seen = Seen::new();
        seen.record(&sample(u64::MAX / 2, 0));
        seen.record(&sample(u64::MAX / 2, LATENCY_MAX * 3));
        assert_eq!(seen.histogram(HistogramKind::Total).len(), 2);
    }

    #[test]
    fn nothing_completed_is_no_latency() {
        assert_eq!(Seen::new().completion().p999.to_bits(), 0.0_f64.to_bits());
    }
}
