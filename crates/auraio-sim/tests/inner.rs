//! The inner loop in the cases of [`auraio_sim::inner`]: beside the best fixed submit batch, whichever that is.
#![allow(clippy::print_stdout, reason = "what a test found, where it fails")]

use auraio_sim::{
    SECOND,
    inner::{CASES, Case, Outcome, Rule, run},
};

/// The part of the best fixed batch's throughput that the inner loop has at least, and the most of its p50.
const THROUGHPUT: f64 = 0.97;
const P50: f64 = 1.025;
/// What costs no more than so many times the cheapest fixed batch that has this part of the best one's throughput; only
/// where there is a choice, with a queue of 64.
const CPU: f64 = 1.1;
const CPU_THROUGHPUT: f64 = 0.98;

const DURATION: u64 = SECOND * 3 / 2;

fn fixed() -> impl Iterator<Item = Rule> {
    Rule::ALL.into_iter().filter(|rule| matches!(rule, Rule::TurnEnd | Rule::Fixed(_)))
}

/// The fixed batch with the most operations a second; a case has the same seed with each.
fn best(case: &Case, seed: u64) -> (Rule, Outcome) {
    let outcomes = fixed().map(|rule| (rule, run(case, rule, seed, DURATION)));
    outcomes.max_by(|one, other| one.1.throughput.total_cmp(&other.1.throughput)).expect("there are some")
}

/// The least CPU of a fixed batch that keeps up with the best.
fn cheapest(case: &Case, seed: u64, best: &Outcome) -> f64 {
    let outcomes = fixed().map(|rule| run(case, rule, seed, DURATION));
    let keeping_up = outcomes.filter(|outcome| outcome.throughput >= CPU_THROUGHPUT * best.throughput);
    keeping_up.map(|outcome| outcome.utilisation).fold(1.0, f64::min)
}

fn is_within_reach_of_the_best(case: &Case) {
    for seed in 11..=13 {
        let (rule, best) = best(case, seed);
        let tuned = run(case, Rule::Tuned, seed, DURATION);
        println!("{} seed {seed}: {} {best:?}, tuned {tuned:?}", case.name, rule.name());
        assert!(tuned.throughput >= THROUGHPUT * best.throughput);
        assert!(tuned.p50_us <= P50 * best.p50_us);
        assert!(case.depth < 64 || tuned.utilisation <= CPU * cheapest(case, seed, &best));
    }
}

#[test]
fn a_thread_with_time_to_spare_is_as_fast_as_with_the_best_fixed_batch() {
    is_within_reach_of_the_best(&CASES[0]);
}

#[test]
fn a_thread_that_is_nearly_saturated_is_as_fast_as_with_the_best_fixed_batch() {
    is_within_reach_of_the_best(&CASES[1]);
}

#[test]
fn a_saturated_thread_is_as_fast_as_with_the_best_fixed_batch() {
    is_within_reach_of_the_best(&CASES[2]);
}

#[test]
fn completions_in_groups_of_64_do_not_become_lock_step() {
    is_within_reach_of_the_best(&CASES[3]);
    is_within_reach_of_the_best(&CASES[4]);
}

#[test]
fn completions_in_groups_larger_than_the_depth_do_not_become_lock_step() {
    is_within_reach_of_the_best(&CASES[5]);
}

#[test]
fn a_device_faster_than_the_thread_is_used_as_well_as_with_the_best_fixed_batch() {
    is_within_reach_of_the_best(&CASES[6]);
    is_within_reach_of_the_best(&CASES[7]);
}

#[test]
fn no_fixed_batch_is_within_reach_of_the_best_in_every_case() {
    for rule in fixed() {
        let falls_short = CASES.iter().any(|case| {
            let outcome = run(case, rule, 11, DURATION);
            let (_, best) = best(case, 11);
            outcome.throughput < THROUGHPUT * best.throughput || outcome.p50_us > P50 * best.p50_us
        });
        println!("{}: {falls_short}", rule.name());
        assert!(falls_short, "{} would do in every case", rule.name());
    }
}
