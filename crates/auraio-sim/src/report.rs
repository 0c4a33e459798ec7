//! Tables as text.

use auraio_control::{Decision, Policy};

use crate::{
    evaluate::Evaluated,
    measure::Measure,
    oracle::{DEPTHS, fixed},
    scenario::{NAMES, Scenario, about},
};

/// A policy's name.
#[must_use]
pub fn policy_name(policy: Policy) -> String {
    match policy {
        Policy::Fixed(limit) => format!("fixed {limit}"),
        Policy::Aimd | Policy::Knee => policy.name().to_owned(),
    }
}

/// The mean of a number over all seeds.
#[must_use]
pub fn mean(measures: &[Measure], of: impl Fn(&Measure) -> f64) -> f64 {
    measures.iter().map(of).sum::<f64>() / measures.len().max(1) as f64
}

/// The largest value of a number over all seeds.
#[must_use]
pub fn most(measures: &[Measure], of: impl Fn(&Measure) -> f64) -> f64 {
    measures.iter().map(of).fold(f64::NEG_INFINITY, f64::max)
}

/// The measures of one phase, one for each seed.
#[must_use]
pub fn of_phase(evaluated: &Evaluated, phase: usize) -> Vec<Measure> {
    evaluated.measures.iter().map(|phases| phases[phase]).collect()
}

/// The heading of [`rows`].
#[must_use]
pub fn heading() -> String {
    format!(
        "{:<9}{:<8}{:<10}|{:>8}{:>5} |{:>6}{:>6} |{:>6}{:>6}{:>8} |{:>6}{:>6} |{:>6} |{:>13} |{:>6}{:>6}{:>7}",
        "scenario",
        "phase",
        "policy",
        "best/s",
        "knee",
        "X %",
        "min",
        "p99 x",
        "max",
        "us",
        "conv",
        "max",
        "over %",
        "limit 5/50/95",
        "tot x",
        "Jain",
        "cuts"
    )
}

/// A line for each phase. It has the throughput in % of the best fixed depth (mean, worst), the p99 as a multiple of that at
/// the knee (mean, worst) and in us, the seconds to convergence (mean, worst), the % of bins above the guard, percentiles of
/// the limit, the p99 from arrival to completion as a multiple of the best depth's, Jain's index, and the cuts of the guard
/// in the whole run.
#[must_use]
pub fn rows(evaluated: &Evaluated) -> String {
    let mut text = String::new();
    for (index, phase) in evaluated.scenario.phases.iter().enumerate() {
        let measures = of_phase(evaluated, index);
        let oracle = &evaluated.oracles[0][index];
        let limit = |percentile: usize| mean(&measures, |measure| f64::from(measure.limits[percentile]));
        let limits = format!("{:.0}/{:.0}/{:.0}", limit(0), limit(1), limit(2));
        text += &format!(
            "{:<9}{:<8}{:<10}|{:>8.0}{:>5} |{:>6.1}{:>6.1} |{:>6.2}{:>6.2}{:>8.0} |{:>6.2}{:>6.2} |{:>6.1} |{:>13} |{:>6.2}{:>6.3}{:>7.1}\n",
            evaluated.scenario.name,
            phase.name,
            policy_name(evaluated.policy),
            oracle.best_throughput,
            oracle.knee,
            100.0 * mean(&measures, |measure| measure.throughput),
            -100.0 * most(&measures, |measure| -measure.throughput),
            mean(&measures, |measure| measure.p99_ratio),
            most(&measures, |measure| measure.p99_ratio),
            mean(&measures, |measure| measure.p99) / 1e3,
            mean(&measures, |measure| measure.converged),
            most(&measures, |measure| measure.converged),
            100.0 * mean(&measures, |measure| measure.over_guard),
            limits,
            mean(&measures, |measure| measure.total_p99_ratio),
            mean(&measures, |measure| measure.fairness),
            mean(&measures, |measure| measure.cuts as f64),
        );
    }
    text
}

/// A decision, as a line.
#[must_use]
pub fn decision(decision: &Decision) -> String {
    format!(
        "{:9.4} s  {:>4} -> {:<4} {:<10} {:<19} X {:>8.0}/s  p99 {:>8.0} us  gain {:+.4} of {:+.4} +- {:.4}  {} samples",
        decision.at as f64 / 1e9,
        decision.from,
        decision.to,
        decision.phase.name(),
        decision.reason.name(),
        decision.throughput,
        decision.p99 as f64 / 1e3,
        decision.gain,
        decision.threshold,
        decision.error,
        decision.samples
    )
}

/// Throughput and p99 of a scenario's phases at each fixed depth, with seed 1.
#[must_use]
pub fn curve(scenario: &Scenario) -> String {
    let mut text = String::new();
    for &depth in DEPTHS {
        let run = fixed(scenario, depth, 1);
        text += &format!("{depth:>5}");
        for (phase, record) in scenario.phases.iter().zip(&run.phases) {
            let (p50, p99) = (record.latencies.quantile(0.5) / 1e3, record.latencies.quantile(0.99) / 1e3);
            text += &format!(" | {}: {:>7.0}/s, p50 {p50:>6.0} us, p99 {p99:>7.0} us", phase.name, record.throughput());
        }
        text.push('\n');
    }
    text
}

/// The scenarios, a line for each.
#[must_use]
pub fn scenarios() -> String {
    NAMES.iter().map(|name| format!("{name:<9} {}\n", about(name))).collect()
}
