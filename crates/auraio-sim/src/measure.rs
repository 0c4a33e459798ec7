//! One run against its yardstick.

use auraio_control::Reason;

use crate::{
    MILLISECOND,
    histogram::Histogram,
    oracle::Oracle,
    record::{Bin, Record},
    scenario::Scenario,
};

/// A stretch has converged if it has this part of the throughput at the knee...
const CONVERGED_THROUGHPUT: f64 = 0.95;
/// ...and a p99 of at most so many times that at the knee, or below this many nanoseconds.
const CONVERGED_P99: f64 = 1.5;
const HARMLESS: f64 = 300_000.0;
/// The time to convergence of a run that never converged, in seconds.
pub const NEVER: f64 = 99.0;
/// A bin with fewer completions has no p99.
const BIN_MIN: u64 = 50;

/// The measures of a phase of a run, compared with fixed depths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measure {
    /// Throughput as a part of the best.
    pub throughput: f64,
    /// The p99 of completion latency as a multiple of that at the knee.
    pub p99_ratio: f64,
    /// The p99 in nanoseconds.
    pub p99: f64,
    /// The p99 from arrival to completion as a multiple of the best depth's.
    pub total_p99_ratio: f64,
    /// Seconds until a stretch is about as good as the knee.
    pub converged: f64,
    /// The part of the bins whose p99 is above the guard.
    pub over_guard: f64,
    /// 5th, 50th, 95th and 100th percentile of the limit.
    pub limits: [u32; 4],
    /// Jain's index of the rings' shares: 1 is fair.
    pub fairness: f64,
    /// Seconds from the phase's beginning to the guard's first cut in it.
    pub first_cut: Option<f64>,
    /// The guard's cuts in all of the run.
    pub cuts: u64,
    /// Whether the guard was called infeasible at the end of the run.
    pub is_infeasible: bool,
}

/// Measures phase number `phase` of a run.
#[must_use]
pub fn measure(scenario: &Scenario, run: &Record, phase: usize, oracle: &Oracle) -> Measure {
    let record = &run.phases[phase];
    let p99 = record.latencies.quantile(0.99);
    let in_phase = |at: u64| (record.from..record.to).contains(&at);
    let first_cut = run.decisions.iter().find(|decision| decision.reason == Reason::Guard && in_phase(decision.at));
    Measure {
        throughput: record.throughput() / oracle.best_throughput,
        p99_ratio: p99 / oracle.knee_p99,
        p99,
        total_p99_ratio: record.totals.quantile(0.99) / oracle.best_total_p99,
        converged: converged(scenario, run, phase, oracle),
        over_guard: over_guard(scenario, run, phase),
        limits: percentiles(&record.limits),
        fairness: jain(&record.by_ring),
        first_cut: first_cut.map(|decision| (decision.at - record.from) as f64 / 1e9),
        cuts: run.cuts,
        is_infeasible: run.is_infeasible,
    }
}

/// Completions and p99 of a stretch of bins.
fn stretch(bins: &[Bin]) -> (u64, f64) {
    let mut all = Histogram::default();
    bins.iter().for_each(|bin| all.merge(&bin.latencies));
    (all.count(), all.quantile(0.99))
}

fn converged(scenario: &Scenario, run: &Record, phase: usize, oracle: &Oracle) -> f64 {
    let record = &run.phases[phase];
    let bin_ns = scenario.bin_ms * MILLISECOND;
    let length = (scenario.converged_ms / scenario.bin_ms) as usize;
    let first = record.from.div_ceil(bin_ns) as usize;
    let last = ((record.to / bin_ns) as usize).min(run.bins.len()).min(oracle.knee_bins.len());
    for from in first..last.saturating_sub(length) {
        let (completed, p99) = stretch(&run.bins[from..from + length]);
        let (at_knee, p99_at_knee) = stretch(&oracle.knee_bins[from..from + length]);
        let p99_allowed = (CONVERGED_P99 * p99_at_knee.max(oracle.knee_p99)).max(HARMLESS);
        if completed as f64 >= CONVERGED_THROUGHPUT * at_knee as f64 && p99 <= p99_allowed {
            return (from as u64 * bin_ns).saturating_sub(record.from) as f64 / 1e9;
        }
    }
    NEVER
}

fn over_guard(scenario: &Scenario, run: &Record, phase: usize) -> f64 {
    let record = &run.phases[phase];
    let bin_ns = scenario.bin_ms * MILLISECOND;
    let last = ((record.to / bin_ns) as usize).min(run.bins.len());
    let first = ((record.settled / bin_ns) as usize).min(last);
    let bins = run.bins[first..last].iter().filter(|bin| bin.latencies.count() >= BIN_MIN);
    let (mut all, mut over) = (0, 0);
    for bin in bins {
        all += 1;
        over += u32::from(bin.latencies.quantile(0.99) > scenario.guard_ns);
    }
    f64::from(over) / f64::from(all.max(1))
}

fn percentiles(limits: &[u32]) -> [u32; 4] {
    let mut sorted = limits.to_vec();
    sorted.sort_unstable();
    let at = |part: f64| sorted.get((sorted.len().saturating_sub(1) as f64 * part) as usize).copied().unwrap_or(0);
    [at(0.05), at(0.5), at(0.95), at(1.0)]
}

fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    sum * sum / (shares.len() as f64 * squares).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shares_are_fair_and_one_for_all_is_not() {
        assert_eq!(jain(&[5, 5, 5, 5]), 1.0);
        assert_eq!(jain(&[20, 0, 0, 0]), 0.25);
    }
}
