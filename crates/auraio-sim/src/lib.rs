//! Simulated disks and loads, and a yardstick, for the double loop of `auraio`.
//!
//! Nothing here touches a disk or a clock: a scenario and a seed give the same run anywhere.

pub mod curve;
pub mod histogram;
pub mod random;
