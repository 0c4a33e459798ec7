//! What one `io_uring_enter` costs: a part for the call, and a part for each entry.
//!
//! Both parts are fitted to measurements of (entries, time) by least squares, in which old measurements weigh less. If all
//! batches have the same size, the data cannot tell the parts apart. Then the part for an entry stays as it was, and the
//! rest of the time is the part for the call.

/// The weight of a measurement is multiplied by this with each later one, so about the last 500 count.
const DECAY: f64 = 0.998;
/// If the variance of the batch size, in entries squared, is below this, the slope of the fit is noise.
const VARIANCE_MIN: f64 = 0.02;
/// A system call takes at least so many nanoseconds on any machine.
const CALL_MIN_NS: f64 = 50.0;
/// The largest ring has 32768 entries. A batch that is said to be larger would outweigh all others in the fit.
const ENTRIES_MAX: u32 = 32768;
/// A measurement counts as at most so many times the time that the fit expects, plus a little, so that any cost can be learnt.
/// A thread that is preempted inside the call, or copies from the page cache there, says little about the cost of a call.
const OUTLIER_FACTOR: f64 = 8.0;
const OUTLIER_EXTRA_NS: f64 = 10_000.0;
/// Assumed before anything was measured: the costs on a machine of 2020 or so.
const CALL_ASSUMED_NS: f64 = 2000.0;
const ENTRY_ASSUMED_NS: f64 = 1500.0;

/// The fit of `time = call + entry * entries`, and the sums that it is made of, in which old measurements decay.
#[derive(Clone, Debug)]
pub(super) struct EnterCost {
    /// Nanoseconds for the call itself (e0).
    call: f64,
    /// Nanoseconds for each entry (c1).
    entry: f64,
    weight: f64,
    entries: f64,
    entries_squared: f64,
    time: f64,
    entries_by_time: f64,
}

impl EnterCost {
    pub(super) const fn new() -> Self {
        Self {
            call: CALL_ASSUMED_NS,
            entry: ENTRY_ASSUMED_NS,
            weight: 0.0,
            entries: 0.0,
            entries_squared: 0.0,
            time: 0.0,
            entries_by_time: 0.0,
        }
    }

    /// Adds the measurement of a call that handed over so many entries. [`fit`](Self::fit) makes use of it.
    pub(super) fn add(&mut self, entries: u32, took_ns: u64) {
        if entries == 0 {
            return;
        }
        let entries = f64::from(entries.min(ENTRIES_MAX));
        let expected = self.call + self.entry * entries;
        let took = (took_ns as f64).min(OUTLIER_FACTOR * expected + OUTLIER_EXTRA_NS);
        self.weight = self.weight * DECAY + 1.0;
        self.entries = self.entries * DECAY + entries;
        self.entries_squared = self.entries_squared * DECAY + entries * entries;
        self.time = self.time * DECAY + took;
        self.entries_by_time = self.entries_by_time * DECAY + entries * took;
    }

    /// Computes both costs anew from what was added.
    pub(super) fn fit(&mut self) {
        if self.weight < 1.0 {
            return;
        }
        // An entry cannot cost more than its part of the whole call.
        let entry_max = self.time / self.entries;
        let spread = self.weight * self.entries_squared - self.entries * self.entries;
        if spread > VARIANCE_MIN * self.weight * self.weight {
            self.entry = (self.weight * self.entries_by_time - self.entries * self.time) / spread;
        }
        self.entry = self.entry.clamp(0.0, entry_max);
        self.call = ((self.time - self.entry * self.entries) / self.weight).max(CALL_MIN_NS);
    }

    pub(super) const fn call_ns(&self) -> f64 {
        self.call
    }

    pub(super) const fn entry_ns(&self) -> f64 {
        self.entry
    }

    /// How many entries a call handed over lately, on average; 0 before the first call.
    pub(super) fn entries_per_call(&self) -> f64 {
        if self.weight < 1.0 { 0.0 } else { self.entries / self.weight }
    }
}
