//! What is known to fail. Whoever makes one of these pass takes it off the list.

/// Which backends and routings a scenario fails with.
type Rigs = &'static [&'static str];

/// Scenarios that fail until they are mended. One that passes fails the test run.
const EXPECTED_TO_FAIL: &[(&str, Rigs)] = &[];

/// Scenarios that fail on some runs only, because two threads race: how they end is told and not judged, until they are
/// mended.
const FAILS_AT_TIMES: &[(&str, Rigs)] = &[];

/// What is expected of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Pass,
    Fail,
    Either,
}

/// Looks a scenario up by its name, whose last part is the backend and routing.
pub(crate) fn expected(name: &str) -> Expected {
    let Some((scenario, rig)) = name.rsplit_once("::") else { return Expected::Pass };
    let is_on = |list: &[(&str, Rigs)]| list.iter().any(|(its, rigs)| *its == scenario && rigs.contains(&rig));
    if is_on(EXPECTED_TO_FAIL) {
        Expected::Fail
    } else if is_on(FAILS_AT_TIMES) {
        Expected::Either
    } else {
        Expected::Pass
    }
}
