//! The promises of the engine as tests, written once, and run on every available backend with each routing.
//!
//! A property is a function of a [`Rig`](support::Rig). The macro `properties!` makes a test of it for each backend and
//! routing, so a failure names both: `files::close_waits::uring_core`. If a backend is not available, its tests are skipped and
//! say why. The backend `sim` injects every fault that the engine hides from its callers: retries, reordering and delays.
//! Faults that callers see, short transfers and failures, are tested in `simulation.rs`.
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
