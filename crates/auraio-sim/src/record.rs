//! What is kept of a run: counts and latencies in bins of time and for each phase.

use auraio_control::Decision;

use crate::{MILLISECOND, histogram::Histogram, nanoseconds, scenario::Scenario};

/// Completions of a short stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Bin {
    /// How many there were.
    pub completed: u64,
    /// Their latencies from submission to completion.
    pub latencies: Histogram,
}

/// Completions of a phase, without those of its beginning.
#[derive(Clone, Debug)]
pub struct PhaseRecord {
    /// When it begins, in nanoseconds.
    pub from: u64,
    /// From when on completions are counted, in nanoseconds.
    pub settled: u64,
    /// When it ends, in nanoseconds.
    pub to: u64,
    /// How many completions there were.
    pub completed: u64,
    /// How many each ring had.
    pub by_ring: Vec<u64>,
    /// Latencies from submission to completion.
    pub latencies: Histogram,
    /// Latencies from arrival to completion.
    pub totals: Histogram,
    /// The limit, noted each 10 ms.
    pub limits: Vec<u32>,
}

impl PhaseRecord {
    /// The length of the part that is counted, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        (self.to - self.settled) as f64 / 1e9
    }

    /// Completions a second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.completed as f64 / self.seconds()
    }

    fn counts(&self, now: u64) -> bool {
        (self.settled..self.to).contains(&now)
    }
}

/// Everything that is kept of a run.
#[derive(Clone, Debug)]
pub struct Record {
    /// The bins from the beginning of the run on.
    pub bins: Vec<Bin>,
    /// One for each phase of the scenario.
    pub phases: Vec<PhaseRecord>,
    /// What the controller decided.
    pub decisions: Vec<Decision>,
    /// How often the guard cut.
    pub cuts: u64,
    /// Whether the guard was found to be infeasible, at the end.
    pub is_infeasible: bool,
    bin_ns: u64,
}

impl Record {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let phases = scenario
            .phases
            .iter()
            .map(|phase| PhaseRecord {
                from: nanoseconds(phase.from),
                settled: nanoseconds(phase.from) + nanoseconds(phase.settle),
                to: nanoseconds(phase.to),
                completed: 0,
                by_ring: vec![0; scenario.rings.len()],
                latencies: Histogram::default(),
                totals: Histogram::default(),
                limits: vec![],
            })
            .collect();
        Self {
            bins: vec![],
            phases,
            decisions: vec![],
            cuts: 0,
            is_infeasible: false,
            bin_ns: scenario.bin_ms * MILLISECOND,
        }
    }

    pub(crate) fn completed(&mut self, now: u64, ring: usize, latency: u64, total: u64) {
        let bin = (now / self.bin_ns) as usize;
        if bin >= self.bins.len() {
            self.bins.resize(bin + 1, Bin::default());
        }
        self.bins[bin].completed += 1;
        self.bins[bin].latencies.record(latency);
        if let Some(phase) = self.phases.iter_mut().find(|phase| phase.counts(now)) {
            phase.completed += 1;
            phase.by_ring[ring] += 1;
            phase.latencies.record(latency);
            phase.totals.record(total);
        }
    }

    pub(crate) fn limit(&mut self, now: u64, limit: u32) {
        if let Some(phase) = self.phases.iter_mut().find(|phase| phase.counts(now)) {
            phase.limits.push(limit);
        }
    }
}
