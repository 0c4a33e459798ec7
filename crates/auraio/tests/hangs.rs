//! Nothing hangs or aborts, however odd the use: each scenario runs in a process of its own, under a watchdog.
//!
//! A scenario is a function of a [`Rig`](support::Rig). The macro `scenarios!` makes one test of it for each backend and
//! routing. That test starts this program again, as a child that runs the scenario alone. So a scenario that hangs is
//! killed and fails, one that aborts fails, and neither takes another test with it.
//!
//! What is known to fail stands in [`expected`]. It is checked the other way round: an expected failure that passes fails
//! the test run, until it is taken off that list.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics where something is not as it should be")]
#![allow(unsafe_code, reason = "wakers and buffers of the tests' own, and plain system calls")]

#[path = "contract/support.rs"]
#[allow(dead_code, unused_macros, reason = "shared with the contract, which uses all of it")]
mod support;

#[path = "hangs/watch.rs"]
#[macro_use]
mod watch;

#[path = "hangs/batches.rs"]
mod batches;
#[path = "hangs/closing.rs"]
mod closing;
#[path = "hangs/expected.rs"]
mod expected;
#[path = "hangs/front.rs"]
mod front;
#[path = "hangs/shutdown.rs"]
mod shutdown;
#[path = "hangs/silence.rs"]
mod silence;
#[path = "hangs/thread_ends.rs"]
mod thread_ends;
#[path = "hangs/thread_locals.rs"]
mod thread_locals;
#[path = "hangs/two_engines.rs"]
mod two_engines;
#[path = "hangs/wakers.rs"]
mod wakers;
