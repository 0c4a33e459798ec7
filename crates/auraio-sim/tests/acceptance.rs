//! The acceptance table of the double loop. It says what the policy `knee` of `auraio-control` must reach in every scenario,
//! compared with fixed depths on the same device: the mean and the worst of all seeds. It is arithmetic, so the result is
//! the same anywhere.
#![expect(clippy::print_stdout, reason = "the table is shown beside what it misses")]

use std::fmt::Write;

use auraio_control::Policy;
use auraio_sim::{
    evaluate::{Evaluated, evaluate},
    measure::Measure,
    report::{heading, mean, most, of_phase, rows},
    scenario::Parameters,
};

/// A bound of a row beyond throughput, p99 and convergence.
#[derive(Clone, Copy, Debug)]
enum Extra {
    /// The 95th percentile of the limit is at most so many times the 5th, in each seed.
    Steady(f64),
    /// The 5th percentile of the limit is at least this, on average over the seeds.
    LimitAtLeast(u32),
    /// The limit is never above this.
    LimitAtMost(u32),
    /// The guard is called infeasible.
    Infeasible,
    /// At most this part of the bins is above the guard.
    OverGuard(f64),
    /// The guard first cuts within so many seconds of the phase's beginning.
    FirstCut(f64),
    /// The guard never cuts.
    NoCuts,
    /// The p99 from arrival to completion is at most so many times the best depth's, on average.
    TotalP99(f64),
    /// The p99, in us, is at most the first on average and the second at worst.
    P99(f64, f64),
    /// Jain's index is at least this.
    Fair(f64),
}

/// A row: what one phase must reach. Throughput is in % of the best fixed depth and p99 in multiples of that at the knee;
/// convergence is in seconds. Pairs are the mean and the worst.
#[derive(Clone, Copy, Debug)]
struct Row {
    scenario: &'static str,
    phase: usize,
    throughput: (f64, f64),
    p99: (f64, f64),
    /// If the p99 is below this, in us, its multiple does not matter.
    or_p99_us: f64,
    converged: (f64, f64),
    extras: &'static [Extra],
}

const ANY: f64 = f64::INFINITY;
const STEADY: &[Extra] = &[Extra::Steady(1.6)];
const STEADY_NO_CUTS: &[Extra] = &[Extra::Steady(1.6), Extra::NoCuts];

/// The bounds of most phases on the NVMe disk.
const fn nvme(scenario: &'static str, phase: usize, extras: &'static [Extra]) -> Row {
    row(scenario, phase, (96.5, 94.0), (1.4, 1.7), (0.5, 1.2), extras)
}

const fn row(
    scenario: &'static str,
    phase: usize,
    throughput: (f64, f64),
    p99: (f64, f64),
    converged: (f64, f64),
    extras: &'static [Extra],
) -> Row {
    Row { scenario, phase, throughput, p99, or_p99_us: 0.0, converged, extras }
}

impl Row {
    const fn or_p99_us(self, us: f64) -> Self {
        Self { or_p99_us: us, ..self }
    }
}

