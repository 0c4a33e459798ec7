//! What the engine promises, written once and run on every backend that can be had here, with each routing.
//!
//! A property is a function of a [`Rig`](support::Rig); the macro `properties!` makes one test of it for each backend and
//! routing, so a failure names both: `files::close_waits::uring_core`. A backend that cannot be had is skipped and says
//! why. `sim` makes every mistake that the engine hides from its callers (it asks again, out of order, later); what it
//! would show them, short transfers and failures, is for `simulation.rs`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics where something is not as it should be")]
#![allow(unsafe_code, reason = "buffers of the tests' own, and plain system calls to compare with")]

#[path = "contract/support.rs"]
#[macro_use]
mod support;

#[path = "contract/attributes.rs"]
mod attributes;
#[path = "contract/chains.rs"]
mod chains;
#[path = "contract/copies.rs"]
mod copies;
#[path = "contract/direct.rs"]
mod direct;
#[path = "contract/direct_random.rs"]
mod direct_random;
#[path = "contract/executors.rs"]
mod executors;
#[path = "contract/files.rs"]
mod files;
#[path = "contract/lifetimes.rs"]
mod lifetimes;
#[path = "contract/limits.rs"]
mod limits;
#[path = "contract/opening.rs"]
mod opening;
#[path = "contract/paths.rs"]
mod paths;
#[path = "contract/ports.rs"]
mod ports;
#[path = "contract/registered.rs"]
mod registered;
#[path = "contract/transfers.rs"]
mod transfers;
