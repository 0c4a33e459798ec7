//! The simulator's command line: `cargo run --release -p auraio-sim -- list`, and see the README.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people to read")]

use std::process::ExitCode;

use auraio_sim::{
    SECOND,
    arguments::{Command, parse, usage},
    evaluate::{evaluate, settings},
    foreground, inner, report,
    scenario::{Parameters, Scenario},
    simulation::Simulation,
};

/// The exit code of a command line that makes no sense.
const MISUSED: u8 = 2;
/// Simulated time of one run of the inner loop.
const INNER_DURATION: u64 = 3 * SECOND / 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if matches!(arguments.first().map(String::as_str), Some("help" | "--help" | "-h")) {
        println!("{}", usage());
        return ExitCode::SUCCESS;
    }
    match parse(&arguments) {
        Ok((command, parameters)) => {
            run(command, &parameters);
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprintln!("auraio-sim: {wrong}");
            ExitCode::from(MISUSED)
        }
    }
}

fn run(command: Command, parameters: &Parameters) {
    match command {
        Command::Evaluate { policies, scenarios, seeds } => {
            println!("{}", report::heading());
            for name in scenarios {
                for evaluated in evaluate(&[name], &policies, &seeds, parameters) {
                    print!("{}", report::rows(&evaluated));
                }
            }
        }
        Command::Trace { scenario, policy, seed } => {
            if let Some(scenario) = Scenario::named(scenario, parameters) {
                let record = Simulation::new(&scenario, settings(&scenario, policy), seed).run();
                record.decisions.iter().for_each(|decision| println!("{}", report::decision(decision)));
            }
        }
        Command::Curve(name) => {
            if let Some(scenario) = Scenario::named(name, parameters) {
                print!("{}", report::curve(&scenario));
            }
        }
        Command::Inner(seeds) => {
            println!("{}", inner::heading());
            for case in &inner::CASES {
                seeds.iter().for_each(|&seed| println!("{}", inner::rows(case, seed, INNER_DURATION)));
            }
        }
        Command::Foreground(seeds) => seeds.iter().for_each(|&seed| println!("{}", foreground::table(seed))),
        Command::List => print!("{}", report::scenarios()),
    }
}