const ONE_RING: &[Row] = &[
    nvme("a_nvme", 0, STEADY_NO_CUTS),
    nvme("e1_slow", 0, STEADY_NO_CUTS),
    nvme("e1_slow", 2, STEADY_NO_CUTS),
    nvme("e2_cap", 0, STEADY),
    nvme("e2_cap", 2, STEADY),
    nvme("f_phase", 0, STEADY),
    nvme("f_phase", 2, STEADY),
    nvme("j_app", 1, STEADY),
    nvme("o_over", 0, STEADY),
    row("a_w16", 0, (99.0, 98.0), (1.3, ANY), (0.3, 0.5), &[]).or_p99_us(300.0),
    row("h_cache", 0, (99.0, 98.0), (1.3, ANY), (0.3, 0.5), &[Extra::LimitAtLeast(60)]).or_p99_us(300.0),
    row("b_sata", 0, (96.5, 95.0), (1.3, 1.4), (0.3, 0.6), &[]),
    row("c_hdd", 0, (95.0, 92.0), (1.2, 1.4), (3.0, 5.0), &[Extra::OverGuard(0.20)]),
    row("c_strict", 0, (0.0, 0.0), (ANY, ANY), (2.0, 3.0), &[Extra::LimitAtMost(1), Extra::Infeasible]),
    row("d1_cloud", 0, (98.0, 97.0), (1.4, 1.6), (0.5, 1.0), &[]),
    row("d2_burst", 0, (98.0, 97.0), (1.4, 1.6), (0.5, 1.0), &[]),
    row("d2_burst", 1, (98.0, 97.0), (1.4, 1.6), (0.5, 1.0), &[]),
    row("d2_burst", 2, (98.0, 97.0), (1.4, 1.6), (0.5, 1.0), &[]),
    row("e1_slow", 1, (96.0, 94.0), (1.7, 2.0), (0.2, 0.5), &[Extra::OverGuard(0.0)]),
    row("e2_cap", 1, (99.0, 98.5), (1.5, ANY), (0.3, 1.0), &[]).or_p99_us(300.0),
    row("f_phase", 1, (95.0, 92.0), (1.4, 2.0), (0.7, 1.2), &[Extra::FirstCut(0.040)]),
    row("g_gc", 0, (96.5, 95.0), (1.4, 1.6), (0.4, 1.2), &[Extra::OverGuard(0.06), Extra::NoCuts]),
    row("j_app", 0, (99.0, 99.0), (ANY, ANY), (ANY, ANY), &[Extra::LimitAtMost(8)]),
    row("j_open", 0, (99.0, 98.5), (ANY, ANY), (ANY, ANY), &[Extra::TotalP99(1.6)]),
    row("j_open", 1, (99.0, 98.5), (ANY, ANY), (ANY, ANY), &[Extra::TotalP99(1.3)]),
    row("j_open", 2, (99.0, 98.5), (ANY, ANY), (ANY, ANY), &[Extra::TotalP99(2.0)]),
    row("n_js200", 0, (96.5, 95.0), (1.6, 2.0), (1.2, 3.5), &[Extra::NoCuts]),
    row("n_js30", 0, (110.0, 100.0), (ANY, ANY), (ANY, ANY), &[Extra::LimitAtLeast(16)]),
    row("g05_nvme", 0, (96.0, 93.0), (ANY, ANY), (0.5, 1.2), &[Extra::P99(500.0, 525.0), Extra::OverGuard(0.12)]),
    row("g2_slow", 0, (96.0, 93.0), (ANY, ANY), (0.5, 1.2), &[Extra::P99(2_000.0, 2_100.0), Extra::OverGuard(0.12)]),
    row("g2_slow", 1, (96.0, 93.0), (ANY, ANY), (0.5, 1.2), &[Extra::P99(2_000.0, 2_100.0), Extra::OverGuard(0.12)]),
    row("g2_slow", 2, (96.0, 93.0), (ANY, ANY), (0.5, 1.2), &[Extra::P99(2_000.0, 2_100.0), Extra::OverGuard(0.12)]),
];

/// Scenarios with several rings, which share one controller.
const RINGS: &[Row] = &[
    nvme("i2", 0, &[Extra::Fair(0.99)]),
    nvme("i16", 0, &[Extra::Fair(0.99)]),
    nvme("i_join", 0, &[]),
    nvme("i_join", 1, &[Extra::Fair(0.99)]),
    nvme("i_join", 2, &[]),
];

/// Hard disks, with each of [`hard_disks`]'s parameters.
const HARD_DISK: &[Row] = &[row("c_hdd", 0, (95.0, 92.0), (1.25, 1.4), (3.0, 5.0), &[Extra::OverGuard(0.20)])];
/// A disk without a queue has its full throughput with two in flight, and needs minutes to show that four are no better.
const HARD_DISK_FLAT: &[Row] = &[row("c_flat", 0, (98.0, 96.0), (4.0, 7.0), (ANY, ANY), &[Extra::OverGuard(0.05)])];

/// The parameters of hard disks: slower and faster ones, with an earlier and a later knee, and noisier ones.
fn hard_disks() -> [Parameters; 8] {
    let usual = Parameters::default();
    [
        usual,
        Parameters { knee: 0.7, ..usual },
        Parameters { knee: 1.4, ..usual },
        Parameters { throughput: 0.7, ..usual },
        Parameters { throughput: 1.5, ..usual },
        Parameters { noise: 0.08, ..usual },
        Parameters { throughput: 1.5, knee: 0.7, ..usual },
        Parameters { throughput: 0.7, knee: 1.4, ..usual },
    ]
}

