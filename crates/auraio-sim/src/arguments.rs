//! The command line, and how it is parsed.

use auraio_control::Policy;

use crate::scenario::{NAMES, Parameters};

/// How the program is called.
#[must_use]
pub fn usage() -> String {
    format!(
        "{COMMANDS}\npolicies: {} or a fixed limit; several with commas between, as scenarios and seeds\n{PARAMETERS}",
        policy_names()
    )
}

const COMMANDS: &str = "\
usage: auraio-sim eval <policies> <scenarios|all> <seeds> [parameters]
       auraio-sim trace <scenario> <policy> <seed> [parameters]
       auraio-sim curve <scenario> [parameters]
       auraio-sim list
       auraio-sim inner <seeds>
       auraio-sim foreground <seeds>";
const PARAMETERS: &str = "\
parameters: --x <factor on throughput>  --lat <factor on rented volumes' latency>  --ou <noise>  --knee <factor on the knee>
            --t <seconds later>  --max <largest limit>  --workers <of a flood>";

/// What the program is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Print a table of runs.
    Evaluate {
        /// The policies.
        policies: Vec<Policy>,
        /// The scenarios.
        scenarios: Vec<&'static str>,
        /// The seeds.
        seeds: Vec<u64>,
    },
    /// Print the decisions of one run.
    Trace {
        /// The scenario.
        scenario: &'static str,
        /// The policy.
        policy: Policy,
        /// The seed.
        seed: u64,
    },
    /// Print throughput and latency of a scenario at fixed depths.
    Curve(&'static str),
    /// Print all scenarios.
    List,
    /// Print the table of the inner loop, with these seeds.
    Inner(Vec<u64>),
    /// Print the table of a reader beside a bulk job, with these seeds.
    Foreground(Vec<u64>),
}

/// Parses the arguments, without the program's name.
///
/// ```
/// use auraio_sim::arguments::{Command, parse};
///
/// let arguments = ["trace", "a_nvme", "knee", "11", "--max", "512"].map(String::from);
/// let (command, parameters) = parse(&arguments)?;
/// assert!(matches!(command, Command::Trace { seed: 11, .. }));
/// assert_eq!(parameters.max, 512);
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
///
/// A sentence that says what is wrong.
pub fn parse(arguments: &[String]) -> Result<(Command, Parameters), String> {
    let (words, parameters) = parameters(arguments)?;
    let command = match words.as_slice() {
        ["eval", policies, scenarios, seeds] => Command::Evaluate {
            policies: list(policies, policy)?,
            scenarios: if *scenarios == "all" { NAMES.to_vec() } else { list(scenarios, scenario)? },
            seeds: list(seeds, |word| number(word, "a seed"))?,
        },
        ["trace", name, policy_word, seed] => {
            Command::Trace { scenario: scenario(name)?, policy: policy(policy_word)?, seed: number(seed, "a seed")? }
        }
        ["curve", name] => Command::Curve(scenario(name)?),
        ["list"] => Command::List,
        ["foreground", seeds] => Command::Foreground(list(seeds, |word| number(word, "a seed"))?),
        ["inner", seeds] => Command::Inner(list(seeds, |word| number(word, "a seed"))?),
        [] => return Err("nothing was asked for: eval, trace, curve, list, inner or foreground".to_owned()),
        [other, ..] => return Err(format!("'{other}' is not a command, or not with this many arguments")),
    };
    Ok((command, parameters))
}

/// Separates the parameters, each `--name` and a number, from the other words.
fn parameters(arguments: &[String]) -> Result<(Vec<&str>, Parameters), String> {
    let mut parameters = Parameters::default();
    let mut words = Vec::new();
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        let Some(name) = word.strip_prefix("--") else {
            words.push(word);
            continue;
        };
        let Some(value) = rest.next() else { return Err(format!("--{name} wants a number after it")) };
        match name {
            "x" => parameters.throughput = within(name, value, 0.01, 100.0)?,
            "lat" => parameters.latency = within(name, value, 0.01, 100.0)?,
            "ou" => parameters.noise = within(name, value, 0.0, 1.0)?,
            "knee" => parameters.knee = within(name, value, 0.1, 10.0)?,
            "t" => parameters.shift = within(name, value, 0.0, 100.0)?,
            "max" => parameters.max = within(name, value, 1.0, 65_536.0)? as u32,
            "workers" => parameters.workers = within(name, value, 1.0, 65_536.0)? as usize,
            _ => return Err(format!("there is no parameter --{name}")),
        }
    }
    Ok((words, parameters))
}

fn within(name: &str, word: &str, least: f64, most: f64) -> Result<f64, String> {
    let value: f64 = number(word, "a number")?;
    if (least..=most).contains(&value) { Ok(value) } else { Err(format!("--{name} is {least} to {most}, not {word}")) }
}

fn number<T: std::str::FromStr>(word: &str, what: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("'{word}' is not {what}"))
}

fn list<T>(words: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    words.split(',').map(one).collect()
}

fn scenario(word: &str) -> Result<&'static str, String> {
    let known = NAMES.iter().find(|name| **name == word);
    known.copied().ok_or_else(|| format!("there is no scenario '{word}'; `list` names them"))
}

/// The policies that search for a limit; a fixed one is named by its limit.
fn searching() -> impl Iterator<Item = Policy> {
    Policy::ALL.into_iter().filter(|policy| !matches!(policy, Policy::Fixed(_)))
}

fn policy_names() -> String {
    searching().map(Policy::name).collect::<Vec<_>>().join(", ")
}

fn policy(word: &str) -> Result<Policy, String> {
    let fixed = word.parse().ok().filter(|limit| (1..=Policy::FIXED_MAX).contains(limit)).map(Policy::Fixed);
    let by_name = || searching().find(|policy| policy.name() == word);
    fixed
        .or_else(by_name)
        .ok_or_else(|| format!("'{word}' is not a policy: {} or a limit of 1 to {}", policy_names(), Policy::FIXED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>()).unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_told_in_a_sentence() {
        assert_eq!(refused("trace z_tape knee 1"), "there is no scenario 'z_tape'; `list` names them");
        assert_eq!(refused("eval vegas a_nvme 1"), "'vegas' is not a policy: knee, aimd or a limit of 1 to 65536");
        assert_eq!(refused("eval knee a_nvme 1,x"), "'x' is not a seed");
        assert_eq!(refused("list --max"), "--max wants a number after it");
        assert_eq!(refused("list --ou NaN"), "--ou is 0 to 1, not NaN");
        assert_eq!(refused("list --depth 3"), "there is no parameter --depth");
        assert!(refused("eval knee").contains("not with this many arguments"));
    }
}
