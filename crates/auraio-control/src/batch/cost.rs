//! What one `io_uring_enter` costs, fitted to what was measured: a part for the call, and a part for each entry.
//!
//! The parts are told apart by decayed least squares over (entries, time). Where every batch has the same size the data
//! cannot tell them apart; then the part for an entry stays what it was, and the rest is the call's.

/// Weight that a measurement keeps with each one after it: the last 500 or so count.
const DECAY: f64 = 0.998;
/// Below this variance of the batch size, in entries squared, the slope of the fit is noise.
const VARIANCE_MIN: f64 = 0.02;
/// No enter is free: a system call takes at least this many nanoseconds on any machine.
const CALL_MIN_NS: f64 = 50.0;
/// The largest ring has 32768 entries; a batch said to be larger would outweigh all others in the fit.
const ENTRIES_MAX: u32 = 32768;
/// A thread that is preempted inside the call, or copies from the page cache there, tells little of what a call costs: a
/// measurement counts for at most this many times what the fit expects, and something so that any cost can be learnt.
const OUTLIER_FACTOR: f64 = 8.0;
const OUTLIER_EXTRA_NS: f64 = 10_000.0;
/// What is assumed before anything was measured: the cost of calls and entries on a machine of 2020 or so.
const CALL_ASSUMED_NS: f64 = 2000.0;
const ENTRY_ASSUMED_NS: f64 = 1500.0;

/// `t = call + entry * b`, with sums that decay.
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

    /// One enter that handed over this many entries. Adds to sums; [`fit`](Self::fit) draws the conclusion.
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

    /// Brings both costs up to date with what was added.
    pub(super) fn fit(&mut self) {
        if self.weight < 1.0 {
            return;
        }
        // An entry cannot cost more than the whole call did, divided among them.
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

    /// Entries handed over per enter, lately; 0 before the first.
    pub(super) fn entries_per_call(&self) -> f64 {
        if self.weight < 1.0 { 0.0 } else { self.entries / self.weight }
    }
}
