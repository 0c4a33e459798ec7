//! The binding's lists of operations and the core's table name the same ones.

#[path = "../src/kinds.rs"]
mod kinds;

use kinds::{Kind, METHODS, NOT_OFFERED};

#[test]
fn every_kind_of_the_core_is_offered_or_said_not_to_be() {
    let performed = Kind::ALL.iter().map(|kind| format!("{kind:?}"));
    let others = METHODS.iter().chain(NOT_OFFERED).map(ToString::to_string);
    let mut ours: Vec<String> = performed.chain(others).collect();
    let mut cores = auraio::op::kinds();
    ours.sort_unstable();
    cores.sort_unstable();
    assert_eq!(ours, cores, "a kind that only the core has needs a row in crates/auraio-node/src/kinds.rs");
}