/// A sentence for each bound of a row that is missed.
fn misses(row: &Row, measures: &[Measure]) -> Vec<String> {
    let mut misses = Vec::new();
    let mut at_most = |what: &str, found: f64, bound: f64| {
        if found > bound {
            misses.push(format!("{what} is {found:.3}, more than {bound}"));
        }
    };
    at_most(
        "mean loss of throughput in %",
        100.0 - 100.0 * mean(measures, |one| one.throughput),
        100.0 - row.throughput.0,
    );
    at_most(
        "worst loss of throughput in %",
        100.0 - 100.0 * least(measures, |one| one.throughput),
        100.0 - row.throughput.1,
    );
    if mean(measures, |one| one.p99) >= row.or_p99_us * 1e3 {
        at_most("mean p99 as a multiple", mean(measures, |one| one.p99_ratio), row.p99.0);
    }
    at_most("worst p99 as a multiple", most(measures, |one| one.p99_ratio), row.p99.1);
    at_most("mean convergence in s", mean(measures, |one| one.converged), row.converged.0);
    at_most("worst convergence in s", most(measures, |one| one.converged), row.converged.1);
    for extra in row.extras {
        let (found, bound) = extra_found(*extra, measures);
        at_most(&format!("{extra:?}"), found, bound);
    }
    misses
}

/// The value of an extra that was found, and the largest that is allowed.
fn extra_found(extra: Extra, measures: &[Measure]) -> (f64, f64) {
    let limit = |one: &Measure, percentile: usize| f64::from(one.limits[percentile]);
    match extra {
        Extra::Steady(ratio) => (most(measures, |one| limit(one, 2) / limit(one, 0).max(1.0)), ratio),
        Extra::LimitAtLeast(bound) => (-mean(measures, |one| limit(one, 0)), -f64::from(bound)),
        Extra::LimitAtMost(bound) => (most(measures, |one| limit(one, 3)), f64::from(bound)),
        Extra::Infeasible => (most(measures, |one| f64::from(!one.is_infeasible)), 0.0),
        Extra::OverGuard(part) => (mean(measures, |one| one.over_guard), part),
        Extra::FirstCut(seconds) => (most(measures, |one| one.first_cut.unwrap_or(f64::INFINITY)), seconds),
        Extra::NoCuts => (most(measures, |one| one.cuts as f64), 0.0),
        Extra::TotalP99(ratio) => (mean(measures, |one| one.total_p99_ratio), ratio),
        Extra::P99(on_average, _) if mean(measures, |one| one.p99) > on_average * 1e3 => {
            (mean(measures, |one| one.p99) / 1e3, on_average)
        }
        Extra::P99(_, at_worst) => (most(measures, |one| one.p99) / 1e3, at_worst),
        Extra::Fair(index) => (-least(measures, |one| one.fairness), -index),
    }
}

fn least(measures: &[Measure], of: impl Fn(&Measure) -> f64) -> f64 {
    -most(measures, |one| -of(one))
}

/// Runs the scenarios of some rows, prints the results, and fails with every bound that is missed.
fn assert_rows(table: &[Row], seeds: &[u64], parameters: &Parameters) {
    let mut names: Vec<&str> = table.iter().map(|row| row.scenario).collect();
    names.sort_unstable();
    names.dedup();
    let evaluated = evaluate(&names, &[Policy::Knee], seeds, parameters);
    println!("{}", heading());
    evaluated.iter().for_each(|evaluated| print!("{}", rows(evaluated)));
    let mut missed = String::new();
    for row in table {
        let of_scenario = |evaluated: &&Evaluated| evaluated.scenario.name == row.scenario;
        let evaluated = evaluated.iter().find(of_scenario).expect("every row's scenario was run");
        let phase = evaluated.scenario.phases[row.phase].name;
        for miss in misses(row, &of_phase(evaluated, row.phase)) {
            writeln!(missed, "{} {phase}: {miss}", row.scenario).expect("a string takes all");
        }
    }
    assert!(missed.is_empty(), "with {parameters:?}:\n{missed}");
}

#[test]
fn one_ring_finds_the_knee_and_keeps_to_the_guard() {
    assert_rows(ONE_RING, &[11, 12, 13, 14, 15, 16], &Parameters::default());
}

#[test]
fn rings_with_one_controller_find_the_knee_and_share_it_fairly() {
    assert_rows(RINGS, &[11, 12, 13], &Parameters::default());
}

#[test]
fn hard_disks_of_many_kinds_are_fast_within_seconds() {
    let seeds = [11, 12, 13, 14, 15, 16, 21, 22, 23, 24, 25, 26];
    hard_disks().iter().for_each(|parameters| assert_rows(HARD_DISK, &seeds, parameters));
    assert_rows(HARD_DISK_FLAT, &seeds, &Parameters::default());
}
