//! The yardstick of a run: the same scenario and seed at fixed depths.

use auraio_control::{Bounds, Guard, Policy, Settings};

use crate::{
    record::{Bin, Record},
    scenario::Scenario,
    simulation::Simulation,
};

/// The fixed depths. Each is some 19 % deeper than the one before.
pub const DEPTHS: &[u32] =
    &[1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 19, 23, 27, 32, 38, 45, 54, 64, 76, 91, 108, 128, 152, 181, 215, 256];

/// The knee is the smallest depth with this part of the best throughput.
const KNEE: f64 = 0.97;

/// The best that fixed depths reach in a phase.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// The best throughput of the depths with a p99 within the guard, or that of depth 1 if there are none.
    pub best_throughput: f64,
    /// The knee: the smallest of these depths with 97 % of that throughput.
    pub knee: u32,
    /// The p99 at the knee, in nanoseconds.
    pub knee_p99: f64,
    /// The smallest p99 from arrival to completion at any depth, in nanoseconds.
    pub best_total_p99: f64,
    /// The bins of the run at the knee.
    pub knee_bins: Vec<Bin>,
}

/// Runs a scenario at a fixed depth.
#[must_use]
pub fn fixed(scenario: &Scenario, depth: u32, seed: u64) -> Record {
    let settings =
        Settings { policy: Policy::Fixed(depth), bounds: Bounds { min: 1, max: 65_536 }, guard: Guard::Auto };
    Simulation::new(scenario, settings, seed).run()
}

/// The oracles of a scenario's phases. `runs` are the runs at [`DEPTHS`], in that order.
#[must_use]
pub fn of_phases(scenario: &Scenario, runs: &[Record]) -> Vec<Oracle> {
    (0..scenario.phases.len()).map(|phase| of_phase(scenario, phase, runs)).collect()
}

fn of_phase(scenario: &Scenario, phase: usize, runs: &[Record]) -> Oracle {
    let within_guard = |run: &&Record| {
        let phase = &run.phases[phase];
        phase.completed > 0 && phase.latencies.quantile(0.99) <= scenario.guard_ns
    };
    let mut allowed: Vec<usize> = (0..runs.len()).filter(|index| within_guard(&&runs[*index])).collect();
    if allowed.is_empty() {
        allowed.push(0);
    }
    let throughput = |index: usize| runs[index].phases[phase].throughput();
    let best_throughput = allowed.iter().map(|index| throughput(*index)).fold(0.0, f64::max);
    let is_enough = |index: &usize| throughput(*index) >= KNEE * best_throughput;
    let knee = allowed.iter().copied().find(is_enough).unwrap_or(0);
    let total_p99 = |run: &Record| run.phases[phase].totals.quantile(0.99);
    Oracle {
        best_throughput,
        knee: DEPTHS[knee],
        knee_p99: runs[knee].phases[phase].latencies.quantile(0.99),
        best_total_p99: runs.iter().map(total_p99).fold(f64::INFINITY, f64::min),
        knee_bins: runs[knee].bins.clone(),
    }
}
