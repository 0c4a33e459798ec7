//! Simulated disks and loads, and a yardstick, for the double loop of `auraio` (the crate `auraio-control`).
//!
//! The loop under test is the crate's own [`Controller`](auraio_control::Controller): nothing of it is written twice. Nothing
//! here touches a disk or a clock: a scenario and a seed give the same run anywhere. The map:
//!
//! - [`device`]: what serves operations, and [`catalogue`], the devices by name;
//! - [`scenario`]: which device, which load, and what changes when;
//! - [`simulation`]: the events of one run, and [`record`], what is kept of them;
//! - [`oracle`]: the same run at fixed depths, as yardstick; [`measure`]: one run against it;
//! - [`evaluate`]: all of it for many scenarios and seeds, on all cores; [`report`] prints it;
//! - [`inner`]: the inner loop, on a thread with an event loop; [`foreground`]: classes, a reader beside a bulk job;
//! - [`random`], [`histogram`], [`curve`]: what they are made of.

pub mod arguments;
pub mod catalogue;
pub mod curve;
pub mod device;
pub mod evaluate;
pub mod foreground;
pub mod histogram;
pub mod inner;
pub mod measure;
pub mod oracle;
pub mod random;
pub mod record;
pub mod report;
pub mod scenario;
pub mod simulation;

/// A millisecond in nanoseconds.
pub const MILLISECOND: u64 = 1_000_000;
/// A second in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;

/// Seconds in whole nanoseconds.
#[must_use]
pub fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
