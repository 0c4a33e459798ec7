//! Runs of many scenarios, seeds and policies, on all cores.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use auraio_control::{Bounds, Guard, Policy, Settings};

use crate::{
    measure::{Measure, measure},
    oracle::{self, DEPTHS, Oracle},
    record::Record,
    scenario::{Parameters, Scenario},
    simulation::Simulation,
};

/// A scenario's results with one policy.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The scenario.
    pub scenario: Scenario,
    /// The policy.
    pub policy: Policy,
    /// The measures of each seed, and in it of each phase.
    pub measures: Vec<Vec<Measure>>,
    /// The oracles, in the same order.
    pub oracles: Vec<Vec<Oracle>>,
}

/// The settings of a policy in a scenario.
#[must_use]
pub fn settings(scenario: &Scenario, policy: Policy) -> Settings {
    Settings {
        policy,
        bounds: Bounds { min: 1, max: scenario.max },
        guard: scenario.guard.map_or(Guard::Auto, Guard::At),
    }
}

/// A run to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    scenario: usize,
    seed: usize,
    /// The index of a fixed depth, or of a policy after all fixed depths.
    run: usize,
}

/// Runs every scenario with every seed under every policy, and at the oracle's depths. Unknown names are left out.
#[must_use]
pub fn evaluate(names: &[&str], policies: &[Policy], seeds: &[u64], parameters: &Parameters) -> Vec<Evaluated> {
    let scenarios: Vec<Scenario> = names.iter().filter_map(|name| Scenario::named(name, parameters)).collect();
    let mut evaluated: Vec<Evaluated> = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        let jobs: Vec<Job> = (0..seeds.len())
            .flat_map(|seed| (0..DEPTHS.len() + policies.len()).map(move |run| Job { scenario: index, seed, run }))
            .collect();
        let mut records = on_all_cores(&jobs, |job| match DEPTHS.get(job.run) {
            Some(depth) => oracle::fixed(scenario, *depth, seeds[job.seed]),
            None => {
                let policy = policies[job.run - DEPTHS.len()];
                Simulation::new(scenario, settings(scenario, policy), seeds[job.seed]).run()
            }
        });
        let mut oracles = Vec::new();
        let mut runs: Vec<Vec<Record>> = Vec::new();
        for seed in 0..seeds.len() {
            let mut take = |run| records.remove(&Job { scenario: index, seed, run });
            let fixed: Vec<Record> = (0..DEPTHS.len()).filter_map(&mut take).collect();
            oracles.push(oracle::of_phases(scenario, &fixed));
            runs.push((DEPTHS.len()..DEPTHS.len() + policies.len()).filter_map(&mut take).collect());
        }
        for (place, policy) in policies.iter().enumerate() {
            let measures = runs
                .iter()
                .zip(&oracles)
                .map(|(runs, oracles)| {
                    let phases = oracles.iter().enumerate();
                    phases.map(|(phase, oracle)| measure(scenario, &runs[place], phase, oracle)).collect()
                })
                .collect();
            evaluated.push(Evaluated {
                scenario: scenario.clone(),
                policy: *policy,
                measures,
                oracles: oracles.clone(),
            });
        }
    }
    evaluated
}

/// Does jobs on as many threads as there are cores. The last jobs come first, because deep queues take longest.
fn on_all_cores<T: Send>(jobs: &[Job], work: impl Fn(Job) -> T + Sync) -> BTreeMap<Job, T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&job) =
                    jobs.len().checked_sub(next.fetch_add(1, Ordering::Relaxed) + 1).map(|at| &jobs[at])
                {
                    let result = work(job);
                    done.lock().unwrap_or_else(PoisonError::into_inner).insert(job, result);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}
