//! What a sample costs: `cargo run --release -p auraio-sim --example cost -- knee 20000000`, also under
//! `valgrind --tool=callgrind` with fewer. `none` makes the samples and gives them to nobody, for the difference.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people to read")]

use std::{hint::black_box, process::ExitCode, time::Instant};

use auraio_control::{Bounds, Controller, Policy, Sample, Settings};
use auraio_sim::random::{LogNormal, Random};

/// Varying gaps and latencies, made beforehand: in a loop they would cost more than what is measured.
const PATTERN: usize = 4096;

/// More in flight than this is no faster.
const KNEE: u64 = 32;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let policy = match arguments.first().map(String::as_str) {
        Some("none") => None,
        word => match word.and_then(|name| Policy::from_name(name, 64)) {
            Some(policy) => Some(policy),
            None => {
                let names = Policy::ALL.map(Policy::name).join(", ");
                eprintln!("cost: name a policy (none, {names}) and a number of samples");
                return ExitCode::from(2);
            }
        },
    };
    let samples: u64 = arguments.get(1).and_then(|word| word.parse().ok()).unwrap_or(10_000_000);
    let mut random = Random::new(1);
    let varying = LogNormal::new(0.4);
    let pattern: Vec<(u64, u64)> = (0..PATTERN)
        .map(|_| ((12_000.0 * random.log_normal(varying)) as u64, (600_000.0 * random.log_normal(varying)) as u64))
        .collect();
    let mut controller = policy
        .map(|policy| Controller::new(Settings { policy, bounds: Bounds { min: 1, max: 256 }, ..Settings::default() }));
    let began = Instant::now();
    let mut now = 1_000_000_000;
    for &(gap, latency) in pattern.iter().cycle().take(samples as usize) {
        let limit = controller.as_ref().map_or(64, Controller::limit);
        now += gap * KNEE / u64::from(limit).min(KNEE);
        let sample = Sample {
            now,
            submitted: now - latency,
            in_flight: limit - 1,
            waiting: 256 - limit,
            unseen: 0,
            in_flight_then: limit,
            work: 1.0625,
        };
        match &mut controller {
            Some(controller) => controller.on_completion(black_box(&sample)),
            None => drop(black_box(&sample)),
        }
    }
    let elapsed = began.elapsed();
    println!(
        "{:.2} ns a sample, limit {:?}",
        elapsed.as_nanos() as f64 / samples as f64,
        controller.map(|it| it.limit())
    );
    ExitCode::SUCCESS
}
